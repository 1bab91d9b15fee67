"""The canonical key of one answer: two answers are equal when their keys are.

A key is computed from one answer alone, so equality is an equivalence relation. What the grammar of
docs/answers.md reads becomes its exact normal form; everything else its normalised text. A key is itself an
answer, and its own key.
"""

from __future__ import annotations

import functools
import hashlib
import math
import re
from fractions import Fraction

from urlvr_jax.answers import algebra, boxes, formula, names, notation, piecewise, wording
from urlvr_jax.answers.algebra import Algebra, Outside, Value

LONGEST = 1000  # characters of an answer that is read, and of a key
MAX_DEPTH = 5  # of sets and tuples in one another
MAX_MEMBERS = 64

_NUMBER = re.compile(r"[-+]?\d{1,60}(?:\.\d{1,60})?")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d{1,60})?")
_WORDS = re.compile(r"[A-Za-z][A-Za-z' .-]*")
_TIME = re.compile(r"(\d{1,2})(?::(\d{2}))?\s*([ap])\.?\s*m\.?", re.I)
_CLOCK = re.compile(r"(?:[01]?\d|2[0-3]):[0-5]\d")
_BASE = re.compile(r"(-?)\(?([0-9A-F]+)\)?_\{?\s*(?:\\text\s*\{)?\s*([0-9a-z]{1,7})\s*\}{0,2}")
_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
          "ten": 10, "twelve": 12, "sixteen": 16}  # fmt: skip
_MIXED = re.compile(r"([-+]?)\s*(\d{1,20})\s+(\d{1,20})\s*/\s*(\d{1,20})")
_MATRIX = re.compile(
    r"(.*?)\\begin\s*\{((?:[pbB]|small)?matrix|array)\}(?:\s*\{[lcr| ]*\})?(.*)\\end\s*\{\2\}", re.S
)
_SUCH_THAT = re.compile(r"[A-Za-z]\s*[|:]\s*([^|:]*[<>≤≥∈][^|:]*)")
_ORDER = {"<": "<", ">": ">", "≤": "≤", "≥": "≥"}
_CONSTANTS = ("\\pi", "pi", "e", "i")
_CHOICES = tuple("(\\ABCDEFGHIJ")
_TURNED = {"<": ">", ">": "<", "≤": "≥", "≥": "≤"}


def key(answer: str) -> str:
    """Canonical key of one extracted answer. Never raises, whatever the text; "" for an empty answer."""
    if (number := _plain_number(answer)) is not None:
        return number
    if len(answer) > LONGEST:
        return _shortened(" ".join(answer.split()))
    return _key(answer)


def _plain_number(answer: str) -> str | None:
    """An integer or decimal as a reduced fraction."""
    text = answer.strip().strip("$").strip() if len(answer) <= 200 else ""
    if _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    return str(Fraction(text)) if _NUMBER.fullmatch(text) else None


@functools.lru_cache(maxsize=4096)
def _key(answer: str) -> str:
    for _ in range(4):  # a key is its own key: reading it again must change nothing
        before = answer
        answer = _plain_number(answer) or _read(answer)
        if answer == before:
            break
    return answer


def _read(answer: str) -> str:
    listed = [notation.clean(content) for content in boxes.contents(answer)]
    text = notation.clean(answer)
    try:
        if listed:
            text = ", ".join(notation.join_thousands(notation.peel(one)) for one in listed)
        text = notation.peel(text)
        out = _Reader().answer(text)
    except Outside:
        out = _words(text) if _WORDS.fullmatch(text) else _unread(text)
    return _shortened(out)


def _unread(text: str) -> str:
    """A text outside the grammar without \\text{}, unless its words would be read as a product of letters."""
    words = notation.plain(text)
    if "\\text" not in text or (marked := notation.marked(text)) == words:
        return words
    try:
        _Reader().answer(words)
    except Outside:
        return words
    return marked


def _shortened(text: str) -> str:
    """A text that is too long to be a key is told by its beginning and its hash."""
    if len(text) <= LONGEST:
        return text
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"{notation.plain(text[:60])} ... {digest}"


