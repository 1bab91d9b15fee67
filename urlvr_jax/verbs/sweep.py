"""sweep: every combination of some values as a run of its own, made side by side, watched and summed up."""

from __future__ import annotations

import json
import pathlib

from jax.extend.backend import clear_backends

from urlvr_jax import config as config_lib
from urlvr_jax import devices, validation
from urlvr_jax.config import ConfigError
from urlvr_jax.errors import UserError
from urlvr_jax.runtime.lines import write_whole
from urlvr_jax.runtime.lock import Lock
from urlvr_jax.runtime.paths import require_plain
from urlvr_jax.runtime.terminal import say
from urlvr_jax.sweeps import axes, make, places, room, slurm, summary, watch
from urlvr_jax.sweeps.local import Local
from urlvr_jax.sweeps.places import Devices
from urlvr_jax.sweeps.run import Run
from urlvr_jax.verbs.flags import jobs_of

ENGINES = ("local", "slurm")


def run(flag) -> int:
    """Exit status 0 where every run is done, 1 where one failed, 128 + the signal that stopped it."""
    if not flag.workdir:
        raise ConfigError("--workdir is missing: give the folder of the sweep; the same folder goes on")
    if flag.engine not in ENGINES:
        raise ConfigError(f"--engine={flag.engine} is not possible: give one of {', '.join(ENGINES)}")
    if flag.slurm and flag.engine != "slurm":
        raise ConfigError(f"--slurm {flag.slurm[0]} needs --engine slurm")
    folder = pathlib.Path(flag.workdir)
    if config_lib.is_run(folder):
        raise ConfigError(f"--workdir={folder} is a run's folder: give another one")
    require_plain(folder)
    over = axes.parse(flag.over, flag.typed)
    options = slurm.options(flag.slurm)
    clear_backends()  # an experiment's file may have asked for devices: its runs need them whole
    found = slurm.devices(options) if flag.engine == "slurm" else places.devices()
    count = found.count if flag.engine == "slurm" else places.a_run(found)
    runs = checked(flag, over, folder, count, found.platform)
    folder.mkdir(parents=True, exist_ok=True)
    lock = Lock(folder)
    if lock.taken:
        raise UserError(
            f"{folder} is in use by another sweep: {lock.taken}; wait for its end, or stop it with SIGTERM"
        )
    try:
        todo = _begun(flag, folder, runs)
        return _made(
            flag, over, folder, runs, todo, _engine(flag, folder, list(runs), todo, found, options)
        )
    finally:
        lock.release()


def checked(flag, over, folder: pathlib.Path, count: int, platform: str) -> dict[Run, dict]:
    """{run: its values of the axes}, each configuration validated; ConfigError names the combination that cannot work."""
    runs, names = {}, {}
    for values in axes.product(over):
        run = Run(flag.experiment, {**flag.typed, **values}, folder)
        try:
            c, _ = devices.settle(run.config, count)
            validation.validate(c, count, platform)
        except ConfigError as error:
            raise ConfigError(f"{axes.text(values)}: {error}") from None
        if run.hash in names:
            how = [axis.key for axis in over if axis.key in config_lib.marked("how")]
            raise ConfigError(
                f"--over: {axes.text(names[run.hash])} and {axes.text(values)} compute the same; {', '.join(how) or 'a key'} "
                "says how a run is computed, not what: give it one value, by --config."
            )
        names[run.hash] = values
        runs[run] = values
    return runs


def _engine(flag, folder: pathlib.Path, runs: list[Run], todo: list[Run], found: Devices, options: dict):
    if flag.engine == "slurm":
        return slurm.Slurm(folder, options, jobs_of(flag, len(runs)))
    most = places.most(found)
    jobs = min(jobs_of(flag, most), len(runs))
    if jobs > most:
        say(
            f"{most} at once instead of {jobs}: so many {'cores' if found.platform == 'cpu' else 'devices'} are here"
        )
        jobs = most
    if todo:
        jobs, said = room.jobs_that_fit(room.needs(todo, found), jobs, found, room.free_memory())
        if said:
            say(said)
    return Local(places.shared(found, jobs))


def _begun(flag, folder: pathlib.Path, runs: dict) -> list[Run]:
    """Write what the sweep is, and say what was done and what failed before; the runs that are to be made."""
    summary.metric_of(list(runs), flag.metric)
    record = [{"name": r.hash, "values": axes.json_values(v), "flags": r.flags} for r, v in runs.items()]
    write_whole(
        folder / "sweep.json", json.dumps({"experiment": flag.experiment, "runs": record}, indent=1)
    )
    done = [run for run in runs if run.done]
    failed = [run for run in runs if run.error and not run.done]
    for run in failed if flag.retry else ():
        run.forget_failure()
    for run in failed if not flag.retry else ():
        say(f"{run.hash}  {axes.text(runs[run])}  failed before: {run.error}; --retry makes it again")
    todo = [run for run in runs if run not in done and (flag.retry or run not in failed)]
    say(f"{folder}: {len(runs)} runs, {len(done)} done before, {len(todo)} to make")
    return todo


def _made(flag, over, folder: pathlib.Path, runs: dict, todo: list[Run], engine) -> int:
    """Make what is to be made, and tell what all show."""
    shown = watch.Watch([watch.Course(run, values) for run, values in runs.items()], engine, flag.metric)
    stopped = make.make(todo, engine, shown.ended, shown.look)
    metric = summary.metric_of(list(runs), flag.metric)
    told = [summary.told(run, values, metric) for run, values in runs.items()]
    say(summary.write(folder, told, over, metric), end="")
    say(f"{folder}: summary.md, summary.csv, summary.jsonl, summary.png")
    for run, values in runs.items():
        if run.error:
            say(f"failed: {run.hash}  {axes.text(values)}  {run.error}; see {run.folder}/log.txt")
    if stopped:
        say(f"stopped by {stopped.name}; the same command goes on")
        return 128 + stopped
    return int(any(not run.done for run in runs))
