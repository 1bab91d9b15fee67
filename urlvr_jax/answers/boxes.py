"""Boxes: where `\\boxed{}` and `\\fbox{}` stand in a text, and which of them belong to one answer."""

from __future__ import annotations

import re
from typing import NamedTuple

LONGEST_RUN = 600  # characters: a longer run of boxes is a loop, not a list, and its last box stands alone

# Without braces the box holds a number, or in front of a closing math sign a letter or a command.
_BARE = (
    r"[-−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+|/\d+)?(?:\\?%)?(?![\w^/({]|[.,]\d)"
    r"|(?:[A-Za-z]|\\[A-Za-z]{1,20}(?:\{[^{}\n]{0,80}\}){0,2})(?=[.,;\s]{0,4}(?:\$|\\[)\]]))"
)
_MARKS = re.compile(rf"\\(?:boxed|fbox)\s*\{{|\\(?:boxed|fbox)\s{{0,9}}(?P<bare>{_BARE})|\\.|[{{}}]", re.S)
_BETWEEN = re.compile(
    r"(?:[\s,;$~]|\\(?:[()\[\],;:! \\]|q?quad(?![A-Za-z]))|(?<![A-Za-z])(?:and|or)(?![A-Za-z])"
    r"|\\(?:text|mbox|mathrm|textrm)\s{0,9}\{\s{0,9}(?:and|or)\s{0,9}\}){0,60}"
)
_END = re.compile(r"[\s$.]{0,9}(?:\\[)\],;:! ][\s$.]{0,9})?")


class Box(NamedTuple):
    """A box in a text: its content is text[start:end], the whole text[outer:after]."""

    outer: int
    start: int
    end: int
    after: int


def last_run(text: str) -> list[Box]:
    """The last box and those before it with nothing but separators in between; [] without a box.

    The last box is the one that opens last and whose braces balance; an empty one belongs to no other.
    """
    first = min((i for i in map(text.find, ("\\boxed", "\\fbox")) if i >= 0), default=None)
    if first is None:
        return []
    run: list[Box] = []
    opened: list[tuple[int, int] | None] = []
    for match in _MARKS.finditer(text, first):
        token, box = match[0], None
        if match["bare"] is not None:
            box = Box(match.start(), *match.span("bare"), match.end())
        elif token == "}":
            if opened and (begun := opened.pop()):
                box = Box(*begun, match.start(), match.end())
        elif token == "{":
            opened.append(None)
        elif token[-1] == "{" and len(token) > 2:
            opened.append(match.span())
        if box is None or (run and box.start < run[-1].start):
            continue
        if not (run and _joined(text, run[-1], box)):
            run = []
        run.append(box)
    return run


def _joined(text: str, one: Box, other: Box) -> bool:
    if one.after > other.outer or not all(text[b.start : b.end].strip() for b in (one, other)):
        return False
    return _BETWEEN.fullmatch(text, one.after, other.outer) is not None


def answer_span(text: str) -> tuple[int, int] | None:
    """Where the answer stands: within the last box, or from the first box of a list to the end of its last."""
    run = last_run(text)
    if not run:
        return None
    first, last = run[0], run[-1]
    short = last.after - first.outer <= LONGEST_RUN
    if short and len({text[b.start : b.end].strip() for b in run}) > 1:
        return first.outer, last.after
    return last.start, last.end


def contents(text: str) -> list[str]:
    """What is in the boxes of a text that is a list of them and nothing else; [] for any other text."""
    run = last_run(text) if text.count("\\boxed") + text.count("\\fbox") > 1 else []
    if len(run) < 2 or not _BETWEEN.fullmatch(text, 0, run[0].outer):
        return []
    return [text[b.start : b.end] for b in run] if _END.fullmatch(text, run[-1].after) else []
