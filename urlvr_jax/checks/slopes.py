"""Values and derivatives of many formulas at many points at once: by `jax.grad` of one program that interprets trees.

A tree becomes a list of instructions, each an operation on earlier results, and every formula of a step goes through one
compiled program: nothing is compiled for a formula. JAX is imported when it is first asked.
"""

from __future__ import annotations

import contextlib
import functools
import math
from typing import NamedTuple

import numpy as np

from urlvr_jax.answers.trees import Tree

OPERATIONS = ("constant", "x", "+", "*", "^", "exp", "ln", "sin", "cos", "arcsin", "arctan")
_CODE = {name: i for i, name in enumerate(OPERATIONS)}
ROWS = 32  # formulas in one call
WIDTHS = (24, 128)  # instructions in one call
POINTS = 16


class TooLong(Exception):
    """More instructions than the widest program takes."""


class Instruction(NamedTuple):
    """Operation, places of its operands, and a number: the constant, or the exponent of ^."""

    code: int
    left: int = 0
    right: int = 0
    number: float = 0.0


class _Program:
    def __init__(self, constant: float):
        self.constant = constant
        self.place: dict[Instruction, int] = {}

    def put(self, op: str, left: int = 0, right: int = 0, number: float = 0.0) -> int:
        return self.place.setdefault(Instruction(_CODE[op], left, right, number), len(self.place))

    def number(self, value) -> int:
        return self.put("constant", number=float(value))

    def scaled(self, at: int, by: float) -> int:
        return self.put("*", at, self.number(by))

    def power(self, at: int, exponent: float) -> int:
        return self.put("^", at, number=exponent)

    def add(self, tree: Tree) -> int:
        """The place of its value; what occurs twice has one."""
        return self.lower(tree, *map(self.add, tree.args))

    def lower(self, tree: Tree, u: int = 0, v: int = 0) -> int:
        """Instructions of one operation at the places of its operands."""
        match tree.op:
            case "number":
                return self.number(tree.value)
            case "e" | "pi":
                return self.number(getattr(math, tree.op))
            case "constant":
                return self.number(self.constant)
            case "x" | "+" | "*" | "exp" | "ln" | "sin" | "cos" | "arcsin" | "arctan":
                return self.put(tree.op, u, v)
            case "-":
                return self.put("+", u, self.scaled(v, -1.0))
            case "neg":
                return self.scaled(u, -1.0)
            case "/" if (below := tree.args[1].rational) is not None:
                return self.scaled(u, 1 / float(below))
            case "/":
                return self.put("*", u, self.power(v, -1.0))
            case "^" if tree.args[1].rational is not None:
                return self.power(u, float(tree.args[1].rational))
            case "^":
                return self.put("exp", self.put("*", v, self.put("ln", u)))
            case "sqrt":
                return self.power(u, 0.5)
            case "ln||":  # the same slope as ln, and a value on both sides of 0
                return self.scaled(self.put("ln", self.power(u, 2.0)), 0.5)
            case "sec" | "csc":
                return self.power(self.put("cos" if tree.op == "sec" else "sin", u), -1.0)
            case "tan":
                return self.put("*", self.put("sin", u), self.power(self.put("cos", u), -1.0))
            case "cot":
                return self.put("*", self.put("cos", u), self.power(self.put("sin", u), -1.0))
            case "arccos":
                return self.put("+", self.number(math.pi / 2), self.scaled(self.put("arcsin", u), -1.0))
            case "sinh" | "cosh":
                other = self.scaled(
                    self.put("exp", self.scaled(u, -1.0)), -1.0 if tree.op == "sinh" else 1.0
                )
                return self.scaled(self.put("+", self.put("exp", u), other), 0.5)
            case "tanh":  # 1 - 2 / (e^2u + 1)
                below = self.put("+", self.put("exp", self.scaled(u, 2.0)), self.number(1.0))
                return self.put("+", self.number(1.0), self.scaled(self.power(below, -1.0), -2.0))
        raise ValueError(f"{tree.op} is no operation")


class Program(NamedTuple):
    """Instructions in the order they are followed, and the place of the result."""

    instructions: list[Instruction]
    last: int


