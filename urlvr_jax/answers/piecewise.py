"""`cases`: the rows of a function by cases or of a system of equations."""

from __future__ import annotations

import re

from urlvr_jax.answers import notation

_NAMED = r"(?:[^=<>≤≥\\{}]{1,40}=\s?)?"
_CASES = re.compile(
    rf"{_NAMED}(?:\\begin\s?\{{([dr]?cases)\}}(.*)\\end\s?\{{\1\}}"
    r"|\\\{\s?\\begin\s?\{(array|aligned|matrix)\}(?:\s?\{[lcr| ]{0,9}\})?(.*)\\end\s?\{\3\})",
    re.S,
)
_IF = re.compile(
    r",?\s?(?:\\text\s?\{\s?,?\s?(?:if|for|when|where|otherwise|else)\b|\b(?:if|for|when|otherwise)\b)"
)
_WORDS_BEFORE = re.compile(r"^(?:,|\s|(?:if|for|when|where|as)\b)+", re.I)
_OTHERWISE = re.compile(r"(?:otherwise|else|elsewhere)", re.I)
_LETTER = re.compile(r"(?<![\\A-Za-z{])[A-Za-z](?![A-Za-z])")


def rows(text: str) -> list[tuple[str, str | None]] | None:
    """(value, condition) of each row, the condition None where a row has none; None if it is no `cases`."""
    if "\\begin" not in text or not (match := _CASES.fullmatch(text)):
        return None
    body = match[2] if match[2] is not None else match[4]
    return [_row(row) for row in re.split(r"\\\\(?:\[\w+\])?", body) if row.strip()]


def _row(row: str) -> tuple[str, str | None]:
    value, _, condition = row.partition("&")
    if condition and re.match(r"\s?[=<>≤≥]", condition):  # x &= 1
        return _bare(value + condition), None
    if not condition and (found := _IF.search(row)):
        value, condition = row[: found.start()], row[found.start() :]
    if not condition:
        return _bare(value), None
    condition = _WORDS_BEFORE.sub("", notation.plain(condition.replace("&", " ")))
    return _bare(value), "otherwise" if _OTHERWISE.fullmatch(_bare(condition)) else _bare(condition)


def _bare(cell: str) -> str:
    return cell.strip(" ,;.")


def letter(condition: str) -> str | None:
    """The one letter of a condition, None where it has several or none."""
    letters = set(_LETTER.findall(condition)) - {"e", "i"}
    return letters.pop() if len(letters) == 1 else None
