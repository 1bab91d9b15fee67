"""Pieces of a study's page: tables, intervals, and which runs stand behind it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from urlvr_jax.studies import cell as cell_lib
from urlvr_jax.studies.cell import Cell


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, one line a row."""
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def intervals(differences: list[dict]) -> str:
    """Mean and 95 % interval of each."""
    return "; ".join(f"{d['mean']:+.2f} [{d['low']:+.2f}, {d['high']:+.2f}]" for d in differences)


def on_file(cells: list[Cell], lines: list[dict]) -> str:
    """How many of the lines on file are fresh, which commits made those, and how many are left out."""
    fresh = cell_lib.fresh(cells, lines)
    return (
        f"{len(fresh)} runs on file, {len(cell_lib.missing(cells, lines))} missing, "
        f"{len(lines) - len(fresh)} stale and left out; commits {commits(fresh)}"
    )


def commits(lines: list[dict]) -> str:
    return ", ".join(sorted({f"{r['commit'][:12]}{'+changes' if r['modified'] else ''}" for r in lines}))
