"""What the model wrote: cards from a run's tables of completions, first, near its peak, and last."""

from __future__ import annotations

import re
from typing import NamedTuple

from urlvr_jax.comparing.arms import Run
from urlvr_jax.untrusted.shown import visible

ROWS = 12  # of a table
LONGEST = 1500  # characters of a text, at most; what is left out is counted
MOST_TEXT = 500_000  # characters of all cards of a page


class Card(NamedTuple):
    """A response as it is shown: texts are cut, and have no character that is obeyed."""

    prompt: str
    response: str
    answer: str
    gold: str
    verdict: str  # "right", "wrong", or "" without a gold answer
    facts: str


class Stage(NamedTuple):
    """A table of completions."""

    name: str
    step: int
    cards: list[Card]


def stages(run: Run, rows: int = ROWS, longest: int = LONGEST) -> list[Stage]:
    """The first table, that nearest the peak, and the last; [] of a run without tables. A broken table is left out."""
    tables = {int(m[1]): file for file in (run.record.path / "completions").glob("*.parquet") if (m := re.fullmatch(r"completions_(\d+)", file.stem))}  # fmt: skip
    if not tables:
        return []
    wanted = {min(tables): ["before"]}
    if (peak := run.peak) is not None:
        wanted.setdefault(min(tables, key=lambda s: (abs(s - peak), s)), []).append("near the peak")
    wanted.setdefault(max(tables), []).append("after")
    found = [
        Stage(" and ".join(names), step, _cards(tables[step], rows, longest))
        for step, names in wanted.items()
    ]
    return [stage for stage in found if stage.cards]


def _cards(file, rows: int, longest: int) -> list[Card]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(file).read().slice(0, rows).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError):
        return []
    return [_card(row, longest) for row in table]


def _card(row: dict, longest: int) -> Card:
    text = lambda key: "" if row.get(key) is None else short(str(row[key]), longest)
    right = row.get("right")
    number = lambda key: f"{row[key]:.3g}" if isinstance(row.get(key), float) else str(row.get(key, "-"))
    facts = [
        f"reward {number('reward')}",
        f"{number('length')} tokens{'' if row.get('ended') else ', cut'}",
    ]
    facts += [f"{row['votes']} votes"] if isinstance(row.get("votes"), int) else []
    verdict = "" if right is None else "right" if right else "wrong"
    facts = " · ".join([*facts, f"mean log-prob {number('mean_logp')}"])
    return Card(text("prompt"), text("completion"), text("answer"), text("gold"), verdict, facts)


def short(text: str, longest: int) -> str:
    """At most so many characters, with what is left out counted, and none that is obeyed."""
    left = len(text) - longest
    return visible(text if left <= 0 else f"{text[:longest]} … {left:,} characters more")
