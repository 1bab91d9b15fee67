"""A formula as a tree of one variable, by the grammar of formula.py: what is differentiated, and rewritten, not compared.

Numbers are exact and folded; C, c, K and k are one arbitrary constant. `|u|` stands in a logarithm alone, `log` without a
base is the natural one, sin^{-1} is the arc sine. What has another letter, is no function of one real number, or is too
large raises `Outside`.
"""

from __future__ import annotations

import functools
import re
from fractions import Fraction
from typing import NamedTuple

from urlvr_jax.answers import formula, notation
from urlvr_jax.answers.algebra import Outside

MAX_NODES = 100
MAX_BITS = 256  # of a number
_FUNCTIONS = "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh exp ln ln|| sqrt"
FUNCTIONS = frozenset(_FUNCTIONS.split())
CONSTANTS = frozenset(["C", "c", "K", "k", "C_1", "c_1"])
_SHORT = re.compile(r"(?<![A-Za-z\\])a(sin|cos|tan)(?![A-Za-z])")
_INVERSE = re.compile(
    r"\\?(?<![A-Za-z])(sin|cos|tan)\s{0,9}\^\s{0,9}(?:\{\s{0,9}-\s{0,9}1\s{0,9}\}|\(-1\)|-1(?!\d))"
)
_UPRIGHT = re.compile(r"\\(?:mathrm|text|operatorname)\s{0,9}\{\s{0,9}([A-Za-z]{1,8})\.?\s{0,9}\}")
_CONSTANT = re.compile(r"(?<![A-Za-z\\])[Cc]onst(?:ant|\.)?(?![A-Za-z])")


class Tree(NamedTuple):
    """op: number (with its value), x, e, pi, constant, + - * / ^, neg, or one of FUNCTIONS; args: its operands."""

    op: str
    args: tuple[Tree, ...] = ()
    value: Fraction | None = None

    @property
    def rational(self) -> Fraction | None:
        """As a number, None where it is none."""
        return self.value

    @property
    def letters(self) -> bool:
        """Whether x is in it."""
        return self.op == "x" or any(a.letters for a in self.args)


X, E, PI, CONSTANT = Tree("x"), Tree("e"), Tree("pi"), Tree("constant")


def number(value) -> Tree:
    value = Fraction(value)
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise Outside
    return Tree("number", (), value)


class Trees:
    """What `formula.Parser` builds: trees, their numbers folded, at most MAX_NODES of them."""

    def __init__(self, variable: str):
        self.variable = variable
        self.left = MAX_NODES

    def node(self, op: str, *args: Tree) -> Tree:
        self.left -= 1
        if self.left < 0:
            raise Outside
        return Tree(op, args)

    def number(self, value) -> Tree:
        return number(value)

    def letter(self, name: str) -> Tree:
        name = name.removeprefix("\\")
        if name == self.variable:
            return X
        if name in CONSTANTS:
            return CONSTANT
        if name not in ("e", "pi"):
            raise Outside
        return E if name == "e" else PI

    def add(self, a: Tree, b: Tree) -> Tree:
        return self.folded("+", a, b)

    def subtract(self, a: Tree, b: Tree) -> Tree:
        return self.folded("-", a, b)

    def multiply(self, a: Tree, b: Tree) -> Tree:
        return self.folded("*", a, b)

    def divide(self, a: Tree, b: Tree) -> Tree:
        if b.rational == 0:
            raise Outside
        return self.folded("/", a, b)

    def folded(self, op: str, a: Tree, b: Tree) -> Tree:
        p, q = a.rational, b.rational
        if p is None or q is None:
            return self.node(op, a, b)
        return number(p + q if op == "+" else p - q if op == "-" else p * q if op == "*" else p / q)

    def negative(self, a: Tree) -> Tree:
        return number(-a.rational) if a.rational is not None else self.node("neg", a)

    def power(self, base: Tree, exponent: Fraction) -> Tree:
        return self.node("^", base, number(exponent))


