"""The folder of one run: its record, its metric lines, its tables of completions.

config.json       resolved configuration; a resume with another one is refused
record.json       versions, devices, git state, fingerprints; one entry an attempt
metrics.jsonl     one JSON line a step
evals.jsonl       one line an evaluation: correct samples of every question
votes.jsonl       one line a step: the votes on every question
warnings.jsonl    one line a warning of the run
completions/      completions_00010.parquet: sampled responses with answers and rewards
checkpoints/      Orbax
sinks/            what the followers of `log.sinks` keep, a folder each
lock              who runs here, or did last

In a bucket it is the same, written by way of a folder of this machine: `bucket.py`.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import socket
import subprocess
import time

import jax
import numpy as np

from urlvr_jax import config as config_lib
from urlvr_jax.config import config_hash
from urlvr_jax.errors import UserError
from urlvr_jax.models import identity
from urlvr_jax.runtime import bucket, hosts, lock
from urlvr_jax.runtime.lines import Lines, write_whole
from urlvr_jax.runtime.lock import Lock
from urlvr_jax.runtime.paths import require_plain
from urlvr_jax.runtime.terminal import warn
from urlvr_jax.untrusted import json_text

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "transformers", "numpy")
MAY_CHANGE = ("steps", "log.sinks")
# The same numbers but for rounding, on other devices: a run that 4 hosts began goes on with 1.
OF_DEVICES = (
    "mesh.data", "mesh.fsdp", "mesh.tensor", "rollout.slots", "rollout.cache", "rollout.page", "rollout.pages",
    "optim.micro_rows", "optim.micro_prompts",
)  # fmt: skip
SEEN_WITHIN = 20.0  # seconds until a file of one machine must be seen on all


class WorkdirError(UserError):
    """A workdir that belongs to another configuration, or in which another run is under way."""


def new_path(experiment: str) -> pathlib.Path:
    """runs/<experiment>-<time>, for a run without --workdir; the same on every process."""
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return pathlib.Path("runs") / hosts.agree(f"{experiment}-{stamp}-{os.getpid()}")


def git_state() -> dict:
    """Commit, and whether the tree (documents aside) differs from it; empty outside a checkout."""
    here = pathlib.Path(__file__).parent
    run = lambda *a: subprocess.run(["git", *a], cwd=here, capture_output=True, text=True, check=True)
    try:
        commit = run("rev-parse", "HEAD").stdout.strip()
        changed = run(
            "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(exclude,top)docs"
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"commit": commit, "modified": bool(changed)}


class Workdir:
    """Opens or continues a run's folder. Every process checks it, one writes (`hosts.is_writer`).

    name: where the run is said to be. path: where its files are on this machine; elsewhere only of a bucket.
    checkpoints: where they are. Raises WorkdirError where another run holds the folder or began it with another
    configuration, PathError where checkpoints could not be read back, BucketError where a bucket cannot be reached,
    and OSError where nothing can be written.
    """

    def __init__(self, name: str | pathlib.Path, c, facts: dict):
        self.name, self.in_bucket = str(name), bucket.is_in(name)
        self.path = pathlib.Path(name)
        self.writes = hosts.is_writer()
        if self.in_bucket:
            self.path = bucket.staging(f"runs/{jax.process_index()}", self.name)
        require_plain(self.path)
        self.checkpoints = bucket.place(self.name if self.in_bucket else self.path) / bucket.CHECKPOINTS
        self.config = config_lib.flat(c)
        self._take()
        try:
            self._check_config()
            identity.require(self.path, facts.get(identity.FACT), WorkdirError)
        except WorkdirError:
            self.release()
            raise
        if self.writes:
            write_whole(self.path / "config.json", json.dumps(self.config, indent=1, sort_keys=True))
            self._write_record(facts)
        self.metrics = Lines(self.path / "metrics.jsonl", self.writes)
        self.evals = Lines(self.path / "evals.jsonl", self.writes)
        self.votes = Lines(self.path / "votes.jsonl", self.writes)
        self.warnings = Lines(self.path / "warnings.jsonl", self.writes)

    def _take(self) -> None:
        """The writer makes and takes the folder, and every process stops where it could not or does not see it."""
        self.lock = self.mirror = None
        if self.writes:
            self.path.mkdir(parents=True, exist_ok=True)
            self.lock = Lock(self.path)
            if self.in_bucket and not self.lock.taken:
                self.mirror = bucket.Mirror(self.name, self.path, self.lock.text)
        taken, text = hosts.agree(((self.mirror or self.lock).taken, self.lock.text) if self.lock else None)
        if not taken:
            hosts.each(lambda: self._see(text))
        else:
            raise WorkdirError(
                f"{self.name} is in use by another run: {taken}; wait for its end, stop it with SIGTERM and run "
                "this command again to go on from there, or give another --workdir"
            )

    def _see(self, text: str) -> None:
        """WorkdirError where this process does not find the lock that process 0 has just written."""
        until = time.monotonic() + SEEN_WITHIN
        while not self.writes:
            with contextlib.suppress(OSError):
                if (self.checkpoints.parent / lock.NAME).read_text().startswith(text):
                    return bucket.fill(self.name, self.path) if self.in_bucket else None
            if time.monotonic() > until:
                raise WorkdirError(
                    f"{self.name} on {socket.gethostname()} is not the folder of process 0: give a --workdir that every "
                    "machine sees"
                )
            time.sleep(0.1)

    def release(self) -> None:
        """Let the folder go; else that happens when this object is collected, or its process ends."""
        if self.mirror and not self.mirror.close():
            raise bucket.BucketError(
                f"{self.name} could not be written ({self.mirror.failed}); this machine has the files, in {self.path}"
            )
        if self.lock:
            self.lock.release()

    def __enter__(self) -> Workdir:
        return self

    def __exit__(self, *error) -> None:
        self.release()

    def _check_config(self) -> None:
        file = self.path / "config.json"
        if file.is_file():
            defaults = config_lib.flat(config_lib.default()).items()
            added = {k: v for k, v in defaults if k in config_lib.marked("added")}
            old = added | json_text.read(file, WorkdirError)
            keys = sorted((set(old) | set(self.config)) - set(MAY_CHANGE))
            changed = [k for k in keys if old.get(k) != self.config.get(k)]
            steps = old.get("steps")
            fewer = not isinstance(steps, int) or steps > self.config["steps"]
            other = steps != self.config["steps"]
            if fewer or (other and self.config["optim.schedule"] != "constant"):
                changed.append("steps")
            lines = [f"  {k}: {old.get(k)!r} -> {self.config.get(k)!r}" for k in changed]
            if set(changed) <= set(OF_DEVICES):
                if changed and self.writes:
                    warn(
                        "the run goes on with another layout, equal but for rounding:\n" + "\n".join(lines)
                    )
            else:
                raise WorkdirError(
                    f"{self.name} holds a run with another configuration:\n" + "\n".join(lines) + "\n"
                    "use another --workdir, or the same values (more steps alone are fine, at a "
                    "constant learning rate)"
                )

    def _write_record(self, facts: dict) -> None:
        file = self.path / "record.json"
        attempts = json_text.read(file, WorkdirError).get("attempts") if file.is_file() else []
        if not isinstance(attempts, list):
            raise WorkdirError(f"{file} has no list of `attempts`: it is no record of a run")
        attempts.append(
            {
                "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "git": git_state(),
                "versions": {p: importlib.metadata.version(p) for p in PACKAGES},
                "python": platform.python_version(),
                "devices": [str(d) for d in jax.devices()],
                "mesh": {
                    k.removeprefix("mesh."): v for k, v in self.config.items() if k.startswith("mesh.")
                },
                **facts,
            }
        )
        record = {"config_hash": config_hash(self.config), "attempts": attempts}
        write_whole(file, json.dumps(record, indent=1))

    def finished(self) -> int:
        """The record says that the run came to its end; the exit status 0 for it."""
        if self.writes:
            file = self.path / "record.json"
            record = json_text.read(file, WorkdirError)
            record["attempts"][-1]["finished"] = datetime.datetime.now(datetime.UTC).isoformat(
                timespec="seconds"
            )
            write_whole(file, json.dumps(record, indent=1))
        return 0

    def truncate_after(self, step: int) -> None:
        """Forget what was written past the restored step."""
        for lines in self._lines():
            lines.truncate_after(step)
        for file in (self.path / "completions").glob("completions_*.parquet") if self.writes else ():
            if int(file.stem.split("_")[1]) > step:
                file.unlink()

    def sync(self) -> None:
        """What was written so far is on disk: to be called before a checkpoint."""
        for lines in self._lines():
            lines.sync()
        if self.mirror:
            self.mirror.copy()

    def _lines(self) -> tuple[Lines, ...]:
        return self.metrics, self.evals, self.votes, self.warnings

    def warn(self, text: str, kind: str = "") -> None:
        """Say it on standard error, and keep it for who follows the run: with the step under way.

        kind: followers tell each kind once, in all starts of the run; without it each text.
        """
        warn(text)
        last = self.metrics.last
        before = self.warnings.file.stat().st_size if self.writes else 0
        try:
            self.warnings.write(
                {"step": 0 if last is None else last + 1, "kind": kind or text, "text": text}
            )
        except OSError:  # a full disk, which may be what the warning is about
            os.truncate(self.warnings.file, before)

    def completions_due(self, step: int, last: bool) -> bool:
        every = self.config["log.completions_every"]
        return self.config["mode"] == "rl" and bool(every) and (step % every == 0 or last)

    def completions(self, step: int, columns: dict) -> None:
        """One table of sampled completions: column name -> list."""
        if not self.writes:
            return
        import pyarrow
        import pyarrow.parquet

        folder = self.path / "completions"
        folder.mkdir(exist_ok=True)
        table = pyarrow.table({"step": [step] * len(next(iter(columns.values()))), **columns})
        file = folder / f"completions_{step:05d}.parquet"
        pyarrow.parquet.write_table(table, file.with_suffix(".tmp"))
        os.replace(file.with_suffix(".tmp"), file)

    def save_batch(self, step: int, prompts, rollouts, advantages) -> pathlib.Path:
        """The batch of a step that could not be used, for a post-mortem."""
        file = self.path / f"bad_batch_{step:05d}.npz"
        batch = dict(
            prompt_tokens=prompts.tokens,
            prompt_lengths=prompts.lengths,
            tokens=rollouts.tokens,
            lengths=rollouts.lengths,
            advantages=advantages,
            **rollouts.stats,
        )
        if self.writes:
            np.savez(file, **batch)
        return file
