"""Runs for a page: what cannot be read is named and left out, and the rest is shown."""

from __future__ import annotations

from collections.abc import Iterable

from urlvr_jax import config as config_lib
from urlvr_jax.comparing import arms as arms_lib
from urlvr_jax.comparing.arms import Arm, Run
from urlvr_jax.errors import UserError


def arms_of(words: Iterable[str]) -> tuple[list[Arm], list[str]]:
    """The arms of run folders, or folders of runs, and what is said of those left out. UserError where none is left."""
    runs, notes = [], []
    for word in words:
        try:
            folders = arms_lib.folders_of([word])
        except UserError as error:
            notes.append(str(error))
            continue
        for folder in folders:
            try:
                runs.append(arms_lib.opened(folder))
            except (UserError, OSError, ValueError) as error:
                notes.append(f"{folder} is left out: {error}")
    runs, doubled = _each_once(runs)
    notes += doubled
    if not runs:
        raise UserError("no run can be shown: " + "; ".join(notes))
    for run in runs:
        notes += _missing(run)
    return arms_lib.arms_of(runs), notes


def _each_once(runs: list[Run]) -> tuple[list[Run], list[str]]:
    """One run of a configuration and seed; the longest, and of equals the first."""
    kept: dict[str, Run] = {}
    notes = []
    for run in runs:
        hash = config_lib.config_hash(run.config)
        other = kept.get(hash)
        if other is None:
            kept[hash] = run
        elif other.record.path.resolve() != run.record.path.resolve():
            kept[hash], left = (run, other) if run.step > other.step else (other, run)
            notes.append(
                f"{left.record.path} is left out: {kept[hash].record.path} has its configuration and seed"
            )
    return list(kept.values()), notes


def _missing(run: Run) -> list[str]:
    """What a reader would look for in vain."""
    path, out = run.record.path, []
    if not run.done:
        out.append(f"{path} is not done: step {run.step} of {run.config['steps']}")
    if not run.record.evals:
        out.append(f"{path} has no evaluations: no held-out accuracy, no peak")
    if not any((path / "completions").glob("completions_*.parquet")):
        out.append(f"{path} has no table of completions (log.completions_every)")
    return out
