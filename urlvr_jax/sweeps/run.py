"""One run of many: its words on the command line, its folder, and how it stands there."""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
import signal
import sys

from urlvr_jax import config as config_lib
from urlvr_jax.measure.record import RunRecord
from urlvr_jax.runtime import lock
from urlvr_jax.runtime.lines import write_whole

LOG, FAILED = "log.txt", "failed.json"  # in a run's folder: what it printed; how it failed
DONE, RUNNING, FAILS, WAITS = "done", "running", "failed", "waiting"
LONGEST = 300  # characters of an error's line


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """An experiment, the keys that it is given, and the folder in which its own folder stands."""

    experiment: str  # as after --config; empty for the defaults
    values: dict[str, object]  # {dotted key: value}, beside those of the experiment's file
    parent: pathlib.Path
    cwd: pathlib.Path = pathlib.Path()  # where its process runs, and `experiment` is found
    name: str = ""  # of its folder; its configuration's hash if empty

    @functools.cached_property
    def config(self):
        c = _experiment(
            str(self.cwd / self.experiment) if self.experiment else ""
        ).copy_and_resolve_references()
        c.update_from_flattened_dict(self.values)
        return c

    @functools.cached_property
    def hash(self) -> str:
        return config_lib.config_hash(config_lib.flat(self.config))

    @property
    def folder(self) -> pathlib.Path:
        return self.parent / (self.name or self.hash)

    @property
    def flags(self) -> list[str]:
        """What its command line says of its configuration."""
        keys = [f"--config.{key}={value}" for key, value in self.values.items()]
        return [*(["--config", self.experiment] if self.experiment else []), *keys]

    @property
    def words(self) -> list[str]:
        """Its command line; the same on this machine and on Slurm."""
        return [sys.executable, "-m", "urlvr_jax.main", *self.flags, "--workdir", str(self.folder)]

    @property
    def done(self) -> bool:
        """Whether its folder says that it came to its end."""
        return bool(RunRecord(self.folder).attempt.get("finished"))

    @property
    def error(self) -> str:
        """How it failed, in one line; empty if it did not."""
        return failure_of(self.folder)

    @property
    def held(self) -> bool:
        """Whether a process of this machine is at work in its folder."""
        return lock.is_held(self.folder)

    def forget_failure(self) -> None:
        (self.folder / FAILED).unlink(missing_ok=True)

    def failed(self, status: int, since: int = 0) -> None:
        """Keep how it failed: its exit status, and the last error of its log from byte `since` on."""
        self.keep_failure(f"{ended_text(status)}: {last_error(self.folder / LOG, since)}")

    def keep_failure(self, error: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / FAILED, json.dumps({"error": error[:LONGEST]}))


def failure_of(folder: pathlib.Path) -> str:
    """How the run of a folder failed, in one line; empty if it did not, or nobody kept it."""
    file = folder / FAILED
    return json.loads(file.read_text())["error"] if file.is_file() else ""


@functools.cache
def _experiment(text: str):
    """Many runs are of one file."""
    return config_lib.load_experiment(text) if text else config_lib.default()


def ended_text(status: int) -> str:
    """An exit status in words; negative: a signal, as `subprocess` says it."""
    number = -status if status < 0 else status - 128
    if number in set(signal.Signals):
        return f"ended by {signal.Signals(number).name}"
    return f"exit status {status}"


def last_error(log: pathlib.Path, since: int = 0) -> str:
    """The last line that begins with "error:", else the last one."""
    with open(log, "rb") as opened:
        opened.seek(since)
        lines = [line.strip() for line in opened.read().decode(errors="replace").splitlines()]
    lines = [line for line in lines if line]
    errors = [line for line in lines if line.startswith("error:")]
    return (errors or lines or ["it said nothing"])[-1]
