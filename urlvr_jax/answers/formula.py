"""A hand-written grammar of formulas in LaTeX or plain text -> exact values (`algebra.Value`).

    sum      term (+|- term)*
    term     factor (* factor | / factor | factor)*      a/b c is ambiguous and outside
    factor   atom postfix* (^ exponent)?                 postfix: ! and %
    atom     number | letter | letter_sub | ( sum ) | { sum } | | sum | | \\frac | \\sqrt | \\binom | function

Nothing is evaluated but by `algebra`; text, depth and work are bounded, and what does not fit raises `Outside`.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

from urlvr_jax.answers import functions
from urlvr_jax.answers.algebra import Algebra, Outside, Value, text

MAX_TEXT = 400  # characters of a formula
MAX_DEPTH = 24
MAX_FACTORIAL = 150

_GREEK = (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma "
    "tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega ell infty"
)
_FUNCTIONS = "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log exp sqrt abs floor ceil"
GREEK, FUNCTIONS = frozenset(_GREEK.split()), frozenset(_FUNCTIONS.split())
# Words short enough to be taken for a product of letters.
_WORDS = "yes no odd all one two six ten red not and or any is of at to in day sum tie nil non if for the are was"
WORDS = frozenset(_WORDS.split())

_TOKEN = re.compile(
    r"\s*(?:(?P<repeating>(?:\d+)?\.\d*\\overline\s*\{\d+\})"
    r"|(?P<scientific>(?:\d+(?:\.\d+)?|\.\d+)[eE][-+]?\d{1,2}(?![\w.]))"
    r"|(?P<number>\d+(?:\.\d+)?|\.\d+)"
    r"|(?P<command>\\[A-Za-z]+)"
    r"|(?P<word>[A-Za-z]+)"
    r"|(?P<sign>\*\*|\\[{}%]|[-+*/^_(){}\[\]|!%]))"
)
_DEGREE = re.compile(r"\^?\s{0,9}(?:\{\s{0,9}°\s{0,9}\}|°)")
_ENDS = ("\\{", "\\}", "\\rfloor", "\\rceil", "\\degree")
_BRACKETS = {"(": ")", "{": "}", "[": "]"}


def tokens(formula: str) -> list[str]:
    """Numbers, commands, single letters, names and signs; `Outside` if anything else occurs."""
    if len(formula) > MAX_TEXT:
        raise Outside
    if not formula.isascii() and not (formula := _DEGREE.sub(r"\\degree ", formula)).isascii():
        raise Outside
    out = []
    at = 0
    formula = formula.rstrip()
    while at < len(formula):
        match = _TOKEN.match(formula, at)
        if not match:
            raise Outside
        at = match.end()
        token = match.group(match.lastgroup)
        if match.lastgroup != "word" or token in FUNCTIONS or token == "pi" or len(token) == 1:
            out.append({"**": "^", "\\%": "%", "\\pi": "pi"}.get(token, token))
        elif is_word(token):
            raise Outside
        else:
            out += token
    return out


def is_word(letters: str) -> bool:
    """Is a run of two or more letters a word, not a product: long, listed, capitalised or in capitals."""
    return len(letters) > 3 or letters.lower() in WORDS or letters.istitle() or letters.isupper()


def parse(formula: str, algebra: Algebra | None = None) -> Value:
    """The exact value of a formula; `Outside` if it is none, or exceeds a limit."""
    parser = Parser(tokens(formula), algebra or Algebra())
    value = parser.sum()
    if parser.at != len(parser.tokens):
        raise Outside
    return value


class Parser:
    """Reads tokens into what `algebra` makes of them; a subclass may give powers and functions another meaning."""

    def __init__(self, tokens: list[str], algebra: Algebra):
        self.tokens = tokens
        self.at = 0
        self.depth = 0
        self.angles = 0  # arguments of sin, cos, ... that are being read
        self.algebra = algebra

    @property
    def next(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        token = self.next
        self.at += 1
        return token

    def accept(self, token: str) -> bool:
        found = self.next == token
        self.at += found
        return found

    def expect(self, token: str) -> None:
        if not self.accept(token):
            raise Outside

    # ---- sums and products -----------------------------------------------------------------------
    def sum(self) -> Value:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Outside
        value = self.term()
        while self.next in ("+", "-"):
            value = self.combine(self.take(), value, self.term())
        self.depth -= 1
        return value

    def combine(self, sign: str, a: Value, b: Value) -> Value:
        to = self.algebra
        return {"+": to.add, "-": to.subtract, "*": to.multiply, "/": to.divide}[sign](a, b)

    def term(self) -> Value:
        value = self.signed()
        after_slash = False
        while True:
            if self.next in ("*", "/"):
                after_slash = self.next == "/"
                value = self.combine(self.take(), value, self.signed())
            elif self.starts_factor():
                if after_slash or _is_number(self.next):
                    raise Outside  # 1/2x has two readings; 1 2 has none
                value = self.algebra.multiply(value, self.factor())
            else:
                return value

    def signed(self) -> Value:
        negative = False
        while self.next in ("+", "-"):
            negative ^= self.take() == "-"
        value = self.factor()
        return self.algebra.negative(value) if negative else value

    def starts_factor(self) -> bool:
        token = self.next
        return bool(token) and (token[0].isalnum() or token[0] in ".({[\\") and token not in _ENDS

    # ---- factors ---------------------------------------------------------------------------------
    def factor(self) -> Value:
        applied = self.next in functions.APPLIED
        value = self.postfix(self.atom())
        if self.accept("^"):
            value = self.power(value, self.exponent())
            value = self.postfix(value)
            if applied and self.next in ("(", "["):
                raise Outside  # f^{-1}(3) is no product, and f^2(3) has two readings
        return value

    def postfix(self, value: Value) -> Value:
        while self.next in ("!", "%", "\\degree"):
            sign = self.take()
            if sign == "%":
                value = self.algebra.divide(value, self.algebra.number(100))
                continue
            if sign == "\\degree":
                value = self.degrees(value)
                continue
            n = value.rational
            if n is None or n.denominator != 1 or not 0 <= n <= MAX_FACTORIAL:
                raise Outside
            value = self.algebra.number(math.factorial(int(n)))
        return value

    def degrees(self, value: Value) -> Value:
        if not self.angles or value.letters and len(value.num) > 1:
            raise Outside
        return functions.degrees(self.algebra, value)

    def exponent(self) -> Value:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Outside
        negative = False
        while self.next in ("+", "-"):
            negative ^= self.take() == "-"
        value = self.atom()
        if self.accept("^"):  # a^b^c = a^(b^c)
            value = self.power(value, self.exponent())
        self.depth -= 1
        return self.algebra.negative(value) if negative else value

    def atom(self) -> Value:
        token = self.take()
        if token in _BRACKETS:
            value = self.sum()
            self.expect(_BRACKETS[token])
            return value
        if token == "|":
            value = self.sum()
            self.expect("|")
            return self.call("abs", value)
        if token in ("\\lfloor", "\\lceil"):
            value = self.sum()
            self.expect(token.replace("\\l", "\\r"))
            return self.call(token[2:], value)
        if _is_number(token):
            return self.number(token)
        name = token.removeprefix("\\")
        if name in FUNCTIONS and name != "sqrt" or token == "\\operatorname":
            return self.function(name)
        if name == "sqrt":
            return self.root()
        if token in ("\\frac", "\\binom"):
            return self.fraction(token)
        if len(token) == 1 and token.isalpha() or token == "pi" or token[:1] == "\\" and name in GREEK:
            return self.letter(token)
        raise Outside

    def number(self, token: str) -> Value:
        if "\\overline" in token:
            before, cycle = re.fullmatch(r"([\d.]+)\\overline\s*\{(\d+)\}", token).groups()
            shift = len(before) - before.index(".") - 1
            if len(token) > 60:
                raise Outside
            head = Fraction("0" + before + "0")
            return self.algebra.number(head + Fraction(int(cycle), (10 ** len(cycle) - 1) * 10**shift))
        value = self.algebra.number(Fraction(token))
        if token.isdigit() and self.next == "\\frac":
            return self.mixed(value)
        return value

    def mixed(self, whole: Value) -> Value:
        """1\\frac{4}{5} is a mixed number if the fraction is proper; another fraction of integers has two
        readings; anything else is a product."""
        words = self.tokens[self.at + 1 : self.at + 7]
        digits = [w for w in words[:6] if w.isdigit()]
        braced = words[:1] == ["{"] and words[2:4] == ["}", "{"] and words[5:6] == ["}"]
        short = len(words) > 0 and words[0].isdigit() and len(words[0]) == 2
        if not (short or braced and len(digits) == 2):
            return whole
        part = self.fraction(self.take()).rational
        if part is None or not 0 < part < 1 or whole.rational == 0 or self.next == "^":
            raise Outside
        return self.algebra.add(whole, self.algebra.number(part))

    def letter(self, token: str) -> Value:
        name = self.name(token)
        bracket = self.tokens[self.at + 1 : self.at + 16]
        if self.next not in ("(", "[") or not functions.is_value(name, bracket):
            return self.algebra.letter(name)
        return functions.value_at(self.algebra, name, self.atom())

    def name(self, token: str) -> str:
        """A letter with its index."""
        if not self.accept("_"):
            return token
        braces = self.accept("{")
        index = self.take()
        while braces and not self.accept("}"):
            index += self.take()
            if self.at > len(self.tokens):
                raise Outside
        if not re.fullmatch(r"[A-Za-z0-9]{1,8}", index):
            raise Outside
        return f"{token}_{index}" if len(index) == 1 else f"{token}_{{{index}}}"

    def group(self) -> Value:
        """An argument: `{ sum }`, or one digit or letter."""
        if self.accept("{"):
            value = self.sum()
            self.expect("}")
            return value
        if _is_number(self.next) and len(self.next) > 1:
            raise Outside
        if self.next in ("\\frac", "\\sqrt", "\\pi") or self.next.isalnum():
            return self.atom()
        raise Outside

    def fraction(self, kind: str) -> Value:
        if self.next.isdigit() and len(self.next) == 2:  # \frac12
            above, below = (self.algebra.number(int(d)) for d in self.take())
        else:
            above, below = self.group(), self.group()
        if kind == "\\frac":
            return self.algebra.divide(above, below)
        n, k = above.rational, below.rational
        if n is None or k is None or n.denominator != 1 or k.denominator != 1 or not 0 <= k <= n <= 1000:
            return functions.generator(self.algebra, "binom", f"{{{text(above)}}}{{{text(below)}}}")
        return self.algebra.number(math.comb(int(n), int(k)))

    def root(self) -> Value:
        degree = Fraction(2)
        if self.accept("["):
            degree = self.sum().rational
            self.expect("]")
        if degree is None or degree.denominator != 1 or not 2 <= degree <= 12:
            raise Outside
        value = self.atom() if self.next == "(" else self.group()
        return self.algebra.power(value, 1 / degree)

    # ---- functions -------------------------------------------------------------------------------
    def power(self, base: Value, exponent: Value) -> Value:
        return functions.power(self.algebra, base, exponent)

    def call(self, name: str, x: Value, base: Value | None = None) -> Value:
        return functions.call(self.algebra, name, x, base)

    def function(self, name: str) -> Value:
        base, power = None, None
        if name == "log" and self.accept("_"):
            base = self.atom() if self.next == "(" else self.group()
        if self.accept("^"):
            power = self.exponent()
        self.angles += name in functions.TRIGONOMETRIC
        argument = self.argument()
        if name in functions.TRIGONOMETRIC and self.accept("\\degree"):
            argument = self.degrees(argument)
        self.angles -= name in functions.TRIGONOMETRIC
        value = self.call(name, argument, base)
        if power is None:
            return value
        if power.rational is None or power.rational < 0:
            raise Outside  # sin^{-1} is arcsin or 1/sin
        return self.power(value, power)

    def argument(self) -> Value:
        """What follows a function's name: a bracket, or a product up to the next sign or function."""
        if self.next in ("(", "{"):
            return self.atom()
        value = None
        count = 0
        while self.starts_factor() and self.next.removeprefix("\\") not in FUNCTIONS - {"sqrt"}:
            if self.next in ("(", "["):
                raise Outside  # \sin x(y) has two readings
            part = self.factor()
            value = part if value is None else self.algebra.multiply(value, part)
            count += 1
        if value is None or self.next == "/":
            raise Outside
        return value


def _is_number(token: str) -> bool:
    return token[:1].isdigit() or token[:1] == "."
