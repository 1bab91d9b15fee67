"""Kill a sweep in the middle, start it again, and compare with one that was left alone.

    python benchmarks/checks/sweep.py [--workdir DIR]

Three rates, three seeds, 20 steps, two at once. SIGKILL as soon as three runs are done and others are under way; the
same command again. A run that was done must not have been started again, each of the nine must have the metric lines of
the sweep that was left alone, clocks apart, and no two processes may have been in one folder. Exit status 1 if not.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLOCKS = ("timing_s/", "perf/")
KEYS = {
    "steps": 20,
    "eval.every": 5,
    "eval.max_questions": 100,
    "checkpoint.every": 5,
    "data.prompts_per_step": 16,
}


def command(folder: pathlib.Path) -> list[str]:
    keys = [f"--config.{key}={value}" for key, value in KEYS.items()]
    over = ["--over", "optim.lr=1e-4,3e-4,1e-3", "--over", "seed=0:3", "--jobs", "2"]
    main = [sys.executable, "-m", "urlvr_jax.main", "sweep", "--config", "experiments/majority.py"]
    return [*main, *keys, *over, "--workdir", str(folder)]


def attempts(folder: pathlib.Path) -> dict[str, list[dict]]:
    """{name of a run: what its record says of each start}."""
    return {
        file.parent.name: json.loads(file.read_text())["attempts"] for file in folder.glob("*/record.json")
    }


def done(folder: pathlib.Path) -> set[str]:
    return {name for name, starts in attempts(folder).items() if "finished" in starts[-1]}


def lines(run: pathlib.Path) -> list[dict]:
    read = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.startswith(CLOCKS)} for line in read]


def main(base: pathlib.Path) -> int:
    alone, killed = base / "alone", base / "killed"
    process = subprocess.Popen(command(killed), cwd=ROOT)
    while len(done(killed)) < 3 and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = done(killed)
    print(
        f"SIGKILL with {len(before)} of 9 runs done, {len(attempts(killed)) - len(before)} under way",
        flush=True,
    )
    for folder in (killed, alone):  # at once: runs of before are still saving
        if subprocess.run(command(folder), cwd=ROOT).returncode:
            print(f"{folder}: the sweep failed")
            return 1
    starts = attempts(killed)
    again = [name for name in before if len(starts[name]) > 1]
    other = [name for name in starts if lines(alone / name) != lines(killed / name)]
    resumed = [name for name in starts if len(starts[name]) > 1]
    print(
        f"{len(done(killed))} of 9 done; {len(resumed)} went on; done runs started again: {len(again)}; other metrics: {len(other)}"
    )
    return int(bool(again or other) or len(done(killed)) != 9)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", type=pathlib.Path, help="kept; a temporary folder if not given")
    given = parser.parse_args().workdir
    if given:
        sys.exit(main(given))
    with tempfile.TemporaryDirectory(prefix="sweep-") as temporary:
        sys.exit(main(pathlib.Path(temporary)))
