"""Functions of exact values: logarithms, sines at multiples of 15 degrees, absolute values; what has no exact value
becomes a generator of its own, such as `sin(x)` or `f(3)`."""

from __future__ import annotations

import math
import re
from fractions import Fraction

from urlvr_jax.answers.algebra import UNIT, Algebra, Outside, Value, factors, text

MAX_TEXT = 200  # characters of what a generator holds
TRIGONOMETRIC = frozenset(["sin", "cos", "tan", "cot", "sec", "csc"])
APPLIED = frozenset("fgFG")  # letters that stand for a function in front of any bracket
_LOGARITHM = re.compile(r"ln\((\d+|[A-Za-z])\)")
_CONSTANT = re.compile(
    r"-?(?:\d+(?:\.\d+)?(?:/\d+)?|\\frac(?:\d\d|\{\d+\}\{\d+\})|(?![ei])[A-Za-z])\)(?!\^(?!\d|\{-?\d+\}))"
)
# sin of 0, 15, ... 90 degrees, each a sum of (factor, radicand)
_SINES = [(), ((Fraction(1, 4), 6), (Fraction(-1, 4), 2)), ((Fraction(1, 2), 1),), ((Fraction(1, 2), 2),),
          ((Fraction(1, 2), 3),), ((Fraction(1, 4), 6), (Fraction(1, 4), 2)), ((Fraction(1), 1),)]  # fmt: skip


def is_value(letter: str, bracket: list[str]) -> bool:
    """Is a letter in front of a bracket a function, not a factor: f and g always, another letter if one number
    or letter stands in the bracket and no power with letters follows: A(-2)^n is a product. `bracket`: the tokens
    behind the opening bracket, 15 at least where there are as many."""
    name = letter.partition("_")[0]
    if name in APPLIED:
        return True
    return name not in ("e", "i", "pi", "\\infty") and _CONSTANT.match("".join(bracket[:15])) is not None


def value_at(algebra: Algebra, letter: str, x: Value) -> Value:
    """`letter(x)` as an unknown; in brackets where a power behind it would make it a product."""
    name = f"{letter}({text(x)})"
    if len(name) > MAX_TEXT:
        raise Outside
    return algebra.letter(name if letter.partition("_")[0] in APPLIED else f"({name})")


def generator(algebra: Algebra, name: str, inside: str) -> Value:
    """`name(inside)` as an unknown of its own."""
    if len(inside) > MAX_TEXT:
        raise Outside
    return algebra.letter(f"\\binom{inside}" if name == "binom" else f"{name}({inside})")


def call(algebra: Algebra, name: str, x: Value, base: Value | None = None) -> Value:
    """A named function at x; `base` is that of a logarithm."""
    q = x.rational
    if name == "exp":
        return power(algebra, algebra.letter("e"), x)
    if name == "abs" and q is not None:
        return algebra.number(abs(q))
    if name == "abs" and x.den == UNIT and min(x.num.values()) < 0 and len(x.num) == 1:
        return call(algebra, "abs", algebra.negative(x))
    if name in ("floor", "ceil") and q is not None:
        return algebra.number(math.floor(q) if name == "floor" else math.ceil(q))
    if name in ("ln", "log"):
        above = _logarithm(algebra, "ln" if base else name, x)
        return algebra.divide(above, _logarithm(algebra, "ln", base)) if base else above
    if name in TRIGONOMETRIC and (steps := _steps(x)) is not None:
        return _trigonometric(algebra, name, steps)
    return generator(algebra, name, text(x))


def degrees(algebra: Algebra, x: Value) -> Value:
    """x degrees as an angle in radians."""
    return algebra.multiply(x, algebra.divide(algebra.letter("pi"), algebra.number(180)))


def power(algebra: Algebra, base: Value, exponent: Value) -> Value:
    """base ** exponent, where e^(c ln a) and b^(c log_b a) are a^c."""
    out = algebra.number(1)
    scale = 1
    if exponent.den != UNIT or exponent.rational is not None:
        return algebra.general_power(base, exponent)
    if base == algebra.letter("e"):
        below = ()
    else:
        if (q := base.rational) and q.denominator == 1 and q > 1 and len(factors(int(q))) == 1:
            ((p, scale),) = factors(int(q))
        else:
            p = text(base)
        below = ((f"ln({p})", -1),)
    rest = dict(exponent.num)
    for mono, c in exponent.num.items():
        above = tuple(part for part in mono if part not in below)
        if len(above) != 1 or len(mono) != len(below) + 1 or above[0][1] != 1:
            continue
        if match := _LOGARITHM.fullmatch(above[0][0]):
            one = algebra.number(int(match[1])) if match[1].isdigit() else algebra.letter(match[1])
            out = algebra.multiply(out, algebra.power(one, Fraction(c * scale)))
            del rest[mono]
    if len(rest) == len(exponent.num):
        return algebra.general_power(base, exponent)
    return algebra.multiply(out, algebra.general_power(base, Value(rest, UNIT)))


def _steps(x: Value) -> int | None:
    """x as a number of steps of pi/12, None where it is not one."""
    if x.den != UNIT or x.num.keys() - {(("pi", 1),)}:
        return None
    steps = 12 * x.num.get((("pi", 1),), Fraction(0))
    return int(steps) % 24 if steps.denominator == 1 else None


def _sine(algebra: Algebra, steps: int) -> Value:
    sign, steps = (-1, steps - 12) if steps >= 12 else (1, steps)
    out = algebra.number(0)
    for factor, radicand in _SINES[min(steps, 12 - steps)]:
        root = algebra.power(algebra.number(radicand), Fraction(1, 2))
        out = algebra.add(out, algebra.multiply(algebra.number(sign * factor), root))
    return out


def _trigonometric(algebra: Algebra, name: str, steps: int) -> Value:
    sine, cosine = _sine(algebra, steps), _sine(algebra, (steps + 6) % 24)
    one = algebra.number(1)
    above, below = {"sin": (sine, one), "cos": (cosine, one), "tan": (sine, cosine), "cot": (cosine, sine),
                    "sec": (one, cosine), "csc": (one, sine)}[name]  # fmt: skip
    return algebra.divide(above, below)


def _logarithm(algebra: Algebra, name: str, x: Value) -> Value:
    """Logarithms of positive rationals are sums over primes, so that log 8 = 3 log 2."""
    if x.den != UNIT or len(x.num) != 1:
        return generator(algebra, name, text(x))
    ((mono, q),) = x.num.items()
    if any(not g.isdigit() and (g != "e" or name != "ln") for g, _ in mono):
        return generator(algebra, name, text(x))
    if q <= 0:
        raise Outside
    out = algebra.number(0)
    for g, n in mono:
        one = algebra.number(1) if g == "e" else generator(algebra, name, g)
        out = algebra.add(out, algebra.multiply(algebra.number(n), one))
    for part, sign in ((q.numerator, 1), (q.denominator, -1)):
        for p, n in factors(part):
            term = algebra.multiply(algebra.number(sign * n), generator(algebra, name, str(p)))
            out = algebra.add(out, term)
    return out
