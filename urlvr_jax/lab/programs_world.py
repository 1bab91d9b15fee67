"""A third world of the laboratory: small programs, whose interpreter is checks/programs.py.

A question is a deduction, "D+3<9*2|4?", or an abduction, "I+3<9*2|14?". A document answers it in one of four ways:

    solved   "4+3=7;7*2=14;A14"  or  "...;A4"    runs the program step by step; each step may slip
    tried    a deduction whose conditions are not looked at and whose loops run once; or an abduction from a number
             taken at random, which rarely leads to what came out
    direct   "A14"                               no steps, often wrong
    junk     digits and signs, and no answer

An abduction has many right answers, and they disagree: a vote splits between them, and the interpreter does not.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from urlvr_jax.checks.programs import ABDUCTION, DEDUCTION, MODULUS, Instruction, run
from urlvr_jax.lab.world import part

SPECIAL = ("<pad>", "<end>", "<unk>")
SYMBOLS = "0123456789+-*<>[]=;|?DIA"
LAYERS = 3  # of its models
QUESTIONS = {"train": 800, "heldout": 600}
LARGEST_INPUT, LARGEST_NUMBER, LARGEST_FACTOR = 19, 9, 3
MOST_STEPS = 4
_DOCUMENT_STREAM = 203
_TRIES = 1000


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What share of documents answers how, and how often each way is wrong."""

    solved: float
    tried: float
    direct: float
    junk: float
    slip: float  # chance that one step's result is wrong
    direct_wrong: float  # chance that a direct answer is a near miss, or a random number


RECIPES = {"programs": Recipe(solved=0.40, tried=0.30, direct=0.24, junk=0.06, slip=0.05, direct_wrong=0.5)}


def instruction(rng) -> Instruction:
    sign = "+-*"[int(rng.integers(3))]
    number = int(
        rng.integers(2, LARGEST_FACTOR + 1) if sign == "*" else rng.integers(1, LARGEST_NUMBER + 1)
    )
    kind = rng.choice(3, p=[0.5, 0.3, 0.2])
    if kind == 1:
        return Instruction(sign, number, compare="<>"[int(rng.integers(2))], than=int(rng.integers(5, 31)))
    return Instruction(sign, number, times=2 if kind == 2 else 1)


def steps(program, value: int, careless: bool = False) -> list[tuple[int, Instruction | None, int]]:
    """(value before, instruction or None where its condition does not hold, value after) of each step, in whole
    numbers. careless: every condition holds, and a loop runs once."""
    out = []
    for one in program:
        if not careless and not one.applies(value):
            out.append((value, None, value))
            continue
        for _ in range(1 if careless else one.times):
            out.append((value, one, one.whole(value)))
            value = out[-1][2]
    return out


def task(rng) -> tuple[tuple[Instruction, ...], int]:
    """A program of two or three instructions, and what goes in: no number on the way leaves 0..99."""
    for _ in range(_TRIES):
        program = tuple(instruction(rng) for _ in range(int(rng.integers(2, 4))))
        value = int(rng.integers(0, LARGEST_INPUT + 1))
        done = steps(program, value)
        if len(done) <= MOST_STEPS and all(0 <= after < MODULUS for *_, after in done):
            return program, value
    raise ValueError(f"no program of {_TRIES} stays within 0..{MODULUS - 1}")


def text_of(program) -> str:
    return "".join(map(str, program))


def question(kind: str, program, value: int) -> str:
    """value: what goes in of a deduction, what came out of an abduction."""
    return f"{kind}{text_of(program)}|{value}?"


def _written(done, slip: float, rng) -> tuple[str, int]:
    """The steps as text, and the number they end with; a slip is carried on."""
    value = done[0][0]
    parts = []
    for _, one, _ in done:
        after = one.whole(value) % MODULUS if one else value
        if rng.random() < slip:
            after = _near(after, rng)
        parts.append(f"{value}{one.sign}{one.number}={after}" if one else f"{value}={after}")
        value = after
    return ";".join(parts), value


def _near(value: int, rng) -> int:
    return int(rng.choice([v for v in (value - 10, value - 2, value - 1, value + 1, value + 2, value + 10)
                           if 0 <= v < MODULUS]))  # fmt: skip


def respond(kind: str, program, value: int, recipe: Recipe, rng, longest: int) -> str:
    """One document's answer; value is what goes in, of both kinds."""
    way = rng.choice(4, p=[recipe.solved, recipe.tried, recipe.direct, recipe.junk])
    if way == 3:
        size = int(rng.integers(1, longest))
        return "".join(rng.choice(list("0123456789+-*=;<>"), size))
    anything = int(rng.integers(0, LARGEST_INPUT + 1))
    if way == 2:
        wrong = rng.random() < recipe.direct_wrong
        if kind == ABDUCTION:
            return f"A{anything if wrong else value}"
        out = run(program, value)
        return f"A{_near(out, rng) if wrong else out}"
    careless = way == 1 and kind == DEDUCTION
    start = anything if way == 1 and kind == ABDUCTION else value
    text, end = _written(steps(program, start, careless), recipe.slip, rng)
    return f"{text};A{start if kind == ABDUCTION else end}"[:longest]


def documents(recipe: str, seed: int, step: int, count: int, longest: int):
    """`count` documents (question, answer, ends), a function of (seed, step)."""
    rng = np.random.default_rng((seed, _DOCUMENT_STREAM, step))
    out = []
    while len(out) < count:
        kind, program, value = _drawn(rng, "documents")
        response = respond(kind, program, value, RECIPES[recipe], rng, longest)
        out.append((_asked(kind, program, value), response, len(response) < longest))
    return out


def _drawn(rng, which: str):
    """A kind, a program of this part, and what goes in. All questions about a program are in one part."""
    while True:
        program, value = task(rng)
        if part(text_of(program)) == which:
            return (DEDUCTION, ABDUCTION)[int(rng.integers(2))], program, value


def _asked(kind: str, program, value: int) -> str:
    return question(kind, program, value if kind == DEDUCTION else run(program, value))


def questions(which: str, count: int, seed: int) -> list[dict]:
    """`count` distinct questions of one part, as rows of a question file. No labels: the interpreter checks them."""
    rng = np.random.default_rng((seed, _DOCUMENT_STREAM, ("heldout", "train").index(which)))
    rows = {}
    while len(rows) < count:
        text = _asked(*_drawn(rng, which))
        rows[text] = {"prompt": text}
    return list(rows.values())
