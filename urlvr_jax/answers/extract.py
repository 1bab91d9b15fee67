"""Where the answer of a response stands: one extractor a style. No JAX, no regular expression without a bound."""

from __future__ import annotations

import re
from typing import NamedTuple

from urlvr_jax.answers import boxes
from urlvr_jax.answers.canonical import key as key

_LAB = re.compile(r"A(-?\d{1,12})(?![\d])")
_LAB_EXPRESSION = re.compile(r"A([0-9+\-*/()]{1,64})")
_LAB_INTEGRAL = re.compile(r"A([0-9a-z+\-*/^()]{1,64})")
_HASHES = re.compile(r"####\s*(\S[^\n]*)")
_TAGS = re.compile(r"<answer>", re.I), re.compile(r"</answer>", re.I)
_LINE = re.compile(
    r"(?<![A-Za-z])answer(?:\s*\*\*)?\s{0,9}:\s{0,9}(?:\*\*)?[^\S\n]{0,9}([^\s*][^\n]*)", re.I
)
_FENCE = re.compile(r"^[ \t]{0,3}```([^\n`]{0,40})$", re.M)
_NUMBER = re.compile(r"(?<![\w.,)}])-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+")
# A choice: (B), B), \text{B}, **B**; then what may follow a letter that is no word.
_LETTER = r"(?:\\[a-z]+\s?\{\s?|[$*({\s]){0,8}([A-J])(?=\s{0,9}(?:[).,;:}*$]|\\[)\]]|\n|$))"
_CHOICE = re.compile(r"(?:(?i:answer|choice|option)\s{0,9}(?i:is|are|:|=)?\s{0,9}:?)" + _LETTER)
_CHOICE_ALONE = re.compile(r"(?:^|\n)[^\S\n]{0,9}" + _LETTER + r"[\s).}*$]{0,8}$")
_CHOICE_BOXED = re.compile(_LETTER)


class Extracted(NamedTuple):
    """An answer and where it stands: response[start:end] == text."""

    text: str
    start: int
    end: int


def _last(pattern: re.Pattern):
    """Extractor of the last match: its first group, or the whole where it has none."""

    def extractor(response: str) -> Extracted | None:
        found = None
        for found in pattern.finditer(response):  # noqa: B007
            pass
        return found and Extracted(found[pattern.groups], *found.span(pattern.groups))

    return extractor


def _boxed(response: str) -> Extracted | None:
    """The content of the last box, or a list of boxes: `\\boxed{2}, \\boxed{3}`."""
    span = boxes.answer_span(response)
    return span and Extracted(response[slice(*span)], *span)


def _tag(response: str) -> Extracted | None:
    """What stands between the last `<answer>` that is closed and its `</answer>`."""
    closing = None
    for closing in _TAGS[1].finditer(response):  # noqa: B007
        pass
    if closing is None:
        return None
    opening = None
    for opening in _TAGS[0].finditer(response, 0, closing.start()):  # noqa: B007
        pass
    if opening is None:
        return None
    return Extracted(response[opening.end() : closing.start()], opening.end(), closing.start())


def _choice(response: str) -> Extracted | None:
    """A letter A to J: in the last box, else after the last "answer", else alone on the last line."""
    run = boxes.last_run(response)
    if run and (match := _CHOICE_BOXED.match(response, run[-1].start, run[-1].end)):
        return Extracted(match[1], *match.span(1))
    tail = max(0, len(response) - 100_000)
    found = None
    for found in _CHOICE.finditer(response, tail):  # noqa: B007
        pass
    found = found or _CHOICE_ALONE.search(response.rstrip(), max(0, len(response.rstrip()) - 200))
    return found and Extracted(found[1], *found.span(1))


def fences(text: str) -> list[tuple[str, str]]:
    """(name, content) of each fenced block that is closed, in order: ("python", "x = 1") of "```python\nx = 1\n```"."""
    return [(name, text[start:end]) for name, start, end in _fenced(text)]


def _fenced(text: str) -> list[tuple[str, int, int]]:
    marks = list(_FENCE.finditer(text))
    pairs = zip(marks[::2], marks[1::2], strict=False)  # one that is not closed is left
    return [
        (a[1].strip().lower(), min(a.end() + 1, b.start()), max(b.start() - 1, a.end())) for a, b in pairs
    ]


def _fence(response: str) -> Extracted | None:
    """The content of the last fenced block that is not empty."""
    blocks = [(start, end) for _, start, end in _fenced(response) if response[start:end].strip()]
    return Extracted(response[slice(*blocks[-1])], *blocks[-1]) if blocks else None


def _number(response: str) -> Extracted | None:
    """The last number; the end of a long response is looked at first."""
    tail = max(0, len(response) - 4000)
    found = None
    for found in _NUMBER.finditer(response, tail):  # noqa: B007
        pass
    if tail and (found is None or found.start() < tail + 100):
        return _last(_NUMBER)(response)
    return found and Extracted(found[0], *found.span())


EXTRACTORS = {
    "lab": _last(_LAB),  # the laboratory's marker: "...;A5"
    "lab_expression": _last(_LAB_EXPRESSION),  # "...;A(3+7)*5"
    "lab_integral": _last(_LAB_INTEGRAL),  # "...;A2x^3-2cos(4x)"
    "boxed": _boxed,
    "hashes": _last(_HASHES),  # GSM8K: "#### 5"
    "tag": _tag,  # <answer>5</answer>
    "fence": _fence,  # the last fenced block: a program, an output
    "line": _last(_LINE),  # DAPO: a line "Answer: 5"
    "choice": _choice,  # "The answer is (B)", \\boxed{\\text{(B)}}
    "number": _number,  # the last number, whatever it is
}

ASKED_BY = {
    "boxed": "\\boxed",
    "hashes": "####",
    "tag": "<answer>",
    "fence": "```",
    "line": "Answer:",
}  # words of a prompt for them


def extract(response: str, style: str) -> Extracted | None:
    """The answer of a response and its span in characters, None where there is none.

    `style` is a key of EXTRACTORS; KeyError for another.
    """
    return EXTRACTORS[style](response)
