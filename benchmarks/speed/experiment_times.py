"""Seconds a step of every experiment, here and in a checkout of an earlier commit, in turn on one core.

    git worktree add /tmp/before 1760367
    python benchmarks/speed/experiment_times.py --before /tmp/before [--steps 20] [--rounds 3] [--out FILE.json]

1760367 is the last commit before packing, refilled slots and shared prompts. Each round runs both once, in a process
of its own, without evaluations; a step's time is the median over rounds of each run's median step, the first three
left out. An experiment that the earlier commit does not have is measured here alone.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXPERIMENTS = (
    "selfcert", "token_entropy", "trajectory_entropy", "probability", "majority", "ground_truth",
    "random_reward", "format_reward", "length_reward", "co_reward", "countdown", "lab_pretrain:plain",
)  # fmt: skip
WARM_UP = 3


def step_seconds(root: pathlib.Path, experiment: str, steps: int) -> float:
    """Median `timing_s/step` of a short run of the code in `root`."""
    file, _, argument = experiment.partition(":")
    config = f"experiments/{file}.py" + (f":{argument}" if argument else "")
    with tempfile.TemporaryDirectory(prefix="times-") as folder:
        run = pathlib.Path(folder) / "run"
        subprocess.run(
            [
                sys.executable, "-m", "urlvr_jax.main", "--config", config, "--workdir", str(run),
                f"--config.steps={steps}", "--config.eval.every=0", "--config.checkpoint.every=0",
                "--config.log.completions_every=0",
            ],
            cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, check=True, capture_output=True,
        )  # fmt: skip
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return statistics.median(line["timing_s/step"] for line in lines if line["step"] > WARM_UP)


def measure(before: pathlib.Path, steps: int, rounds: int) -> dict[str, dict[str, float]]:
    """{experiment: {"before": seconds, "after": seconds}}; "before" only where that checkout has it."""
    out = {}
    for experiment in EXPERIMENTS:
        there = before / "experiments" / f"{experiment.partition(':')[0]}.py"
        seen = {"before": [], "after": []}
        for _ in range(rounds):
            for name, root in (("before", before), ("after", ROOT)):
                if name == "after" or there.is_file():
                    seen[name].append(step_seconds(root, experiment, steps))
        out[experiment] = {name: statistics.median(x) for name, x in seen.items() if x}
        one = out[experiment]
        ratio = f"  {one['after'] / one['before']:.2f}" if "before" in one else ""
        print(f"{experiment:20s}" + "  ".join(f"{n} {x:.3f} s" for n, x in one.items()) + ratio, flush=True)
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--before", type=pathlib.Path, required=True, help="checkout of an earlier commit")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    os.sched_setaffinity(0, {options.core})
    out = measure(options.before.resolve(), options.steps, options.rounds)
    if options.out:
        options.out.write_text(json.dumps(out, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
