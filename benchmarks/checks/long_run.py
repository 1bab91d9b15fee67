"""Run long, with many saves and evaluations: memory, open files and threads must not grow.

    taskset -c 0 python benchmarks/checks/long_run.py [--steps 1500]

A tiny laboratory run saves every 5 steps, evaluates every 25 and writes completions every 25. Every 50 steps its
resident memory, open files and threads are read from /proc and printed. After step 300 the medians of the last third
of the samples are compared with those of the first: memory must have grown by less than 5 %, files and threads by
less than 8, because a save under way has up to 9 of its own. One leak a save would be 160, one an evaluation 32. Exit
status 1 if anything grows.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]
EVERY, SETTLED = 50, 300
MEMORY, COUNT = 0.05, 8
OPTIONS = {
    "model.path": "lab:untrained",
    "model.init": "random",
    "data.prompts_per_step": 2,
    "rollout.group": 2,
    "rollout.max_new_tokens": 8,
    "rollout.response_buckets": "(8,)",
    "optim.micro_rows": 0,
    "eval.every": 25,
    "eval.max_questions": 4,
    "checkpoint.every": 5,
    "log.completions_every": 25,
}


class Sample(NamedTuple):
    """A process at a step."""

    step: int
    memory: float  # MiB resident
    files: int
    threads: int


def sample(pid: int, step: int) -> Sample:
    """Of a running process; FileNotFoundError or ProcessLookupError if it is over."""
    proc = pathlib.Path("/proc") / str(pid)
    status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
    memory = int(status["VmRSS"].split()[0]) / 1024
    return Sample(step, memory, len(os.listdir(proc / "fd")), len(os.listdir(proc / "task")))


def growth(values: list[float]) -> float:
    """Median of the last third less that of the first."""
    third = max(len(values) // 3, 1)
    return statistics.median(values[-third:]) - statistics.median(values[:third])


def verdict(samples: list[Sample]) -> dict[str, str]:
    """What grew after the start, and by how much; {} if nothing did."""
    settled = [s for s in samples if s.step >= SETTLED]
    memory = growth([s.memory for s in settled]) / settled[0].memory
    out = {} if memory < MEMORY else {"memory": f"{memory:+.1%}"}
    for name in ("files", "threads"):
        more = growth([getattr(s, name) for s in settled])
        if more >= COUNT:
            out[name] = f"{more:+g}"
    return out


def steps_made(folder: pathlib.Path) -> int:
    file = folder / "metrics.jsonl"
    return file.read_bytes().count(b"\n") - 1 if file.is_file() else 0  # the first line is step 0


def run(folder: pathlib.Path, steps: int) -> list[Sample]:
    """One sample every `EVERY` steps of a run."""
    words = [f"--config.{key}={value}" for key, value in (OPTIONS | {"steps": steps}).items()]
    command = [sys.executable, "-m", "urlvr_jax.main", "--config", "experiments/selfcert.py", *words]
    log = folder.with_suffix(".log")
    with open(log, "w") as out:
        process = subprocess.Popen(
            [*command, "--workdir", str(folder)], cwd=ROOT, stdout=out, stderr=subprocess.STDOUT
        )
    samples: list[Sample] = []
    due = EVERY
    while process.poll() is None:
        if (step := steps_made(folder)) >= due:
            samples.append(sample(process.pid, step))
            print("step {:5d}  {:7.1f} MiB  {:3d} files  {:3d} threads".format(*samples[-1]), flush=True)
            due = (step // EVERY + 1) * EVERY
        time.sleep(0.01)
    if process.returncode:
        sys.exit(f"{folder}: the run failed\n{log.read_text()[-3000:]}")
    return samples


def main(steps: int) -> int:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="long-run-") as name:
        samples = run(pathlib.Path(name) / "run", steps)
    grown = verdict(samples)
    said = ", ".join(f"{name} {value}" for name, value in grown.items()) or "nothing grows"
    print(f"{steps} steps in {time.monotonic() - began:.0f} s: {said}")
    return int(bool(grown))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=1500)
    sys.exit(main(parser.parse_args().steps))
