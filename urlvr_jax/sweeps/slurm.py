"""Runs as an array of Slurm's, by `submitit`: each task runs the command that a process of this machine would run.

A run of several nodes is several tasks that srun starts, so `runtime/cluster.py` finds them. A job whose node fails or
that is preempted is requeued by Slurm; one whose time is over saves, and is requeued by submitit.
"""

from __future__ import annotations

import dataclasses
import difflib
import getpass
import importlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence

from urlvr_jax.config import ConfigError
from urlvr_jax.errors import UserError
from urlvr_jax.runtime.lines import write_whole
from urlvr_jax.runtime.terminal import warn
from urlvr_jax.sweeps import places
from urlvr_jax.sweeps.places import Devices
from urlvr_jax.sweeps.run import LOG, Run

# Of --slurm KEY=VALUE: what submitit calls it, and its type.
OPTIONS = {
    "partition": ("slurm_partition", str),
    "account": ("slurm_account", str),
    "qos": ("slurm_qos", str),
    "constraint": ("slurm_constraint", str),
    "timeout_min": ("timeout_min", int),
    "nodes": ("nodes", int),
    "gpus_per_node": ("gpus_per_node", int),
    "cpus_per_task": ("cpus_per_task", int),
    "mem_gb": ("mem_gb", int),
    "signal_delay_s": ("slurm_signal_delay_s", int),
}
DEFAULTS = {"timeout_min": 24 * 60, "nodes": 1, "signal_delay_s": 120}
JOBS = "jobs.json"  # in the sweep's folder: {name of a run: its job}
RUNS = ("RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED")  # states of a job that has nodes
ASKS = 2.0  # seconds between two looks at the queue
SEEN_WITHIN = 15.0  # seconds until what a job wrote at its end is seen here


def options(texts: Sequence[str]) -> dict[str, str | int]:
    """What --slurm says, with the defaults; ConfigError with key, value and remedy."""
    out = dict(DEFAULTS)
    for text in texts:
        key, equals, value = text.partition("=")
        if key not in OPTIONS:
            near = difflib.get_close_matches(key, OPTIONS, 1)
            meant = f"did you mean {near[0]}={value}? There are" if near else "give one of"
            raise ConfigError(f"--slurm {text}: {key!r} is no option: {meant} {', '.join(OPTIONS)}")
        whole = OPTIONS[key][1] is int
        if not value or (whole and not (value.isdecimal() and int(value))):
            raise ConfigError(
                f"--slurm {text} is not possible: give {key}={'a whole number from 1' if whole else 'TEXT'}"
            )
        out[key] = int(value) if whole else value
    return out


def devices(given: dict) -> Devices:
    """What a run's processes will find together: all GPUs of its nodes, or as many CPU devices a node as here."""
    if gpus := given.get("gpus_per_node"):
        return Devices("gpu", given["nodes"] * gpus, None)
    return Devices("cpu", given["nodes"] * places.devices().count, None)