def _words(text: str) -> str:
    """Words, without case; marked as such where they could be read as a product of letters."""
    folded = " ".join(text.lower().rstrip(" .").split())
    if folded in wording.NUMBERS:
        return wording.NUMBERS[folded]
    if wording.NO_SOLUTION.fullmatch(folded):
        return _set([])
    try:
        formula.tokens(folded)
    except Outside:
        return folded
    return folded if len(text) == 1 else f"\\text{{{folded}}}"


class _Reader:
    """Reads one answer; all its parts share one budget of work."""

    def __init__(self):
        self.algebra = Algebra()
        self.depth = 0
        self.whole = False  # is what is read no member of a list, so that the noun behind it can go

    # ---- lists, sets, unions ---------------------------------------------------------------------
    def answer(self, text: str) -> str:
        text = notation.peel(text)
        if not text:
            return ""
        if rows := piecewise.rows(text):
            return self.cases(rows)
        text = notation.join_thousands(notation.french_interval(text))
        if text[:1] in _CHOICES and (rest := wording.chosen(text)):
            return self.answer(rest)
        if (inner := notation.text_alone(text)) is not None:
            return _words(inner) if len(inner) > 1 and _WORDS.fullmatch(inner) else self.answer(inner)
        if (inner := notation.enclosed(text, "\\{", "\\}")) is not None:
            if match := _SUCH_THAT.fullmatch(inner):
                return self.answer(match[1])
            members = self.members(notation.split(inner, ",;")[0]) if inner else []
            return members[0] if len(members) == 1 else _set(members)
        parts, found = notation.split(notation.conjunctions(text), ",;∨")
        if len(parts) == 1:
            self.whole = "," not in text and ";" not in text
            members = self.both_signs(text)
        elif re.search("[<>≤≥]", text):
            if set(found) != {"∨"}:
                raise Outside
            return _union([self.single(p) for p in parts])
        else:
            members = self.members(parts)
        return members[0] if len(members) == 1 else _set(members)

    def members(self, parts: list[str]) -> list[str]:
        if len(parts) > MAX_MEMBERS:
            raise Outside
        if len({n[0] for p in parts if (n := self.name(p))}) > 1:  # x = 1, y = 2: who is what matters
            out = []
            for part in parts:
                name, rest = self.name(part) or (None, None)
                if name is None:
                    raise Outside
                out.append(f"{name}={self.single(rest)}")
        else:
            out = [k for p in parts for k in self.both_signs(p)]
        return sorted(set(out))

    def name(self, part: str) -> tuple[str, str] | None:
        """(letter, rest) of `x_1 = rest`; None where a part does not begin with a name."""
        sides, found = notation.split(part, "=≈")
        if len(found) != 1:
            return None
        first = sides[0].strip()
        if names.NAME.fullmatch(first):
            return re.sub(r"_(\w|\{\w+\})$", "", first).replace(" ", ""), sides[1]
        return (names.written(first), sides[1]) if names.is_quantity(first) else None

    def both_signs(self, text: str) -> list[str]:
        signs = text.count("±") + text.count("∓")
        if not signs:
            return [self.single(text)]
        if signs > 1:
            raise Outside  # two of them may go together or not
        pair = [self.single(re.sub("[±∓]", f" {sign} ", text)) for sign in "+-"]
        return sorted(set(pair))

    # ---- one member ------------------------------------------------------------------------------
    def single(self, text: str) -> str:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Outside
        text = notation.peel(text)
        out = self.structure(text) or self.relation(text) or self.special(text) or self.scalar(text)
        self.depth -= 1
        return out

    def structure(self, text: str) -> str | None:
        """Tuples, intervals, unions, sets in sets, matrices; None if it is none of them."""
        if notation.EMPTY_SET.fullmatch(text):
            return _set([])
        if text in ("\\mathbb{R}", "\\mathbb R", "\\R"):
            return "(-\\infty,\\infty)"
        if "\\begin" in text and (match := _MATRIX.fullmatch(text)) and "=" not in match[1]:
            return self.matrix(*match.group(1, 3))
        if notation.split(text, "∪")[1]:
            return _union([self.single(p) for p in notation.split(text, "∪")[0]])
        if (inner := notation.enclosed(text, "\\{", "\\}")) is not None:
            return _set(self.members(notation.split(inner, ",;")[0]) if inner else [])
        if (
            text[:1] in ("(", "[", "⟨")
            and (inner := notation.enclosed(text, text[0], text[-1])) is not None
        ):
            if inner.startswith("\\begin") and (match := _MATRIX.fullmatch(inner)):
                return self.matrix(*match.group(1, 3))
            parts, found = notation.split(inner, ",;")
            if len(set(found)) > 1:
                raise Outside
            if not found and text[0] != "⟨":
                return None
            if len(parts) > MAX_MEMBERS or (len(parts) != 2 and text[0] + text[-1] in ("(]", "[)")):
                raise Outside
            return text[0] + ",".join(self.single(p) for p in parts) + text[-1]
        return None

    def matrix(self, factor: str, body: str) -> str:
        factor = factor.strip()
        scale = self.value(factor + "1" if factor in ("", "+", "-") else factor)
        rows = [r for r in re.split(r"\\\\(?:\[\w+\])?", body) if r.strip()]
        cells = [[self.algebra.multiply(scale, self.value(c)) for c in row.split("&")] for row in rows]
        if len({len(row) for row in cells}) != 1 or len(cells) * len(cells[0]) > MAX_MEMBERS:
            raise Outside
        inside = "\\\\".join("&".join(self.written(c) for c in row) for row in cells)
        return f"\\begin{{matrix}}{inside}\\end{{matrix}}"

    def cases(self, rows: list[tuple[str, str | None]]) -> str:
        """A function by cases, row by row; a system of equations is the list of them."""
        if len(rows) > MAX_MEMBERS:
            raise Outside
        if all(condition is None for _, condition in rows):
            values = [value for value, _ in rows]
            if not all(map(self.name, values)):
                return _cases(sorted(map(self.statement, values)))
            members = self.members(values)
            return members[0] if len(members) == 1 else _set(members)
        cells = [
            (self.single(notation.join_thousands(v)), self.condition(c or "otherwise")) for v, c in rows
        ]
        return _cases(["&".join(row) for row in cells])

    def statement(self, text: str) -> str:
        """One line of a system: an equation up to a factor, or a condition."""
        sides, found = notation.split(text, "=<>≤≥≠∈≈")
        return self.up_to_factor(self.difference(sides)) + "=0" if found == ["="] else self.condition(text)

    def condition(self, text: str) -> str:
        """`x > 0` as x∈(0,\\infty): whose condition it is matters; what is no relation is compared as text."""
        letter = piecewise.letter(text)
        try:
            out = self.relation(notation.join_thousands(text)) if letter else None
        except Outside:
            out = None
        if out is None:
            return "".join(text.split())
        if piecewise.letter(out) == letter:
            return out
        return f"{letter}{'∈' if out[0] in '([' or '∪' in out else '='}{out}"

    # ---- equations, inequalities, membership -----------------------------------------------------
    def relation(self, text: str) -> str | None:
        if text.startswith("≈"):
            return self.single(text[1:].strip())
        sides, found = notation.split(text, "=<>≤≥≠∈≈")
        if not found:
            return None
        sides = [s.strip() for s in sides]
        if not all(sides):
            raise Outside
        if found[0] == "∈" and len(found) == 1 and names.NAME.fullmatch(sides[0]):
            return self.single(sides[1])
        if "≈" in found:
            return self.approximation(sides, found)
        if set(found) == {"="}:
            return self.equation(sides) if len(sides) == 2 else self.chain(sides)
        if found == ["≠"]:
            return self.up_to_factor(self.difference(sides)) + "≠0"
        if len(found) == 1 and found[0] in _ORDER:
            return self.inequality(self.difference(sides), found[0])
        if len(found) == 2 and (set(found) <= {"<", "≤"} or set(found) <= {">", "≥"}):
            low, middle, high = sides if found[0] in "<≤" else sides[::-1]
            low_sign, high_sign = found if found[0] in "<≤" else found[::-1]
            if names.NAME.fullmatch(middle):
                ends = self.written(self.value(low)), self.written(self.value(high))
                return f"{'(['[low_sign in '≤≥']}{ends[0]},{ends[1]}{')]'[high_sign in '≤≥']}"
        raise Outside

    def difference(self, sides: list[str]) -> Value:
        return self.algebra.subtract(self.value(sides[0]), self.value(sides[1]))

    def approximation(self, sides: list[str], found: list[str]) -> str:
        """`x ≈ 3.14` is 3.14; an exact value that is followed by its approximation is the exact value."""
        if set(found) - {"=", "≈"}:
            raise Outside
        exact = [s for s in sides[: found.index("≈") + 1] if s in _CONSTANTS or not self.is_name(s)]
        if not exact:
            return self.equation(sides) if len(sides) == 2 else self.chain(sides)
        if names.has_unknown(exact[-1]):
            raise Outside
        return self.written(self.value(exact[-1]))

    def is_name(self, side: str) -> bool:
        return names.NAME.fullmatch(side) is not None or names.is_quantity(side)

    def chain(self, sides: list[str]) -> str:
        """`x = 7 = 11` ends in 11: the last member that is no name."""
        named = [self.is_name(s) for s in sides]
        if all(named):
            raise Outside  # a = b = c
        members = [s for s, name in zip(sides, named, strict=True) if not name]
        out = self.single(members[-1])
        if not named[0] and self.is_equation(members, out):
            raise Outside
        return out

    def is_equation(self, members: list[str], out: str) -> bool:
        """Does a chain without a name at its head relate letters: x^2 + y^2 = r^2 = 25, x^2 - x = x(x - 1) = 0."""
        unknown = [m for m in members[:-1] if names.has_unknown(m)]
        values = []
        for member in unknown:
            try:
                values.append(self.value(member))
            except Outside:  # an integral, say
                continue
        return bool(unknown) and (out == "0" or any(v != values[0] for v in values))

    def equation(self, sides: list[str]) -> str:
        """`x = 5` is 5, and so is `f(2) = 5`; another equation is a polynomial up to a factor, or what y is where
        y stands alone in it, or without letters its right side."""
        if (solved := self.solved_for_y(sides)) is not None:
            return solved
        if all(map(names.is_points, sides)):
            raise Outside  # AB = CD
        lone = [bool(names.NAME.fullmatch(s)) for s in sides]
        if lone[0] and not (lone[1] and len(sides[1]) == 1):
            name = sides[0]
            out = self.single(sides[1])
            if len(name) > 1 or not re.search(rf"(?<![A-Za-z\\]){name}(?![A-Za-z])", out) or name == "e":
                return out
        if lone[1] and len(sides[1]) == 1 and not lone[0]:
            return self.equation(sides[::-1])
        for name, value in (sides, sides[::-1]):
            if names.is_quantity(name) and not self.is_name(value):
                return self.quantity(name, value)
        values = [self.value(s) for s in sides]
        if values[0] == values[1] or not any(
            v.letters or names.has_unknown(s) for s, v in zip(sides, values, strict=True)
        ):
            return self.written(values[1])
        return self.up_to_factor(self.algebra.subtract(*values)) + "=0"

    def quantity(self, name: str, value: str) -> str:
        """The value of a named quantity; of a ratio it has as many terms."""
        terms, of_value = (len(notation.split(side, ":")[1]) for side in (name, value))
        if terms and of_value != terms:
            raise Outside
        return self.single(value)

    def solved_for_y(self, sides: list[str]) -> str | None:
        """The right side of y = f(x), if that is what an equation in x and y says."""
        try:
            zero = self.difference(sides)
        except Outside:
            return None
        if not {"x", "y"} <= zero.letters:
            return None
        with_y = {m: c for m, c in zero.num.items() if any(g == "y" for g, _ in m)}
        if set(with_y) != {(("y", 1),)} or any(g == "y" for m in zero.den for g, _ in m):
            return None
        (c,) = with_y.values()
        rest = {m: -x / c for m, x in zero.num.items() if m not in with_y}
        if zero.den != algebra.UNIT:
            return None
        return self.written(Value(rest, zero.den))

    def up_to_factor(self, zero: Value) -> str:
        """The numerator with coprime integers and a positive first coefficient."""
        if not zero.letters:
            raise Outside
        one = self.algebra.number(1)
        top = Value(zero.num, one.den)
        first = next(iter(sorted(top.num, key=algebra._rank)))
        scale = abs(top.num[first]) if _radicals(top) else algebra._content(top.num)
        sign = -1 if top.num[first] < 0 else 1
        return self.written(Value({m: c * sign / scale for m, c in top.num.items()}, one.den))

    def inequality(self, zero: Value, sign: str) -> str:
        """`zero sign 0`: an interval where one letter stands alone, else the polynomial up to a factor."""
        if zero.den != algebra.UNIT or not zero.num:
            raise Outside
        letters = zero.letters
        first = next(iter(sorted(zero.num, key=algebra._rank)))
        scale = zero.num[first]
        turned = _TURNED[sign] if scale < 0 else sign
        monic = {m: c / scale for m, c in zero.num.items()}
        if len(letters) == 1 and first == ((*letters, 1),) and "(" not in first[0][0]:
            rest = Value({m: -c for m, c in monic.items() if m != first}, zero.den)
            if not rest.letters:
                bound = self.written(rest)
                closed = turned in "≤≥"
                if turned in ">≥":
                    return f"{'(['[closed]}{bound},\\infty)"
                return f"(-\\infty,{bound}{')]'[closed]}"
        if not letters:
            raise Outside
        return self.written(Value(monic, zero.den)) + turned + "0"

    # ---- times, ratios, numbers in a base, values ------------------------------------------------
    def special(self, text: str) -> str | None:
        bare = notation.plain(text) if ":" in text or "m" in text or "M" in text else ""
        if (match := _TIME.fullmatch(bare)) and 1 <= int(match[1]) <= 12:
            return f"{int(match[1])}:{match[2] or '00'} {match[3].lower()}m"
        if (number := wording.ordinal(text)) is not None:
            return number
        if _CLOCK.fullmatch(bare):  # a ratio or a time: left as it is written
            return bare
        parts, found = notation.split(text, ":")
        if found:
            return self.ratio([self.value(p) for p in parts])
        compact = text.replace(" ", "")
        if (match := _BASE.fullmatch(compact)) and (match[2][0].isdigit() or len(match[2]) > 1):
            base = _BASES.get(match[3]) or (int(match[3]) if match[3].isdigit() else 0)
            if not 2 <= base <= 16 or any(int(d, 16) >= base for d in match[2]):
                raise Outside
            index = str(base) if base < 10 else f"{{{base}}}"
            return f"{match[1]}{match[2].lstrip('0') or '0'}_{index}"
        return None

    def ratio(self, terms: list[Value]) -> str:
        if len(terms) > 6 or not terms[0].num:
            raise Outside
        terms = [self.algebra.divide(t, terms[0]) for t in terms]
        rationals = [t.rational for t in terms]
        if all(q is not None for q in rationals):
            scale = math.lcm(*(q.denominator for q in rationals))
            terms = [self.algebra.number(q * scale) for q in rationals]
        return ":".join(self.written(t) for t in terms)

    def scalar(self, text: str) -> str:
        if (inner := notation.text_alone(text)) is not None and inner != text:
            return _words(inner) if len(inner) > 1 and _WORDS.fullmatch(inner) else self.single(inner)
        try:
            return self.written(self.value(text))
        except Outside:
            if self.whole and (number := wording.counted(text)):
                return self.single(number)
            if _WORDS.fullmatch(text) and len(text) > 1:
                return _words(text)
            raise

    def value(self, text: str) -> Value:
        """The value of a formula, its unit dropped."""
        text = notation.peel(notation.without_unit(notation.peel(text)))
        if match := _MIXED.fullmatch(text):
            sign, whole, above, below = match.groups()
            if not 0 < int(above) < int(below) or not int(whole):
                raise Outside
            size = int(whole) + Fraction(int(above), int(below))
            return self.algebra.number(-size if sign == "-" else size)
        return formula.parse(text, self.algebra)

    def written(self, value: Value) -> str:
        out = algebra.text(value)
        if len(out) > formula.MAX_TEXT:
            raise Outside
        return out


def _radicals(value: Value) -> bool:
    return any(g == "i" or g.isdigit() for m in value.num for g, _ in m)


def _set(members: list[str]) -> str:
    return "\\{" + ",".join(sorted(set(members))) + "\\}"


def _cases(rows: list[str]) -> str:
    return "\\begin{cases}" + "\\\\".join(rows) + "\\end{cases}"


def _union(parts: list[str]) -> str:
    for part in parts:
        if part[:1] not in ("(", "[") and not part.startswith("\\{"):
            raise Outside
    return "∪".join(sorted(set(parts)))
