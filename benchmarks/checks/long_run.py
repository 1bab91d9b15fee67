"""Run long, with many saves and evaluations: memory, open files and threads must not grow.

    taskset -c 0 python benchmarks/checks/long_run.py [--steps 1500]
    python benchmarks/checks/long_run.py --processes 2         each of them is looked at

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

from kill_and_resume import members

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


def run(folder: pathlib.Path, steps: int, processes: int) -> list[list[Sample]]:
    """One sample every `EVERY` steps of a run, of each of its processes."""
    words = [f"--config.{key}={value}" for key, value in (OPTIONS | {"steps": steps}).items()]
    command = [sys.executable, "-m", "urlvr_jax.main", "--config", "experiments/selfcert.py", *words]
    log = folder.with_suffix(".log")
    with open(log, "w") as out:
        started = [
            subprocess.Popen(
                [*command, "--workdir", str(folder), *of], cwd=ROOT, stdout=out, stderr=subprocess.STDOUT
            )
            for of in members(processes)
        ]
    samples: list[list[Sample]] = [[] for _ in started]
    due = EVERY
    while all(process.poll() is None for process in started):
        if (step := steps_made(folder)) >= due:
            for process, seen in zip(started, samples, strict=True):
                seen.append(sample(process.pid, step))
            text = "   ".join(
                "{1:7.1f} MiB  {2:3d} files  {3:3d} threads".format(*seen[-1]) for seen in samples
            )
            print(f"step {step:5d}  {text}", flush=True)
            due = (step // EVERY + 1) * EVERY
        time.sleep(0.01)
    if any([process.wait() for process in started]):
        sys.exit(f"{folder}: the run failed\n{log.read_text()[-3000:]}")
    return samples


def main(steps: int, processes: int) -> int:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="long-run-") as name:
        grown = [verdict(seen) for seen in run(pathlib.Path(name) / "run", steps, processes)]
    for number, found in enumerate(grown):
        said = ", ".join(f"{name} {value}" for name, value in found.items()) or "nothing grows"
        print(f"process {number}: {steps} steps in {time.monotonic() - began:.0f} s: {said}")
    return int(any(grown))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    sys.exit(main(given.steps, given.processes))