class Reader(formula.Parser):
    """The parser, with functions that stay functions."""

    def postfix(self, value: Tree) -> Tree:
        if self.next in ("!", "%", "\\degree"):
            raise Outside
        return value

    def letter(self, token: str) -> Tree:
        return self.algebra.letter(self.name(token))

    def fraction(self, kind: str) -> Tree:
        if kind == "\\binom":
            raise Outside
        return super().fraction(kind)

    def power(self, base: Tree, exponent: Tree) -> Tree:
        return self.algebra.node("exp", exponent) if base == E else self.algebra.node("^", base, exponent)

    def argument(self) -> Tree:
        return self.atom() if self.next == "|" else super().argument()

    def call(self, name: str, x: Tree, base: Tree | None = None) -> Tree:
        to = self.algebra
        if name in ("ln", "log"):
            out = to.node("ln||", *x.args) if x.op == "abs" else to.node("ln", x)
            return out if base is None else to.divide(out, to.node("ln", base))
        if name != "abs" and name not in FUNCTIONS:
            raise Outside
        return to.node(name, x)


@functools.lru_cache(maxsize=8192)
def parse(text: str, variable: str = "x") -> Tree:
    """The tree of a formula of `variable` in LaTeX or plain notation; `Outside` if it is none."""
    if len(text) > formula.MAX_TEXT:
        raise Outside
    text = notation.clean(_CONSTANT.sub(" C ", _UPRIGHT.sub(r" \1 ", text)))
    text = _INVERSE.sub(r"\\arc\1", _SHORT.sub(r"arc\1", text))
    reader = Reader(formula.tokens(notation.peel(text)), Trees(variable))
    tree = reader.sum()
    if reader.at != len(reader.tokens) or _holds_abs(tree):
        raise Outside
    return tree


def _holds_abs(tree: Tree) -> bool:
    return tree.op == "abs" or any(map(_holds_abs, tree.args))


# ---- as text ----------------------------------------------------------------------------------
_SUM, _PRODUCT, _POWER, _ATOM = 1, 2, 3, 4  # how tightly a text holds together


def text(tree: Tree, variable: str = "x") -> str:
    """A tree as `parse` reads it."""
    said = _text(tree)[0]
    return said if variable == "x" else re.sub(r"(?<![A-Za-z])x(?![A-Za-z])", variable, said)


def _within(tree: Tree, least: int) -> str:
    said, tight = _text(tree)
    return said if tight >= least else f"({said})"


def _text(tree: Tree) -> tuple[str, int]:
    match tree:
        case Tree("number", _, value):
            whole = value.denominator == 1
            return str(value), _SUM if value < 0 else _ATOM if whole else _PRODUCT
        case Tree("x" | "e" | "pi", _):
            return tree.op, _ATOM
        case Tree("constant", _):
            return "C", _ATOM
        case Tree("+" | "-", (a, b)):
            return f"{_within(a, _SUM)}{tree.op}{_within(b, _PRODUCT)}", _SUM
        case Tree("neg", (a,)):
            return f"-{_within(a, _PRODUCT)}", _SUM
        case Tree("/", (a, b)):
            return f"{_within(a, _PRODUCT)}/{_within(b, _POWER)}", _PRODUCT
        case Tree("*", (a, b)):
            left, right = _within(a, _PRODUCT), _within(b, _POWER)
            plain = a.op == "number" and a.value.denominator == 1 and not right[0].isdigit()
            return left + ("" if plain else "*") + right, _PRODUCT
        case Tree("exp", (a,)):
            return f"e^{_exponent(a)}", _POWER
        case Tree("^", (a, b)):
            return f"{_within(a, _ATOM)}^{_exponent(b)}", _POWER
        case Tree("ln||", (a,)):
            return f"ln|{text(a)}|", _ATOM
        case Tree(name, (a,)):
            return f"{name}({text(a)})", _ATOM
    raise ValueError(f"{tree.op} is no operation")


def _exponent(tree: Tree) -> str:
    said = _within(tree, _ATOM)
    return said if tree.op in ("x", "e", "number") else f"({text(tree)})"
