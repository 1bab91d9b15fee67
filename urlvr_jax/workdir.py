"""The folder of one run: its record, its metric lines, its tables of completions.

config.json       resolved configuration; a resume with another one is refused
record.json       versions, devices, git state, fingerprints; one entry an attempt
metrics.jsonl     one JSON line a step
evals.jsonl       one line an evaluation: correct samples of every question
completions/      completions_00010.parquet: sampled responses with answers and rewards
checkpoints/      Orbax
"""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import subprocess

import jax
import numpy as np

from urlvr_jax import config as config_lib

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "transformers", "numpy")
MAY_CHANGE = ("steps",)


class WorkdirError(ValueError):
    """A workdir that belongs to another configuration; the message shows the difference."""


def new_path(experiment: str) -> pathlib.Path:
    """runs/<experiment>-<time>, for a run without --workdir."""
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return pathlib.Path("runs") / f"{experiment}-{stamp}-{os.getpid()}"


def config_hash(flat_config: dict) -> str:
    """Of what the run computes: `config.HOW` is left out, and `config.ADDED` at its defaults."""
    defaults = config_lib.flat(config_lib.default())
    silent = lambda k, v: (
        config_lib.named(k, config_lib.HOW) or (config_lib.named(k, config_lib.ADDED) and v == defaults[k])
    )
    text = json.dumps({k: v for k, v in flat_config.items() if not silent(k, v)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


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
    """Opens or continues a run's folder."""

    def __init__(self, path: pathlib.Path, c, facts: dict):
        self.path = pathlib.Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self.config = config_lib.flat(c)
        self._check_config()
        self._write_record(facts)
        self.metrics = Lines(self.path / "metrics.jsonl")
        self.evals = Lines(self.path / "evals.jsonl")

    def _check_config(self) -> None:
        file = self.path / "config.json"
        if file.is_file():
            defaults = config_lib.flat(config_lib.default()).items()
            added = {k: v for k, v in defaults if config_lib.named(k, config_lib.ADDED)}
            old = added | json.loads(file.read_text())
            keys = sorted((set(old) | set(self.config)) - set(MAY_CHANGE))
            changed = [k for k in keys if old.get(k) != self.config.get(k)]
            fewer, other = old["steps"] > self.config["steps"], old["steps"] != self.config["steps"]
            if fewer or (other and self.config["optim.schedule"] != "constant"):
                changed.append("steps")
            if changed:
                lines = [f"  {k}: {old.get(k)!r} -> {self.config.get(k)!r}" for k in changed]
                raise WorkdirError(
                    f"{self.path} holds a run with another configuration:\n" + "\n".join(lines) + "\n"
                    "use another --workdir, or the same values (more steps alone are fine, at a "
                    "constant learning rate)"
                )
        _write_whole(file, json.dumps(self.config, indent=1, sort_keys=True))

    def _write_record(self, facts: dict) -> None:
        file = self.path / "record.json"
        attempts = json.loads(file.read_text())["attempts"] if file.is_file() else []
        attempts.append(
            {
                "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "git": git_state(),
                "versions": {p: importlib.metadata.version(p) for p in PACKAGES},
                "python": platform.python_version(),
                "devices": [str(d) for d in jax.devices()],
                **facts,
            }
        )
        record = {"config_hash": config_hash(self.config), "attempts": attempts}
        _write_whole(file, json.dumps(record, indent=1))

    def truncate_after(self, step: int) -> None:
        """Forget what was written past the restored step."""
        self.metrics.truncate_after(step)
        self.evals.truncate_after(step)
        for file in (self.path / "completions").glob("completions_*.parquet"):
            if int(file.stem.split("_")[1]) > step:
                file.unlink()

    def completions(self, step: int, columns: dict) -> None:
        """One table of sampled completions: column name -> list."""
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
        np.savez(
            file,
            prompt_tokens=prompts.tokens,
            prompt_lengths=prompts.lengths,
            tokens=rollouts.tokens,
            lengths=rollouts.lengths,
            advantages=advantages,
            **rollouts.stats,
        )
        return file


class Lines:
    """JSON lines with a `step`, appended; durable before a checkpoint commits."""

    def __init__(self, file: pathlib.Path):
        self.file = file
        self._out = open(file, "a", encoding="utf-8")  # noqa: SIM115

    def write(self, line: dict) -> None:
        """A number that is not finite is left out: NaN is not JSON (skipped updates are counted)."""
        finite = {k: v for k, v in line.items() if not isinstance(v, float) or math.isfinite(v)}
        self._out.write(json.dumps(finite, allow_nan=False) + "\n")
        self._out.flush()

    def sync(self) -> None:
        self._out.flush()
        os.fsync(self._out.fileno())

    def truncate_after(self, step: int) -> None:
        """Keep whole lines up to `step`; a torn last line of a killed run goes too."""
        self._out.close()
        kept = [line for line in read_lines(self.file) if line["step"] <= step]
        _write_whole(self.file, "".join(json.dumps(line) + "\n" for line in kept))
        self._out = open(self.file, "a", encoding="utf-8")  # noqa: SIM115


def read_lines(file: pathlib.Path) -> list[dict]:
    """Whole JSON lines of a file; a torn last line (a killed writer) is left out."""
    lines = pathlib.Path(file).read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


def _write_whole(file: pathlib.Path, text: str) -> None:
    """Write beside, then rename: a reader sees the old file or the new one."""
    beside = file.with_suffix(file.suffix + ".tmp")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, file)
