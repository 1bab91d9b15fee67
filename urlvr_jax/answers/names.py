"""Names of quantities: what stands on one side of an equation that only says what something is."""

from __future__ import annotations

import re

from urlvr_jax.answers import formula, functions
from urlvr_jax.answers.algebra import Outside

NAME = re.compile(
    r"(?:(?:[A-Za-z]|\\[A-Za-z]+)(?:_(?:\w|\{\w+\}))?'{0,2}(?:\([a-zA-Z](?:,\s*[a-zA-Z])*\))?"
    r"|\([a-zA-Z](?:,\s*[a-zA-Z]){1,3}\)|[A-Za-z][A-Za-z ]+|\\text\s*\{[A-Za-z ]+\}(?:\([a-zA-Z]\))?)"
)
_INDEX = r"_(?:\w|\{(?:\\triangle\s?)?\w{1,12}\})"
_POINT = rf"[A-Z](?:{_INDEX})?'?"
_POINTS = rf"{_POINT}(?:\s?{_POINT}){{1,3}}"
_OVER = r"\\(?:overline|overrightarrow|vec|widehat|overarc)\s?"
_LENGTH = rf"(?:\|\s?{_POINTS}\s?\||\[\s?{_POINTS}\s?\]|(?:{_OVER})?\{{\s?{_POINTS}\s?\}}|{_POINTS}|[A-Z]{_INDEX})"
_ANGLE = rf"(?:m\s?)?\\(?:angle|measuredangle|triangle)\s?(?:\{{\s?{_POINTS}\s?\}}|{_POINTS}|{_POINT}|\d|\\[a-z]+)"
_PLACE = r"(?:\\[a-z]+|[-+*/^!.,{}\d\s])+"  # where a function is taken: without letters
_FUNCTION = rf"[A-Za-z](?:{_INDEX})?(?:'{{1,3}}|\^\s?\{{?-1\}}?)?\s?\({_PLACE}\)"
_CHANCE = r"(?:P|E|Pr|Var|\\Pr|\\(?:mathbb|text|operatorname)\s?\{(?:P|E|Pr|Var)\})\s?[(\[][^()\[\]+\-*/^]{1,40}[)\]]"
_NAMED = r"(?:\\(?:text|operatorname)\s?\{\s?)?\\?(?:gcd|lcm|deg|det)\s?\}?\s?\([^()]{1,80}\)"
_RATIO = rf"(?:[A-Za-z](?:{_INDEX})?|{_LENGTH})"
_LENGTH_ALONE = re.compile(_LENGTH)
_QUANTITY = re.compile(
    rf"{_LENGTH}|{_ANGLE}|{_CHANCE}|{_NAMED}|\\frac\s?\{{\s?{_LENGTH}\s?\}}\s?\{{\s?{_LENGTH}\s?\}}|{_LENGTH}\s?/\s?{_LENGTH}"
    rf"|{_RATIO}(?:\s?:\s?{_RATIO}){{1,5}}"
)
_FUNCTION_AT = re.compile(_FUNCTION)
_LONGEST = 120  # characters of a name


def is_quantity(side: str) -> bool:
    """Is one side of an equation the name of a quantity that no formula reads: |AB|, an angle, f(2), a ratio."""
    if len(side) > _LONGEST:
        return False
    if _FUNCTION_AT.fullmatch(side):
        return _is_function(side)
    return _QUANTITY.fullmatch(side) is not None


def _is_function(side: str) -> bool:
    """f(2), f'(2), f(1, 2); not x(2 + 3), which is a product."""
    head, _, inside = side.partition("(")
    if "'" in head or "^" in head or "," in inside:
        return True
    try:
        bracket = formula.tokens(inside)
    except Outside:
        return False
    return functions.is_value(re.split(r"[_ ]", head)[0], bracket)


def is_points(side: str) -> bool:
    """Is it a length, an area or an indexed capital, so that it is worth no answer by itself."""
    return _LENGTH_ALONE.fullmatch(side) is not None


def written(name: str) -> str:
    """A name without blanks, but where one ends a command."""
    return re.sub(r"(\\[A-Za-z]+) (?![A-Za-z])", r"\1", re.sub(r"(?<![A-Za-z]) | (?![A-Za-z])", "", name))


def has_unknown(side: str) -> bool:
    """Does a formula have a letter besides e, i and pi; True for a text that is no formula."""
    try:
        tokens = formula.tokens(side)
    except Outside:
        return True
    return any(_unknown(token) for token in tokens)


def _unknown(token: str) -> bool:
    if len(token) == 1:
        return token.isalpha() and token not in "ei"
    return token[:1] == "\\" and token[1:] in formula.GREEK - {"infty"}
