"""figure: a figure of runs for a paper, with its numbers beside it."""

from __future__ import annotations

import pathlib

from urlvr_jax.config import ConfigError
from urlvr_jax.report import figures, opened
from urlvr_jax.runtime.terminal import say


def run(flag, *words: str) -> int:
    """Draw the runs of the folders given."""
    if not words:
        raise ConfigError("figure needs run folders: figure runs/a runs/b --kind rise --out rise.pdf")
    if flag.kind not in figures.KINDS:
        raise ConfigError(f"--kind={flag.kind} is not possible: give one of {', '.join(figures.KINDS)}")
    if flag.columns not in figures.WIDTHS:
        raise ConfigError(f"--columns={flag.columns} is not possible: give 1 or 2")
    out = pathlib.Path(flag.out or f"{flag.kind}.pdf")
    arms, notes = opened.arms_of(words)
    beside = figures.write(flag.kind, arms, out, flag.columns)
    for note in notes:
        say(f"note: {note}")
    say(f"{out}, and its numbers in {beside}")
    return 0
