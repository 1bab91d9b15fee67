"""Answers in words: a number with its noun or its ending, numbers as words, a choice with its text, no solution."""

from __future__ import annotations

import re

from urlvr_jax.answers.formula import FUNCTIONS, GREEK

_NUMBERS = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
            "seventeen eighteen nineteen twenty")  # fmt: skip
NUMBERS = {word: str(n) for n, word in enumerate(_NUMBERS.split())}
NO_SOLUTION = re.compile(r"(?:there (?:is|are) )?no (?:real |integer )?solutions?(?: exists?)?", re.I)

# Words behind a number that are not what it counts: they change its value or say which way it goes.
_OTHER = (
    "pct basis ones tens hundreds thousands millions billions dozens infinity past till until "
    "hundred thousand million billion trillion dozen score half halves third thirds quarter quarters fourth fourths "
    "fifth fifths sixth sixths seventh sevenths eighth eighths ninth ninths tenth tenths twelfth twelfths hundredth "
    "hundredths thousandth thousandths percent percentage squared cubed factorial times plus minus over mod modulo "
    "divided multiplied choose root base more less fewer least most greater smaller larger remainder with without "
    "from than then when where which while into upon between for not but off out "
    "positive negative real imaginary north south east west northeast northwest southeast southwest right down above "
    "below under before after late early earlier later ahead behind forward backward forwards backwards clockwise "
    "counterclockwise loss losses profit deficit surplus increase decrease higher lower noon midnight sharp "
    "january february march april may june july august september october november december am pm ad bc "
    "monday tuesday wednesday thursday friday saturday sunday celsius fahrenheit kelvin else otherwise "
    "to or and if is as at on up by"
)
_NOT_COUNTED = frozenset(_OTHER.split()) | NUMBERS.keys() | FUNCTIONS | GREEK
_AMOUNT = (
    r"[-+]?\s?\d{1,60}(?:\.\d{1,60})?(?:\s?/\s?\d{1,20}|\s\d{1,20}\s?/\s?\d{1,20})?"
    r"|-?\\frac\s?\{\d{1,20}\}\s?\{\d{1,20}\}"
)
_NOUN = r"[a-z]{3,20}(?:\s[a-z]{2,20}){0,3}"
_COUNTED = re.compile(rf"({_AMOUNT})(?:\s?\\text\s?\{{\s?(?P<marked>{_NOUN})\s?\}}|\s(?P<bare>{_NOUN}))")
_ENDING = r"\s?(?:\^\s?)?(?:\{\s?)?(?:\\text\s?\{\s?)?"
_ORDINAL = re.compile(rf"(\d{{1,12}}){_ENDING}(st|nd|rd|th)(?:\s?\}}){{0,2}}", re.I)
_LETTER_ORDINAL = re.compile(rf"([ijkmnpqrN]|\([^()]{{1,20}}\)){_ENDING}th(?:\s?\}}){{0,2}}")
_CHOICE = re.compile(
    r"(?:(?:\\text\s?\{\s?\([A-J]\)\s?\.?\s?\}\s?|\([A-J]\)\s)(?![+*/=<>≤≥≠∈∪±∓^∨:|,;-](?!\d)|and\b|or\b|\(?[A-J]\)?$)"
    r"|(?:\\text\s?\{\s?[A-J][.)]\s?\}\s?|[A-J][.)]\s)(?=[\d$(\\-]))(?!\\text\s?\{\s?(?:and|or)\b)(.+)"
)


def counted(text: str) -> str | None:
    """The number of `72 clips`; None where the words may change it: 5 million, 3 quarters, 30 north."""
    match = _COUNTED.fullmatch(text)
    if not match:
        return None
    words = (match["marked"] or match["bare"]).split()
    if match["bare"] and len(words[0]) == 3 and words[0] != "men":  # 5 abc is a product
        return None
    return None if _NOT_COUNTED & {*words} else match[1]


def ordinal(text: str) -> str | None:
    """The number of `7th`, however it is set, and `nth`; None where the ending is not the number's: 2th is a
    product."""
    if match := _LETTER_ORDINAL.fullmatch(text):
        return match[1].replace(" ", "") + "th"
    if not (match := _ORDINAL.fullmatch(text)):
        return None
    n = int(match[1])
    ending = "th" if n // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return str(n) if match[2].lower() == ending else None


def chosen(text: str) -> str | None:
    """What stands behind the letter of a choice: `\\text{(C) } 5` is 5; None without a letter or a text."""
    match = _CHOICE.fullmatch(text)
    return match and match[1]
