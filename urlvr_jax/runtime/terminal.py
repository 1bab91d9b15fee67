"""What is said on the terminal, which may go away while a run is under way."""

from __future__ import annotations

import errno
import os
import sys

from urlvr_jax.untrusted import shown


def say(text: str, end: str = "\n", stream=None, control: str = "") -> None:
    """Print at once, on standard output if no stream is given. A terminal that is gone is no longer written to.

    control: a sequence of our own before the text, for the terminal to obey.
    """
    stream = stream or sys.stdout
    try:
        if control:
            shown.control(control)
        print(text, end=end, file=stream, flush=True)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())


def warn(text: str) -> None:
    """One line on standard error."""
    say(f"warning: {text}", stream=sys.stderr)
