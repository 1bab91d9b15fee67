"""A check that sleeps two seconds a response, with eight workers, one of them killed: what a step takes.

    python benchmarks/checks/slow_check.py [--seconds 2] [--workers 8] [--steps 3]

256 rollouts a step of the laboratory, once trained on the check and once label-free. Prints for each step its
seconds, those it waited for verdicts, and the share in which the device had nothing to do. Exit status 1 if a
verdict was lost, or if a step waited more than a tenth longer than 256 verdicts need.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHECK = """
import os, time

def right(response, gold):
    with open(os.environ["NOTE"], "a") as note:
        note.write(f"{os.getpid()}\\n")
    time.sleep(float(os.environ["SECONDS_EACH"]))
    return ("A" + gold) in response
"""


def run(folder: pathlib.Path, reward: str, given) -> list[dict]:
    """The metric lines of a run; one worker is killed in its second step."""
    (folder / "check.py").write_text(CHECK)
    note = folder / "note"
    note.write_text("")
    words = [
        "--config", "experiments/majority.py", "--workdir", str(folder / "run"), f"--config.reward.name={reward}",
        f"--config.answers.check={folder / 'check.py'}:right", f"--config.answers.workers={given.workers}",
        f"--config.answers.deadline_s={10 * given.seconds}", f"--config.steps={given.steps}", "--config.eval.every=0",
        "--config.checkpoint.every=0",
    ]  # fmt: skip
    env = os.environ | {"NOTE": str(note), "SECONDS_EACH": str(given.seconds)}
    process = subprocess.Popen(
        [sys.executable, "-m", "urlvr_jax.main", *words], cwd=ROOT, env=env, stdout=subprocess.DEVNULL
    )
    lines = lambda: (folder / "run" / "metrics.jsonl").read_text().splitlines()
    while process.poll() is None and not ((folder / "run" / "metrics.jsonl").exists() and lines()):
        time.sleep(0.05)
    judged = len(note.read_text().split())
    while process.poll() is None and len(note.read_text().split()) < judged + 2 * given.workers:
        time.sleep(0.05)
    os.kill(int(note.read_text().split()[-1]), signal.SIGKILL)
    assert process.wait() == 0
    return [json.loads(line) for line in lines()]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--steps", type=int, default=3)
    given = parser.parse_args()
    bad = 0
    print(
        "reward           step  distinct at most  seconds  waited  floor  device idle  late  lost  failed"
    )
    for reward in ("verifier", "majority_voting"):
        with tempfile.TemporaryDirectory() as folder:
            for line in run(pathlib.Path(folder), reward, given):
                floor = math.ceil(256 / given.workers) * given.seconds
                lost = [int(line[f"check/{what}"]) for what in ("late", "lost", "failed")]
                print(
                    f"{reward:<16} {line['step']:>4}  {256:>16}  {line['timing_s/step']:>7.1f}  "
                    f"{line['timing_s/check']:>6.1f}  {floor:>5.0f}  {line['perf/device_idle']:>11.2f}  {lost[0]:>4}  "
                    f"{lost[1]:>4}  {lost[2]:>6}"
                )
                bad += sum(lost) > 0 or line["timing_s/check"] > 1.1 * floor
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