class Task:
    """One run, on each of its nodes; what submitit pickles."""

    def __init__(self, run: Run, delay: int):
        # The name as here: an experiment's file may see other devices there, and make another hash.
        self.run = dataclasses.replace(
            run, parent=run.parent.resolve(), cwd=pathlib.Path.cwd(), name=run.hash
        )
        self.delay = delay  # seconds from Slurm's signal to its end
        self.process = None

    def __call__(self) -> None:
        """Returns where the run came to its end; RuntimeError with its exit status where it did not."""
        run, first = self.run, os.environ.get("SLURM_PROCID", "0") == "0"
        run.folder.mkdir(parents=True, exist_ok=True)
        with open(run.folder / LOG, "ab") as log:
            self.process = subprocess.Popen(
                run.words, cwd=run.cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
            since = log.tell()
            while self.process.poll() is None:
                time.sleep(0.2)
        if status := self.process.returncode:
            if first:
                run.failed(status, since)
            raise RuntimeError(f"{' '.join(run.words)}: exit status {status}")
        if first:
            run.forget_failure()

    def checkpoint(self):
        """Called in the signal's handler before the time is over: the run saves, and the job is queued again."""
        from submitit.helpers import DelayedSubmission

        until = time.monotonic() + 0.8 * self.delay
        if self.process and self.process.returncode is None:
            self.process.send_signal(signal.SIGUSR1)
            over = os.WEXITED | os.WNOWAIT | os.WNOHANG  # `poll` may be what the signal came into
            while not os.waitid(os.P_PID, self.process.pid, over) and time.monotonic() < until:
                time.sleep(0.2)
            self.process.poll()
        self.process = None
        return DelayedSubmission(self)


class Slurm:
    """An engine (see make.py): jobs that go on without this process; one that is started again finds them."""

    def __init__(self, folder: pathlib.Path, given: dict, jobs: int):
        self.folder, self.given, self.at_once = folder, given, jobs
        for program in ("sbatch", "squeue", "scancel"):
            if not shutil.which(program):
                raise UserError(
                    f"--engine slurm: {program} is not here: run it where jobs are submitted, or give --engine local"
                )
        os.environ["SUBMITIT_PREEMPT_SIGNAL"] = "USR1"  # which a run knows; read when submitit is imported
        try:
            importlib.import_module("submitit")
        except ImportError:
            raise UserError("--engine slurm needs submitit: pip install 'urlvr_jax[slurm]'") from None
        self._jobs: dict[Run, str] = {}
        self._missed: dict[Run, float] = {}  # when a job was first not in the queue
        self._queue: dict[str, str] = {}
        self._asked = 0.0
        self._stopping = False

    def begin(self, runs: Sequence[Run]) -> None:
        """Submit, as one array, those that have no job in the queue."""
        file = self.folder / JOBS
        known = json.loads(file.read_text()) if file.is_file() else {}
        self._queue = queue()
        self._jobs = {run: known[run.hash] for run in runs if known.get(run.hash) in self._queue}
        new = [run for run in runs if run not in self._jobs]
        if new:
            self._jobs |= zip(new, self._submit(new), strict=True)
            write_whole(file, json.dumps(known | {run.hash: job for run, job in self._jobs.items()}))
            self._queue = queue()

    def _submit(self, runs: Sequence[Run]) -> list[str]:
        import submitit

        executor = submitit.AutoExecutor(folder=self.folder / "slurm", cluster="slurm")
        executor.update_parameters(
            name=f"sweep-{self.folder.resolve().name}",
            tasks_per_node=1,
            slurm_array_parallelism=self.at_once,
            slurm_additional_parameters={"requeue": True},
            **{OPTIONS[key][0]: value for key, value in self.given.items()},
        )
        with executor.batch():
            jobs = [executor.submit(Task(run, self.given["signal_delay_s"])) for run in runs]
        return [job.job_id for job in jobs]

    @property
    def running(self) -> list[Run]:
        return [run for run, job in self._jobs.items() if self._queue.get(job) in RUNS]

    @property
    def busy(self) -> bool:
        return bool(self._jobs)

    def poll(self) -> list[tuple[Run, int]]:
        """Runs whose job left the queue, with exit status 0 for those that are done."""
        now = time.monotonic()
        if now - self._asked < ASKS:
            return []
        self._asked = now
        self._queue = queue(self._queue)
        ended = []
        for run, job in list(self._jobs.items()):
            if job in self._queue:
                self._missed.pop(run, None)
                continue
            missed = self._missed.setdefault(run, now)
            if not (run.done or run.error or now - missed > SEEN_WITHIN):
                continue
            del self._jobs[run]
            if run.done or self._stopping:
                run.forget_failure()
            elif not run.error:
                run.keep_failure(f"its job {job} ended without a word (Slurm's files: {self.folder}/slurm)")
            ended.append((run, 0 if run.done else 1))
        return ended

    def stop(self, at_once: bool = False) -> None:
        """Jobs that wait are cancelled; those that run save and end, or end without. An error leaves them as they are."""
        self._stopping = True
        jobs = list(self._jobs.values())
        if at_once or not jobs:
            return
        for how in (["--state=PENDING"], ["--state=RUNNING", "--signal=TERM"]):
            subprocess.run(["scancel", *how, *jobs], check=False)


def queue(before: dict[str, str] | None = None) -> dict[str, str]:
    """{job: state} of this user's jobs, arrays one by one; `before` where Slurm does not answer."""
    words = ["squeue", "-h", "-r", "-u", getpass.getuser(), "-o", "%i %T"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        said = f"squeue: {done.stderr.strip() or done.returncode}"
        if before is None:
            raise UserError(f"{said}: see that Slurm answers here, then run the same command again")
        warn(said)
        return before
    return dict(line.split() for line in done.stdout.splitlines())