def program(tree: Tree, constant: float) -> Program:
    """A tree's program. constant: what an arbitrary constant stands for. TooLong past the widest of WIDTHS."""
    out = _Program(constant)
    last = out.add(tree)
    if len(out.place) > WIDTHS[-1]:
        raise TooLong
    return Program(list(out.place), last)


def slopes(programs: list[Program], points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values and derivatives float64 `[n, POINTS]` of n programs at points `[n, POINTS]`; not finite where undefined."""
    values, derivatives = (np.empty((len(programs), POINTS)) for _ in range(2))
    by_width: dict[int, list[int]] = {}
    for i, one in enumerate(programs):
        by_width.setdefault(next(w for w in WIDTHS if len(one.instructions) <= w), []).append(i)
    with _float64_on_the_host():
        for width, rows in by_width.items():
            for start in range(0, len(rows), ROWS):
                part = rows[start : start + ROWS]
                filled = part + part[:1] * (ROWS - len(part))
                out = _evaluate()(*_arrays([programs[i] for i in filled], width), points[filled])
                values[part], derivatives[part] = (np.asarray(a)[: len(part)] for a in out)
    return values, derivatives


def _arrays(programs: list[Program], width: int) -> list[np.ndarray]:
    """Each field of the instructions `[n, width]`, and the places of the results `[n]`."""
    fill = Instruction(_CODE["constant"])
    rows = [[*one.instructions, *[fill] * (width - len(one.instructions))] for one in programs]
    columns = zip(*(zip(*row, strict=True) for row in rows), strict=True)
    kinds = (np.int32, np.int32, np.int32, np.float64)
    return [np.array(c, kind) for c, kind in zip(columns, kinds, strict=True)] + [
        np.array([one.last for one in programs], np.int32)
    ]


@contextlib.contextmanager
def _float64_on_the_host():
    """For what is computed inside alone, where what is undefined is nan: the process keeps its precision and its device."""
    import jax

    try:
        host = jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # a process that was given no CPU backend
        host = None
    with jax.enable_x64(True), jax.default_device(host), jax.debug_nans(False):
        yield


@functools.cache
def _evaluate():
    """The compiled program: instructions `[ROWS, width]`, places `[ROWS]`, points `[ROWS, POINTS]` -> values, slopes."""
    import jax
    import jax.numpy as jnp

    def value(x, codes, lefts, rights, numbers, last):
        """At points x `[POINTS]`, by one program."""

        def follow(results, instruction):
            at, code, left, right, number = instruction
            u, v = results[left], results[right]
            # An operation that is not this one is computed where it and its slope are finite: 0 * nan is nan.
            safe = lambda name, x, other: jnp.where(code == _CODE[name], x, other)
            each = {
                "constant": jnp.full_like(x, number),
                "x": x,
                "+": safe("+", u, 0.0) + safe("+", v, 0.0),
                "*": safe("*", u, 0.0) * safe("*", v, 0.0),
                "^": jnp.power(safe("^", u, 1.0), number),
                "exp": jnp.exp(safe("exp", u, 0.0)),
                "ln": jnp.log(safe("ln", u, 1.0)),
                "sin": jnp.sin(safe("sin", u, 0.0)),
                "cos": jnp.cos(safe("cos", u, 0.0)),
                "arcsin": jnp.arcsin(safe("arcsin", u, 0.0)),
                "arctan": jnp.arctan(safe("arctan", u, 0.0)),
            }
            out = jnp.select([code == _CODE[name] for name in each], list(each.values()))
            return results.at[at].set(out), None

        places = jnp.arange(codes.shape[0])
        empty = jnp.zeros((codes.shape[0], *x.shape), x.dtype)
        results, _ = jax.lax.scan(follow, empty, (places, codes, lefts, rights, numbers))
        out = results[last]
        return out.sum(), out  # points do not meet, so the slope of the sum is each point's own

    slope = jax.grad(value, has_aux=True)

    def evaluate(codes, lefts, rights, numbers, last, points):
        derivatives, values = jax.vmap(slope)(points, codes, lefts, rights, numbers, last)
        return values, derivatives

    return jax.jit(evaluate)
