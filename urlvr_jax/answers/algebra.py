"""Exact values of answers: rational functions over Q with radicals, i, pi, e and letters, in one normal form.

A polynomial is `{monomial: Fraction}`; a monomial is a sorted tuple of (generator, exponent). Generators are
the names of primes ("2": with an exponent in (0, 1) a real root), "i", "pi", "e", letters, powers with
letters in the exponent and functions. Products of roots of primes are linearly independent over Q
(Besicovitch 1940), so the form is unique as long as no identity between e, pi and functions is needed.
Every operation is bounded: what exceeds a limit raises `Outside`, and the answer is compared as text.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from fractions import Fraction

MAX_TERMS = 120
MAX_BITS = 4000  # of one coefficient: 1200 decimal digits
MAX_EXPONENT = 64  # of a sum of terms, and of a letter
MAX_WORK = 10_000  # products of terms for one answer: a twentieth of a second
TRIAL_DIVISORS = 10_000  # a radicand whose cofactor stays above the square of this is outside

UNIT = {(): Fraction(1)}
MINUS_ONE = "(e^(i*pi))"
_POWER = re.compile(r"\((?:\d+|e|pi)\^\([^()]*\)\)")  # a generator such as (2^(n))


class Outside(Exception):
    """Not a formula of the grammar, or too large for it."""


@dataclasses.dataclass(frozen=True)
class Value:
    """num / den, both polynomials: den is free of radicals, has integer coefficients without a common
    factor and a positive first one, no factor in common with num and no monomial factor."""

    num: dict
    den: dict

    @property
    def rational(self) -> Fraction | None:
        """This value as a rational number, None if it is not one."""
        if self.den == UNIT and not (self.num.keys() - {()}):
            return self.num.get((), Fraction(0))
        return None

    @property
    def letters(self) -> set[str]:
        """Its generators, without roots of primes, i, pi and e."""
        names = {g for poly in (self.num, self.den) for mono in poly for g, _ in mono}
        return {g for g in names if not _radical(g) and g not in ("pi", "e")}


def _radical(generator: str) -> bool:
    return generator == "i" or generator.isdigit()


def _positive(generator: str) -> bool:
    """Is it a positive real number, so that powers of its powers multiply."""
    return generator.isdigit() or generator in ("pi", "e") or _POWER.fullmatch(generator) is not None


def _times(a: tuple, b: tuple) -> tuple[Fraction | int, tuple]:
    """Product of two monomials: (rational factor, monomial)."""
    powers, factor = dict(a), 1
    for generator, n in b:
        n += powers.pop(generator, 0)
        if abs(n) > MAX_EXPONENT:
            raise Outside
        if generator == "i":
            n %= 4
            factor, n = (-factor, n - 2) if n >= 2 else (factor, n)
        elif generator == MINUS_ONE:
            n %= 2
            factor, n = (-factor, n - 1) if n >= 1 else (factor, n)
        elif generator.isdigit():
            whole = math.floor(n)
            factor, n = factor * Fraction(int(generator)) ** whole, n - whole
        if n:
            powers[generator] = n if n.denominator > 1 else int(n)  # integers hash faster
    return factor, tuple(sorted(powers.items()))


@functools.lru_cache(maxsize=4096)
def factors(n: int) -> tuple[tuple[int, int], ...]:
    """(prime, multiplicity) of n >= 1; `Outside` if trial division to TRIAL_DIVISORS does not finish it."""
    out, p = [], 2
    while p <= TRIAL_DIVISORS and p * p <= n:
        count = 0
        while n % p == 0:
            n, count = n // p, count + 1
        if count:
            out.append((p, count))
        p += 1 if p == 2 else 2
    if n > TRIAL_DIVISORS**2:
        root = math.isqrt(n)
        if root * root != n or root > TRIAL_DIVISORS**2:
            raise Outside
        return (*out, (root, 2))
    return (*out, (n, 1)) if n > 1 else tuple(out)


def _content(poly: dict) -> Fraction:
    """The positive rational that leaves coprime integers when it is divided out."""
    top = math.gcd(*(c.numerator for c in poly.values()))
    return Fraction(top, math.lcm(*(c.denominator for c in poly.values())))


def _rank(mono: tuple):
    """Order in which terms are written: by degree, then by name; the constant last."""
    return -sum(n for g, n in mono if not _radical(g)), not mono, tuple((g, -n) for g, n in mono)


class Algebra:
    """Arithmetic on values, with a budget of work for one answer."""

    def __init__(self):
        self.left = MAX_WORK
        self.inside: dict[str, Value] = {}  # what stands in an unresolved root, by its generator

    # ---- polynomials -----------------------------------------------------------------------------
    def _spend(self, work: int) -> None:
        self.left -= work
        if self.left < 0:
            raise Outside

    def _checked(self, poly: dict) -> dict:
        poly = {m: c for m, c in poly.items() if c}
        sizes = (max(c.numerator.bit_length(), c.denominator.bit_length()) for c in poly.values())
        if len(poly) > MAX_TERMS or any(size > MAX_BITS for size in sizes):
            raise Outside
        return poly

    def _plus(self, a: dict, b: dict) -> dict:
        self._spend(len(b))
        out = dict(a)
        for mono, c in b.items():
            out[mono] = out.get(mono, 0) + c
        return self._checked(out)

    def _product(self, a: dict, b: dict) -> dict:
        self._spend(len(a) * len(b))
        out: dict = {}
        for m, x in a.items():
            for n, y in b.items():
                factor, mono = _times(m, n)
                c = x * y if factor == 1 else factor * x * y
                out[mono] = out[mono] + c if mono in out else c
        return self._checked(out)

    # ---- values ----------------------------------------------------------------------------------
    def number(self, q) -> Value:
        return Value(self._checked({(): Fraction(q)}), UNIT)

    def letter(self, name: str, exponent=1) -> Value:
        exponent = exponent if exponent.denominator > 1 else int(exponent)
        return Value({((name, exponent),): Fraction(1)}, UNIT)

    def add(self, a: Value, b: Value) -> Value:
        if a.den == b.den == UNIT:
            return Value(self._plus(a.num, b.num), UNIT)
        top = self._plus(self._product(a.num, b.den), self._product(b.num, a.den))
        return self._value(top, self._product(a.den, b.den))

    def negative(self, a: Value) -> Value:
        return Value({m: -c for m, c in a.num.items()}, a.den)

    def subtract(self, a: Value, b: Value) -> Value:
        return self.add(a, self.negative(b))

    def multiply(self, a: Value, b: Value) -> Value:
        return self._value(self._product(a.num, b.num), self._product(a.den, b.den))

    def divide(self, a: Value, b: Value) -> Value:
        return self._value(self._product(a.num, b.den), self._product(a.den, b.num))

    def _value(self, num: dict, den: dict) -> Value:
        """num / den in normal form."""
        if not den:
            raise Outside
        if self.inside and any(self._unresolved(poly) for poly in (num, den)):
            return self._resolve(num, den)
        num, den = self._rational_below(num, den)
        if len(den) == 1:
            (mono, c), *_ = den.items()
            factor, inverse = _times((), tuple((g, -n) for g, n in mono))
            num = self._product(num, {inverse: Fraction(factor) / c})
            return self._resolve(num, UNIT) if self.inside and self._unresolved(num) else Value(num, UNIT)
        if not num:
            return Value({}, UNIT)
        common = self._least(den)
        shift = {tuple((g, -n) for g, n in common): Fraction(1)}
        num, den = self._product(num, shift), self._product(den, shift)
        num, den = self._cancel(num, den)
        if len(den) == 1:
            return self._value(num, den)
        scale = _content(den)
        if den[min(den, key=_rank)] < 0:
            scale = -scale
        return Value({m: c / scale for m, c in num.items()}, {m: c / scale for m, c in den.items()})

    def _least(self, poly: dict) -> tuple:
        """The largest monomial that divides every term."""
        names = {g for mono in poly for g, _ in mono}
        least = {g: min(dict(mono).get(g, Fraction(0)) for mono in poly) for g in names}
        return tuple(sorted((g, n) for g, n in least.items() if n))

    def _rational_below(self, num: dict, den: dict) -> tuple[dict, dict]:
        """Multiply by conjugates until no radical is left in a denominator of several terms."""
        for generator in sorted({g for mono in den for g, _ in mono if _radical(g)}):
            if len(den) == 1:
                break
            powers = {dict(mono).get(generator, 0) for mono in den} - {0}
            if generator != "i" and powers - {Fraction(1, 2)}:
                raise Outside
            conjugate = {m: -c if generator in dict(m) else c for m, c in den.items()}
            num, den = self._product(num, conjugate), self._product(den, conjugate)
        if not den:
            raise Outside
        return num, den

    def _unresolved(self, poly: dict) -> bool:
        return any(g in self.inside and not 0 <= n < 1 for mono in poly for g, n in mono)

    def _resolve(self, num: dict, den: dict) -> Value:
        """Whole powers of what stands in a root are multiplied out."""

        def out(poly: dict) -> Value:
            total = Value({}, UNIT)
            for mono, c in poly.items():
                rest = {g: n - math.floor(n) if g in self.inside else n for g, n in mono}
                term = Value({tuple(sorted((g, n) for g, n in rest.items() if n)): c}, UNIT)
                for g, n in mono:
                    if g in self.inside and math.floor(n):
                        term = self.multiply(term, self.power(self.inside[g], Fraction(math.floor(n))))
                total = self.add(total, term)
            return total

        return self.divide(out(num), out(den))

    # ---- greatest common divisors ----------------------------------------------------------------
    def _cancel(self, num: dict, den: dict) -> tuple[dict, dict]:
        """Divide num and den by their greatest common divisor over Q.

        Radicals, and letters that den lacks, are linearly independent over the field of den: the
        divisor is that of den and of num's coefficient of each of them.
        """
        names = sorted({g for mono in den for g, _ in mono})
        exponents = [n for poly in (num, den) for mono in poly for g, n in mono if g in names]
        scale = math.lcm(*(n.denominator for n in exponents))
        parts: dict[tuple, dict] = {}
        for mono, c in num.items():
            powers = dict(mono)
            rest = tuple((g, n) for g, n in mono if g not in names)
            parts.setdefault(rest, {})[tuple(int(powers.get(g, 0) * scale) for g in names)] = c
        low = tuple(min(0, *(e[k] for part in parts.values() for e in part)) for k in range(len(names)))
        parts = {r: {tuple(e - s for e, s in zip(es, low, strict=True)): c for es, c in part.items()}
                 for r, part in parts.items()}  # fmt: skip
        below = {tuple(int(dict(m).get(g, 0) * scale) for g in names): c for m, c in den.items()}
        if any(e > MAX_EXPONENT for poly in (below, *parts.values()) for es in poly for e in es):
            raise Outside
        common = below
        for part in parts.values():
            common = self._gcd(common, part)
        if len(common) == 1:
            return num, den

        def back(poly: dict, shift, rest=()) -> dict:
            out = {}
            for es, c in poly.items():
                powers = [(g, Fraction(e + s, scale)) for g, e, s in zip(names, es, shift, strict=True)]
                out[tuple(sorted([*rest, *((g, n) for g, n in powers if n)]))] = c
            return out

        top: dict = {}
        for rest, part in parts.items():
            top |= back(self._quotient(part, common), low, rest)
        return top, back(self._quotient(below, common), [0] * len(names))

    def _gcd(self, a: dict, b: dict) -> dict:
        """Monic divisor of `{exponents: Fraction}`: primitive remainders in the first variable."""
        if not a or not b or not next(iter(a)):
            return _monic(a or b)
        content_a, a = self._primitive(a)
        content_b, b = self._primitive(b)
        while b:
            a, b = b, self._primitive(self._remainder(a, b))[1]
        content = {(0, *e): c for e, c in self._gcd(content_a, content_b).items()}
        return _monic(self._tuple_product(content, a))

    def _primitive(self, poly: dict) -> tuple[dict, dict]:
        """(content, poly / content): the content is in all variables but the first."""
        if not poly:
            return {}, {}
        by_degree = _by_degree(poly)
        content: dict = {}
        for part in by_degree.values():
            content = self._gcd(content, part) if content else _monic(part)
        if not next(iter(content)):
            return content, _monic(poly)
        out = {
            (d, *e): c for d, part in by_degree.items() for e, c in self._quotient(part, content).items()
        }
        return content, _monic(out)

    def _remainder(self, a: dict, b: dict) -> dict:
        """Pseudo-remainder in the first variable."""
        top = max(e[0] for e in b)
        lead = {(0, *e): c for e, c in _by_degree(b)[top].items()}
        while a and (degree := max(e[0] for e in a)) >= top:
            mine = {(degree - top, *e): -c for e, c in _by_degree(a)[degree].items()}
            a = self._plus(self._tuple_product(lead, a), self._tuple_product(mine, b))
        return a

    def _tuple_product(self, a: dict, b: dict) -> dict:
        self._spend(len(a) * len(b))
        out: dict = {}
        for m, x in a.items():
            for n, y in b.items():
                e = tuple(i + j for i, j in zip(m, n, strict=True))
                out[e] = out.get(e, 0) + x * y
        return self._checked(out)

    def _quotient(self, a: dict, b: dict) -> dict:
        """a / b, which is exact."""
        lead, out = max(b), {}
        while a:
            top = max(a)
            e = tuple(i - j for i, j in zip(top, lead, strict=True))
            out[e] = c = a[top] / b[lead]
            a = self._plus(a, self._tuple_product({e: -c}, b))
        return out

    # ---- powers ----------------------------------------------------------------------------------
    def power(self, base: Value, q: Fraction) -> Value:
        """base ** q, q rational; roots of sums that do not resolve become generators of their own."""
        if q <= 0 and not base.num:
            raise Outside
        if q == 0:
            return self.number(1)
        if abs(q.numerator) > 10_000 or q.denominator > 12:
            raise Outside
        if not base.num:
            return base
        if len(base.num) == 1 and base.den == UNIT:
            (mono, c), *_ = base.num.items()
            if q.denominator == 1:
                return self._monomial_power(mono, c, q)
            return self._monomial_root(base, mono, c, q)
        if q.denominator == 1:
            if abs(q) > MAX_EXPONENT:
                raise Outside
            out = functools.reduce(self.multiply, [base] * abs(int(q)))
            return out if q > 0 else self.divide(self.number(1), out)
        return self._sum_root(base, q)

    def _monomial_power(self, mono: tuple, c: Fraction, q: Fraction) -> Value:
        n = int(q)
        size = max(c.numerator.bit_length(), c.denominator.bit_length())
        if size > 1 and size * abs(n) > MAX_BITS:
            raise Outside
        out = self.number(c**n)
        for generator, m in mono:
            if generator.isdigit():
                out = self.multiply(out, self._prime_power(int(generator), m * n))
            else:
                factor, powered = _times((), ((generator, m * n),))
                out = self.multiply(out, Value({powered: Fraction(factor)}, UNIT))
        return self._value(out.num, out.den)

    def _prime_power(self, p: int, q: Fraction) -> Value:
        if abs(q) * p.bit_length() > MAX_BITS:
            raise Outside
        whole = math.floor(q)
        mono = ((str(p), q - whole),) if q - whole else ()
        return Value({mono: Fraction(p) ** whole}, UNIT)

    def _positive_power(self, c: Fraction, q: Fraction) -> Value:
        """A positive rational to a rational power."""
        out = self.number(1)
        for n, sign in ((c.numerator, 1), (c.denominator, -1)):
            for p, count in factors(n):
                out = self.multiply(out, self._prime_power(p, sign * count * q))
        return out

    def _monomial_root(self, base: Value, mono: tuple, c: Fraction, q: Fraction) -> Value:
        names = [g for g, _ in mono if not _positive(g)]
        if c < 0 and not names:
            if q.denominator % 2:  # the real root
                sign = self.number(-1 if q.numerator % 2 else 1)
            elif q.denominator == 2:
                sign = self.power(self.letter("i"), Fraction(q.numerator))
            else:
                raise Outside
            return self.multiply(sign, self._monomial_root(self.negative(base), mono, -c, q))
        if c < 0 or len(names) > 1 or (names and (names[0] == "i" or dict(mono)[names[0]] != 1)):
            return self._sum_root(base, q)
        out = self._positive_power(c, q)
        for g, n in mono:
            root = self._prime_power(int(g), n * q) if g.isdigit() else self.letter(g, n * q)
            out = self.multiply(out, root)
        return out

    def _sum_root(self, base: Value, q: Fraction) -> Value:
        """(sum)**q: the positive content comes out; a + b sqrt(c) is denested; the rest is a generator."""
        content = _content(base.num)
        rest = Value({m: c / content for m, c in base.num.items()}, base.den)
        outer = self._positive_power(content, q)
        if q.denominator == 2 and (root := self._denested(rest)):
            return self.multiply(outer, self.power(root, Fraction(q.numerator)))
        name = f"({text(rest)})"
        self.inside[name] = rest
        return self.multiply(outer, self._value({((name, q),): Fraction(1)}, UNIT))

    def _denested(self, base: Value) -> Value | None:
        """sqrt(a + b sqrt(c)) = sqrt((a+d)/2) +- sqrt((a-d)/2) where d = sqrt(a^2 - b^2 c) is rational."""
        if base.den != UNIT or len(base.num) != 2 or () not in base.num:
            return None
        (mono,) = base.num.keys() - {()}
        if any(not g.isdigit() or n != Fraction(1, 2) for g, n in mono):
            return None
        a, b = base.num[()], base.num[mono]
        square = a * a - b * b * math.prod(int(g) for g, _ in mono)
        if a <= 0 or square < 0:
            return None
        d = self._positive_power(square, Fraction(1, 2)).rational if square else Fraction(0)
        if d is None:
            return None
        first, second = (self.power(self.number((a + s) / 2), Fraction(1, 2)) for s in (d, -d))
        return self.add(first, second if b > 0 else self.negative(second))

    def general_power(self, base: Value, exponent: Value) -> Value:
        """base ** exponent with letters above: a**(x+1) = a * a**x; base > 0, e or a letter."""
        if (q := exponent.rational) is not None:
            return self.power(base, q)
        if exponent.den != UNIT:
            raise Outside
        q = base.rational
        if q is not None and q > 0:
            bases = [(self.number(p), s * n) for part, s in ((q.numerator, 1), (q.denominator, -1))
                     for p, n in factors(part)]  # fmt: skip
        elif (
            base.den == UNIT and len(base.num) == 1 and next(iter(base.num)) in ((("e", 1),), (("pi", 1),))
        ):
            bases = [(base, 1)] if next(iter(base.num.values())) == 1 else []
        elif len(base.letters) == 1 and base == self.letter(next(iter(base.letters))):
            bases = [(base, 1)]
        else:
            bases = []
        if not bases and q != 1:
            raise Outside
        out = self.number(1)
        for one, count in bases:
            for mono, c in exponent.num.items():
                if not mono:
                    out = self.multiply(out, self.power(one, c * count))
                else:
                    name = f"({text(one)}^({_mono_text(mono)}))"
                    factor, powered = _times((), ((name, c * count),))
                    out = self.multiply(out, Value({powered: Fraction(factor)}, UNIT))
        return out


def _monic(poly: dict) -> dict:
    if not poly:
        return poly
    lead = poly[max(poly)]
    return {e: c / lead for e, c in poly.items()}


def _by_degree(poly: dict) -> dict[int, dict]:
    out: dict[int, dict] = {}
    for (d, *e), c in poly.items():
        out.setdefault(d, {})[tuple(e)] = c
    return out


def _mono_text(mono: tuple) -> str:
    return "*".join(
        g if n == 1 else f"{g}^{n}" if n > 0 and n.denominator == 1 else f"{g}^({n})" for g, n in mono
    )


def poly_text(poly: dict) -> str:
    """A polynomial as the grammar reads it back."""
    out = ""
    for mono in sorted(poly, key=_rank):
        c = poly[mono]
        size = "" if mono and abs(c) == 1 else str(abs(c)) + ("*" if mono else "")
        out += ("-" if c < 0 else "+" if out else "") + size + _mono_text(mono)
    return out or "0"


def text(value: Value) -> str:
    """A value as the grammar reads it back: equal values have equal texts."""
    if value.den == UNIT:
        return poly_text(value.num)
    return f"({poly_text(value.num)})/({poly_text(value.den)})"
