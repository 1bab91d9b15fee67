"""What is said on the terminal, which may go away while a run is under way."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys

from urlvr_jax.untrusted import shown

LONGEST = 159  # characters of a line that says where a run is


def say(text: str, end: str = "\n", stream=None) -> None:
    """Print at once, on standard output if no stream is given. A terminal that is gone is no longer written to."""
    stream = stream or sys.stdout
    with _while_there(stream):
        print(text, end=end, file=stream, flush=True)


def warn(text: str) -> None:
    """One line on standard error."""
    say(f"warning: {text}", stream=sys.stderr)


def move(text: str, stream, keep: bool) -> None:
    """Lines of a guarded terminal that the next ones take the place of; what else is said wipes them, or lets them stand."""
    with _while_there(stream):
        cut = [shown.visible(line)[: width(stream)] for line in text.split("\n")]
        shown.move(stream, "\n".join(cut), "\n" if keep else shown.CLEAR + shown.UP * (len(cut) - 1))


def width(stream) -> int:
    """Characters of a line on a stream: on a terminal no more than its columns, or nothing could wipe the line."""
    columns = shutil.get_terminal_size().columns - 1 if shown.is_guarded(stream) else LONGEST
    return min(LONGEST, max(20, columns))


@contextlib.contextmanager
def _while_there(stream):
    try:
        yield
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
