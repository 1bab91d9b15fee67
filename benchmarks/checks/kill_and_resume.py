"""Kill a run at random moments, resume it, and compare with the run that was left alone.

    python benchmarks/checks/kill_and_resume.py [--kills 20] [--seed 0]

Each trial starts the same laboratory run in a fresh folder, sends SIGKILL to its process group, and
runs the same command again to the end. Three trials in ten kill while Orbax is writing: as soon as a
temporary checkpoint folder appears, and it must still be there when the process is dead. Compared
are the metric lines (clocks apart), the evaluations, the votes, and parameters and optimizer state of the last
checkpoint, bit for bit. No more than `checkpoint.every` finished steps may have to be repeated. Exit
status 1 if anything differs.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
STEPS, EVERY = 24, 3
CLOCKS = ("timing_s/", "perf/")


def command(folder: pathlib.Path) -> list[str]:
    options = {
        "steps": STEPS,
        "checkpoint.every": EVERY,
        "eval.every": 6,
        "eval.max_questions": 50,
        "data.prompts_per_step": 8,
        "data.shuffle": True,
        "data.subset": 32,  # every question comes again, so that its votes are compared with earlier ones
        "rollout.group": 4,
        "optim.lr": 3e-4,
        "optim.micro_rows": 0,
    }
    if not (ROOT / "urlvr_jax" / "lab" / "bases" / "plain").is_dir():
        options |= {"model.path": "lab:untrained", "model.init": "random"}
    words = [f"--config.{key}={value}" for key, value in options.items()]
    run = [sys.executable, "-m", "urlvr_jax.main", "--config", "experiments/selfcert.py"]
    return [*run, "--workdir", str(folder), *words]


def start(folder: pathlib.Path) -> subprocess.Popen:
    """The run in a process group of its own; what it prints goes to a file beside its folder."""
    with open(folder.with_suffix(".log"), "a") as log:
        return subprocess.Popen(
            command(folder), cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )


def finish(folder: pathlib.Path) -> None:
    if start(folder).wait():
        sys.exit(f"{folder}: the run failed\n{folder.with_suffix('.log').read_text()[-3000:]}")


def lines(file: pathlib.Path) -> list[dict]:
    """Whole lines so far."""
    text = file.read_text() if file.is_file() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


def members(processes: int) -> list[list[str]]:
    """What each process of a run on this machine is told of the others; nothing where it is alone."""
    if processes == 1:
        return [[]]
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        where = ["--coordinator", f"127.0.0.1:{s.getsockname()[1]}", "--processes", str(processes)]
    return [[*where, "--process_id", str(i)] for i in range(processes)]


def last_step(folder: pathlib.Path) -> int:
    return max((line["step"] for line in lines(folder / "metrics.jsonl")), default=0)


def temporary(folder: pathlib.Path) -> set[str]:
    try:
        names = os.listdir(folder / "checkpoints")
    except FileNotFoundError:
        return set()
    return {name for name in names if "orbax-checkpoint-tmp" in name}


def wait_for_a_save(process, folder: pathlib.Path, appearance: int) -> None:
    """Until the so many-th temporary folder appears, or the run is over."""
    seen = set()
    while process.poll() is None:
        seen |= temporary(folder)
        if len(seen) >= appearance:
            return
        time.sleep(0.001)


def wait_for_a_step(process, folder: pathlib.Path, step: int, fraction: float) -> None:
    """Until a step is logged, and a random part of another step has passed."""
    began = time.monotonic()
    while process.poll() is None and last_step(folder) < step:
        time.sleep(0.005)
    each = (time.monotonic() - began) / max(step, 1) if step else 10.0
    time.sleep(fraction * min(each, 10.0))


def kill(process: subprocess.Popen) -> bool:
    """SIGKILL to the process group; False where the run was already over."""
    if process.poll() is not None:
        return False
    os.killpg(process.pid, signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def final_state(folder: pathlib.Path) -> tuple[int, dict[tuple[str, ...], bytes]]:
    """Step of a run's latest checkpoint, and every leaf of it by its path."""
    import jax
    import numpy as np
    import orbax.checkpoint as ocp

    step = max(int(p.name) for p in (folder / "checkpoints").iterdir() if p.name.isdigit())
    saved = folder / "checkpoints" / str(step) / "default"
    reader = ocp.PyTreeCheckpointer()
    as_numpy = lambda _: ocp.RestoreArgs(restore_type=np.ndarray)
    restore_args = jax.tree.map(as_numpy, reader.metadata(saved).item_metadata.tree)
    tree = reader.restore(saved, args=ocp.args.PyTreeRestore(restore_args=restore_args))
    name = lambda path: tuple(jax.tree_util.keystr((key,), simple=True) for key in path)
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return step, {name(path): np.asarray(x).tobytes() for path, x in leaves}


