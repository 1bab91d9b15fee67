"""Runs of an experiment's configurations, one line of findings each, in a file of docs.

A study is a list of `Cell`s and a file. `run_missing` runs each cell whose configuration and base have no line in the
file, in a process and on a core of its own, and writes the line: findings, thinned curves, the commit, the
configuration's hash, the base's sha256. Nothing is mixed: a line of another hash is stale and replaced.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import importlib.util
import json
import os
import pathlib
import queue
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]

from urlvr_jax import config as config_lib
from urlvr_jax.lab import shipped
from urlvr_jax.measure import collapse
from urlvr_jax.measure.record import RunRecord
from urlvr_jax.runtime import lines as lines_lib

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


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run: `experiment` as after --config, "experiments/grid.py:self_certainty,3e-05", and its seed."""

    experiment: str
    seed: int
    about: tuple[tuple[str, object], ...] = ()  # what its line says of it, first

    @property
    def config(self):
        c = configuration(self.experiment)
        c.seed = self.seed
        return c

    @functools.cached_property
    def hash(self) -> str:
        return hash_of(self.config)

    def has(self, line: dict | None) -> bool:
        """Whether a line on file is this cell's: the same configuration, and a base that has not changed."""
        if line is None or line["config_hash"] != self.hash:
            return False
        return line.get("base_sha256") in (None, base_sha256(self.config.model.path))


def hash_of(c) -> str:
    return config_lib.config_hash(config_lib.flat(c))


@functools.cache
def module(file: str):
    spec = importlib.util.spec_from_file_location(pathlib.Path(file).stem, ROOT / file)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def configuration(experiment: str):
    file, _, argument = experiment.partition(":")
    return module(file).get_config(*[argument] if argument else [])


def base_sha256(path: str) -> str | None:
    """As its recipe says; None for a base without one."""
    folder = shipped.base(path) if path.startswith("lab:") else pathlib.Path(path)
    recipe = folder / "recipe.json"
    return json.loads(recipe.read_text())["sha256"][:16] if recipe.is_file() else None


def read(file: pathlib.Path) -> list[dict]:
    return lines_lib.read_lines(file) if file.is_file() else []


def run_missing(cells: list[Cell], file: pathlib.Path, jobs: int, thin: int = 8, only=lambda cell: True):
    """Run what `file` lacks of those cells that `only` lets through, and keep it in the order of `cells`.

    Curves have a point every `thin` steps.
    """
    key = lambda line: tuple((k, line[k]) for k, _ in cells[0].about) + (("seed", line["seed"]),)
    place = {(*cell.about, ("seed", cell.seed)): i for i, cell in enumerate(cells)}
    kept = {key(line): line for line in read(file)}
    missing = [cell for at, cell in zip(place, cells, strict=True) if not cell.has(kept.get(at))]
    todo = list(filter(only, missing))
    print(f"{len(todo)} of {len(cells)} cells to run", flush=True)
    cores: queue.Queue = queue.Queue()
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    for i in range(jobs):
        cores.put(allowed[i % len(allowed)])
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(_run, cell, cores, thin) for cell in todo]
        for i, future in enumerate(concurrent.futures.as_completed(futures)):
            line = future.result()
            kept[key(line)] = line
            ordered = sorted(kept.items(), key=lambda item: place.get(item[0], len(place)))
            _write(file, [line for _, line in ordered])
            held, what = line["held_out"], " ".join(str(v) for _, v in key(line)[:-1])
            print(
                f"{i + 1}/{len(todo)} {what} seed {line['seed']}: {held['base']:.3f} {held['peak']:.3f} "
                f"{held['final']:.3f} mcs {line['mcs']}",
                flush=True,
            )


def _write(file: pathlib.Path, lines: list[dict]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_suffix(".tmp")
    beside.write_text("".join(json.dumps(line) + "\n" for line in lines))
    os.replace(beside, file)


def _run(cell: Cell, cores: queue.Queue, thin: int) -> dict:
    """Run one cell in a process of its own, on one core."""
    core = cores.get()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="study-"))
    try:
        words = [sys.executable, "-m", "urlvr_jax.main", "--config", cell.experiment]
        words += [f"--config.seed={cell.seed}", "--workdir", str(folder)]
        pin = (lambda: os.sched_setaffinity(0, {core})) if hasattr(os, "sched_setaffinity") else None
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, preexec_fn=pin)
        if done.returncode:
            raise RuntimeError(f"{cell}: exit status {done.returncode}\n{done.stderr[-2000:]}")
        return condense(folder, cell, thin)
    finally:
        cores.put(core)
        shutil.rmtree(folder, ignore_errors=True)


def condense(folder: pathlib.Path, cell: Cell, thin: int) -> dict:
    """A run's folder -> one line of findings."""
    run = RunRecord(folder)
    lines, evals, git = run.lines, run.first_set(), run.attempt["git"]
    trained = [line for line in lines if "reward/mean" in line]
    line = {
        **dict(cell.about),
        "seed": cell.seed,
        "config_hash": run.record["config_hash"],
        "base_sha256": base_sha256(cell.config.model.path),
        "commit": git.get("commit"),
        "modified": git.get("modified"),
        "steps": lines[-1]["step"],
        "held_out": dataclasses.asdict(collapse.rise_and_fall_of(evals)),
        "mcs": collapse.mcs(lines),
        "collapse_step": collapse.collapse_step(lines),
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


def spread(values: list) -> str:
    """Median and range over seeds; 'never' counts as later than any step."""
    if all(v is None for v in values):
        return "never"
    if any(v is None for v in values):
        return " ".join("never" if v is None else str(v) for v in values)
    if all(isinstance(v, int) for v in values):
        return " ".join(map(str, values))
    middle = sorted(values)[len(values) // 2]
    return f"{middle:.2f} ({min(values):.2f}–{max(values):.2f})"


def commits(lines: list[dict]) -> str:
    return ", ".join(sorted({f"{r['commit'][:12]}{'+changes' if r['modified'] else ''}" for r in lines}))


def reward_of(c) -> object:
    """The card of a configuration's reward: its `About`."""
    from urlvr_jax.rewards import expression

    return expression.REWARDS[c.reward.name].about
