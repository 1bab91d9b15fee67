"""Texts that others wrote, on a terminal: control characters are shown, not obeyed.

Whatever is printed goes through `guard`, so that no message, warning or traceback has to remember it. A stream that is
no terminal keeps its bytes.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile

# C0 but tab and newline, DEL, C1, marks that reorder text, and halves of surrogate pairs.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)

MOST_OUTPUT = 1 << 16  # bytes of a library's output that are shown
UP = "\x1b[A\x1b[2K"  # to the line above, emptied
CLEAR = "\r\x1b[2K"  # a control sequence of our own: back to the beginning of an empty line


def visible(text: str) -> str:
    """The text with an escape such as \\x1b for each character that a terminal would obey."""
    return _HIDDEN.sub(lambda match: ascii(match.group())[1:-1], text)


class _Visible:
    """A terminal's stream that shows what it would obey."""

    ending = ""  # of the lines that `move` left open, on whichever stream: written before any other text
    height = 1  # how many these are

    def __init__(self, stream):
        self.stream = stream

    def write(self, text: str) -> int:
        if text:
            self.stream.write(_Visible.ending)
            _Visible.ending, _Visible.height = "", 1
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


@contextlib.contextmanager
def library_output():
    """What a library writes within on the descriptors themselves, past Python: afterwards, on standard error, shown."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with tempfile.TemporaryFile() as file:
        kept = [os.dup(number) for number in (1, 2)]
        try:
            for number in (1, 2):
                os.dup2(file.fileno(), number)
            yield
        finally:
            for number, before in zip((1, 2), kept, strict=True):
                os.dup2(before, number)
                os.close(before)
            file.seek(0)
            if text := file.read(MOST_OUTPUT).decode("utf-8", "replace"):
                print(text, end="", file=sys.stderr)


def is_guarded(stream) -> bool:
    """Whether a stream is a terminal that `guard` looks after."""
    return isinstance(stream, _Visible)


def move(stream: _Visible, text: str, ending: str) -> None:
    """Write over the line, or lines, that the last `move` left; `ending` goes before whatever else is written next."""
    stream.stream.write(CLEAR + UP * (_Visible.height - 1) + visible(text))
    stream.flush()
    _Visible.ending, _Visible.height = ending, text.count("\n") + 1
