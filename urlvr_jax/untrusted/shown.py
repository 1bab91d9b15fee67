"""Texts that others wrote, on a terminal: control characters are shown, not obeyed.

Whatever is printed goes through `guard`, so that no message, warning or traceback has to remember it. A stream that is
no terminal keeps its bytes.
"""

from __future__ import annotations

import re
import sys

# C0 but tab and newline, DEL, C1, marks that reorder text, and halves of surrogate pairs.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def visible(text: str) -> str:
    """The text with an escape such as \\x1b for each character that a terminal would obey."""
    return _HIDDEN.sub(lambda match: ascii(match.group())[1:-1], text)


class _Visible:
    """A terminal's stream that shows what it would obey."""

    def __init__(self, stream):
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(visible(text))
        return len(text)

    def writelines(self, lines) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str):
        return getattr(self.stream, name)


def guard() -> None:
    """From now on both standard streams show control characters where they are terminals."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and stream.isatty() and not isinstance(stream, _Visible):
            setattr(sys, name, _Visible(stream))


def control(text: str) -> None:
    """Write a control sequence of our own to standard output, such as one that clears a line."""
    stream = sys.stdout
    (stream.stream if isinstance(stream, _Visible) else stream).write(text)
