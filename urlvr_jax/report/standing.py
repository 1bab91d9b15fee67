"""Where runs stand: what is at work, the latest numbers, alarms and failures, from their folders alone."""

from __future__ import annotations

import datetime
import os
import pathlib
from typing import NamedTuple

from urlvr_jax import config as config_lib
from urlvr_jax.errors import UserError
from urlvr_jax.measure.record import RunRecord
from urlvr_jax.measure.sparkline import sparkline
from urlvr_jax.report.bands import alarm_of
from urlvr_jax.runtime import lock
from urlvr_jax.sweeps.run import failure_of
from urlvr_jax.sweeps.watch import in_words
from urlvr_jax.untrusted.shown import visible

DEEP = 3  # folders within folders
RUNNING, DONE, FAILED, STOPPED, BROKEN = "running", "done", "failed", "stopped", "broken"
ORDER = (RUNNING, FAILED, BROKEN, STOPPED, DONE)


class Standing(NamedTuple):
    """One run."""

    folder: pathlib.Path
    state: str
    step: int
    steps: int
    numbers: str  # the latest of its accuracy, or reward, and how it came there
    said: list[str]  # alarm, failure, how long nothing was written
    seconds: float | None  # since its last metric line


def runs_in(folder: pathlib.Path, deep: int = DEEP) -> list[pathlib.Path]:
    """Run folders in a folder, itself included, sorted; what cannot be opened is passed over."""
    if config_lib.is_run(folder):
        return [folder]
    try:
        inside = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.is_symlink())
    except PermissionError:
        return []
    return [run for entry in inside for run in runs_in(entry, deep - 1)] if deep else []


def standing(folder: pathlib.Path, now: float) -> Standing:
    """Of a run's folder at a time in seconds since the epoch; "broken" where a file of it cannot be read."""
    record = RunRecord(folder)
    try:
        lines, config, attempt = record.lines, record.config, record.attempt
        step = lines[-1]["step"] if lines else 0
        failure = failure_of(folder)
        state = (
            RUNNING
            if lock.is_held(folder)
            else DONE
            if attempt.get("finished") or step >= config["steps"]
            else FAILED
            if failure
            else STOPPED
        )
        said = [failure] if state == FAILED else []
        alarm = alarm_of(lines)
        said += [f"alarm at step {alarm[0]} ({alarm[1]})"] if alarm else []
        seconds = max(0.0, now - (folder / "metrics.jsonl").stat().st_mtime) if lines else None
        return Standing(folder, state, step, config["steps"], _numbers(record), said, seconds)
    except (
        UserError,
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
    ) as error:  # whatever a file holds
        return Standing(folder, BROKEN, 0, 0, "", [f"{error!s:.200}"], None)


def _numbers(record: RunRecord) -> str:
    """The reward and the accuracy as curves, and their latest values."""
    evals = record.first_set()
    accuracy = [f"eval/{evals[0]['set']}/avg@{evals[0]['k']}"] if evals else []
    out = []
    for name in (*accuracy, "reward/mean"):
        _, values = record.curve(name)
        if values:
            out.append(f"{name.removeprefix('eval/')} {values[-1]:.3f} {sparkline(values, 16)}")
    return "  ".join(out)


def text(folder: pathlib.Path, found: list[Standing]) -> str:
    """How many stand how, and a line a run: what is at work first."""
    counts = "  ".join(f"{n} {state}" for state in ORDER if (n := sum(s.state == state for s in found)))
    out = [f"{folder}: {len(found)} run{'s' * (len(found) > 1)}: {counts}"]
    names = {s.folder: os.path.relpath(s.folder, folder) for s in found}
    wide = max(map(len, names.values()))
    for s in sorted(found, key=lambda s: (ORDER.index(s.state), str(s.folder))):
        name = names[s.folder]
        step = f"step {s.step}/{s.steps}" if s.state != BROKEN else ""
        ago = f"{in_words(s.seconds)} ago" if s.seconds is not None and s.state != DONE else ""
        parts = [
            f"{'' if name == '.' else name:<{wide if wide > 1 else 0}}",
            f"{s.state:<7}",
            step,
            s.numbers,
            *s.said,
            ago,
        ]
        out.append("  ".join(part for part in parts if part).rstrip())
    return visible("\n".join(out))


def as_json(found: list[Standing]) -> list[dict]:
    return [{**s._asdict(), "folder": str(s.folder)} for s in found]


def of(folder: pathlib.Path) -> list[Standing]:
    """Of all runs in a folder. UserError where there is none."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: give a run's folder, or one of runs")
    found = runs_in(folder)
    if not found:
        raise UserError(
            f"{folder} has no run in it, {DEEP} folders deep: a run's has config.json and record.json"
        )
    now = datetime.datetime.now().timestamp()  # a file's time is of the clock on the wall too
    return [standing(run, now) for run in found]