def outcome(folder: pathlib.Path) -> dict:
    """What must not depend on having been killed."""
    logging.getLogger("absl").setLevel(logging.ERROR)
    step, state = final_state(folder)
    without_clocks = lambda line: {k: v for k, v in line.items() if not k.startswith(CLOCKS)}
    return {
        "metrics": [without_clocks(line) for line in lines(folder / "metrics.jsonl")],
        "evaluations": lines(folder / "evals.jsonl"),
        "votes": lines(folder / "votes.jsonl"),
        "step": step,
        "state": state,
    }


def trial(folder: pathlib.Path, during_save: bool, rng: random.Random) -> tuple[dict, str, bool]:
    """(outcome or {}, what happened, whether a temporary folder was left by the kill)."""
    process = start(folder)
    if during_save:
        wait_for_a_save(process, folder, rng.randint(1, STEPS // EVERY))
        time.sleep(rng.choice((0, 0, 0.002, 0.01, 0.03)))
    else:
        wait_for_a_step(process, folder, rng.randint(0, STEPS - 1), rng.random())
    if not kill(process):
        return {}, "was over before the kill", False
    left, reached = temporary(folder), last_step(folder)
    finish(folder)
    log = folder.with_suffix(".log").read_text()
    resumed = int(re.findall(r"from step (\d+)", log)[-1])
    text = f"killed after step {reached:2d}, resumed from {resumed:2d}, {reached - resumed} repeated"
    if left:
        text += f", left {' '.join(sorted(left))}"
    if reached - resumed > EVERY:
        return {}, f"{text}: more than {EVERY}", bool(left)
    return outcome(folder), text, bool(left)


def differences(a: dict, b: dict) -> list[str]:
    return [key for key in a if a[key] != b.get(key)]


def main(kills: int, seed: int) -> int:
    rng = random.Random(seed)
    wanted = math.ceil(0.3 * kills)
    with tempfile.TemporaryDirectory(prefix="kill-and-resume-") as name:
        base = pathlib.Path(name)
        began = time.monotonic()
        finish(base / "alone")
        alone = outcome(base / "alone")
        print(f"left alone: {time.monotonic() - began:.0f} s, {len(alone['state'])} arrays", flush=True)
        identical = during = done = 0
        while done < kills:
            done += 1
            began = time.monotonic()
            # Often enough early on, so that a save missed by a hair can be made up for.
            folder = base / f"trial{done}"
            result, text, left = trial(folder, during < wanted or rng.random() < 0.3, rng)
            wrong = differences(alone, result)
            identical += not wrong
            during += left
            verdict = f"DIFFERS in {', '.join(wrong)}" if wrong else "identical"
            print(f"{done:3d}  {text}: {verdict}  ({time.monotonic() - began:.0f} s)", flush=True)
        print(f"identical {identical} of {kills}, with tmp folder {during}")
        if during < wanted:
            print(f"only {during} kills hit a save, {wanted} wanted")
        return int(identical < kills or during < wanted)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    sys.exit(main(options.kills, options.seed))
