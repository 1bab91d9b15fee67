"""Run what a study lacks: one line of findings a run, in a file of docs.

Each run is a process, pinned to one core. Its line holds findings, thinned curves, the commit, the
configuration's hash and the base's sha256. A line of another hash is stale and replaced, never mixed with others.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import pathlib
import shutil
from collections.abc import Callable

from urlvr_jax.errors import UserError
from urlvr_jax.measure import collapse
from urlvr_jax.measure.record import RunRecord
from urlvr_jax.runtime.lines import write_whole
from urlvr_jax.runtime.workdir import git_state
from urlvr_jax.studies.cell import Cell, read_runs
from urlvr_jax.sweeps import places
from urlvr_jax.sweeps.local import Local
from urlvr_jax.sweeps.make import make
from urlvr_jax.sweeps.run import LOG, Run

CURVES = {
    "own_reward": "reward/mean",
    "truth": collapse.TRUTH,
    "reward_accuracy": "train/ensemble/reward_accuracy",
    "majority_ratio": "train/ensemble/majority_ratio",
    "length": "response_length/mean",
    "clip_ratio": "response_length/clip_ratio",
    "repetition": "repetition_rate",
    "entropy": "actor/entropy",
    "nll": "actor/nll",
    "true_positive_rate": "train/self_verify/true_positive_rate",
    "false_positive_rate": "train/self_verify/false_positive_rate",
    "ambiguous": "train/self_verify/ambiguous",
}


def run_missing(cells: list[Cell], file: pathlib.Path, jobs: int, line_of: Callable) -> None:
    """Run the cells that have no line in `file`, and keep it in their order. line_of: a RunRecord, its cell -> its line.

    A run that was cut short goes on, at its commit. KeyboardInterrupt where a signal stopped them, UserError where one failed.
    """
    place = {cell.place: i for i, cell in enumerate(cells)}
    names = [*cells[0].about, "seed"] if cells else []
    place_of = lambda line: tuple(line[name] for name in names)
    kept = {place_of(line): line for line in read_runs(file)} if cells else {}
    todo = [cell for cell in cells if not cell.has(kept.get(cell.place))]
    print(f"{len(todo)} of {len(cells)} cells to run", flush=True)
    runs = {cell.run: cell for cell in todo}
    failed = []
    count = itertools.count(1)

    def ended(run: Run, status: int) -> None:
        at = f"{next(count)}/{len(todo)}"
        if status:
            failed.append(f"{' '.join(run.words)}: {run.error}; see {run.folder / LOG}")
            print(f"{at} failed: {failed[-1]}", flush=True)
            return
        line = line_of(RunRecord(run.folder), runs[run])
        kept[place_of(line)] = line
        ordered = sorted(kept, key=lambda at: place.get(at, len(place)))
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, "".join(json.dumps(kept[at], separators=(",", ":")) + "\n" for at in ordered))
        shutil.rmtree(run.folder, ignore_errors=True)
        print(f"{at} {_text(line, names)}", flush=True)

    for run in runs:
        begin_anew(run)
    stopped = make(list(runs), Local(places.single(jobs)), ended)
    if stopped:
        raise KeyboardInterrupt(
            f"by {stopped.name}: the runs under way are saved, and the same command goes on"
        )
    if failed:
        raise UserError(
            f"{len(failed)} of {len(todo)} runs failed, the others are on file; first: {failed[0]}"
        )


def begin_anew(run: Run) -> None:
    """Remove what was begun at another commit: a line is of one."""
    commit = RunRecord(run.folder).attempt.get("git", {}).get("commit")
    if run.folder.is_dir() and commit != git_state().get("commit"):
        print(f"{run.folder} was begun at another commit: it begins anew", flush=True)
        shutil.rmtree(run.folder)


def _text(line: dict, names: list[str]) -> str:
    held = line["held_out"]
    what = " ".join(f"{name} {line[name]}" for name in names)
    told = f" {held['base']:.3f} {held['peak']:.3f} {held['final']:.3f}" if held else ""
    return f"{what}:{told} mcs {line['mcs']}"


def rise_and_fall(evals: list[dict]) -> dict | None:
    """None of a run that is evaluated on fewer than two questions or once."""
    enough = len(evals) > 1 and len(evals[0]["correct"]) > 1
    return dataclasses.asdict(collapse.rise_and_fall_of(evals)) if enough else None


def condense(run: RunRecord, cell: Cell, thin: int = 8) -> dict:
    """A run's folder -> one line of findings. Curves have a point every `thin` steps."""
    evals = run.first_set()
    git = run.attempt["git"]
    trained = [line for line in run.lines if "timing_s/step" in line]
    line = {
        **cell.about,
        "seed": cell.seed,
        "config_hash": run.record["config_hash"],
        "base_sha256": cell.base_sha256,
        "commit": git.get("commit"),
        "modified": git.get("modified"),
        "steps": run.lines[-1]["step"],
        "held_out": rise_and_fall(evals),
        "mcs": collapse.mcs(run.lines),
        "collapse_step": collapse.collapse_step(run.lines),
        "eval_steps": [e["step"] for e in evals],
        "eval_avg": [round(sum(e["correct"]) / len(e["correct"]) / e["k"], 4) for e in evals],
        "seconds_per_step": round(sorted(x["timing_s/step"] for x in trained)[len(trained) // 2], 3),
        "curve_steps": [x["step"] for x in trained[::thin]],
    }
    rounded = lambda x, metric: round(x[metric], 4) if metric in x else None
    for name, metric in CURVES.items():
        if any(metric in x for x in trained):
            line[name] = [rounded(x, metric) for x in trained[::thin]]
            line[f"{name}_last"] = rounded(trained[-1], metric)
    return line
