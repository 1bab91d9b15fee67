"""Work in pieces: who does it hands over counts, and who wants to know where it is makes a text of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

Tell = Callable[
    [int, int], None
]  # (finished, of how many): before the first piece, after each, so at the end all
Stage = Callable[[str, str], Tell]  # (what is done, to what): it begins now
UNLIKE = ("programs", "files")  # pieces that take unlike times: the one in work is named, and no time left


def silent(done: int, of: int) -> None:
    """For work that nobody watches."""


def unwatched(what: str, unit: str) -> Tell:
    """The stage of such work."""
    return silent


def counted(pieces: Sequence, tell: Tell) -> Iterator:
    """The pieces one by one, counted while they are worked on."""
    for done, piece in enumerate(pieces):
        tell(done, len(pieces))
        yield piece
    tell(len(pieces), len(pieces))


def stage_text(what: str, unit: str, done: int, of: int, seconds: float) -> str:
    """Where a piece of work is after so many seconds, and how long yet as far as that can be told."""
    if unit in UNLIKE:
        return f"{what} {done + 1} of {of} {unit}" + (f", {span(seconds)}" if seconds >= 1 else "")
    amount = f"{done} of {of} {unit}"
    if unit == "bytes":
        size, unit = (1e9, "GB") if of >= 1e9 else (1e6, "MB")
        amount = f"{done / size:.1f} of {of / size:.1f} {unit}"
    left = seconds * (of - done) / done if done else 0
    return f"{what} {amount}" + (f", about {span(left)} left" if left >= 1 else "")


def span(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
