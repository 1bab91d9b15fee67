"""Whole runs with sinks: killed with them, broken in each way, and what they cost.

    python benchmarks/checks/sinks.py kill      # needs pip install 'urlvr_jax[tensorboard,wandb,trackio]'
    python benchmarks/checks/sinks.py faults
    python benchmarks/checks/sinks.py cost

kill: SIGKILL to a run at random moments, every second time to all its sinks too, as when a job is over; then the run is
resumed to its end, and each library must have each step once. faults: a package that raises when it is imported, when it
begins or in the middle, one that hangs there, and a full disk: exit status 0, one line said, and metrics as without sinks.
cost: seconds a step with and without all sinks, and how long the end takes. Exit status 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAMES = ("tensorboard", "wandb", "trackio")
STEPS = 60
CLOCKS = ("timing_s/", "perf/")
OPTIONS = {
    "model.path": "lab:untrained",
    "model.init": "random",
    "data.prompts_per_step": 8,
    "rollout.group": 4,
    "eval.every": 10,
    "eval.max_questions": 20,
    "checkpoint.every": 7,
    "log.completions_every": 5,
    "steps": STEPS,
}


def start(folder: pathlib.Path, sinks=(), packages: pathlib.Path | None = None, **options):
    """A run in a process group of its own; what it says goes to files beside its folder. packages: looked in first."""
    words = [f"--config.{k}={v}" for k, v in (OPTIONS | options | {"log.sinks": ",".join(sinks)}).items()]
    path = os.pathsep.join(str(p) for p in (packages, ROOT) if p)
    env = {"WANDB_MODE": "offline", "TRACKIO_DIR": str(folder.parent / "trackio"), "PYTHONPATH": path}
    with (
        open(folder.with_suffix(".out"), "a") as out,
        open(folder.with_suffix(".err"), "a") as err,
    ):
        return subprocess.Popen(
            [sys.executable, "-m", "urlvr_jax.main", "--config", "experiments/selfcert.py", "--workdir", folder, *words],
            cwd=ROOT, stdout=out, stderr=err, env=os.environ | env, start_new_session=True,
        )  # fmt: skip


def lines(folder: pathlib.Path) -> list[dict]:
    """Whole metric lines so far."""
    file = folder / "metrics.jsonl"
    return [json.loads(line) for line in file.read_text().split("\n")[:-1]] if file.is_file() else []


def without_clocks(folder: pathlib.Path) -> list[dict]:
    return [{k: v for k, v in line.items() if not k.startswith(CLOCKS)} for line in lines(folder)]


def said(folder: pathlib.Path) -> list[str]:
    text = folder.with_suffix(".err").read_text()
    return [line for line in text.splitlines() if "log.sinks" in line or "Traceback" in line]


def descendants(pid: int) -> list[int]:
    """Processes that a process has started, and those that they have."""
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *descendants(child)]
    return found


def followers(folder: pathlib.Path) -> list[int]:
    """Processes that follow a run."""
    found = []
    for file in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        if b"urlvr_jax.sinks.follow" in words and str(folder).encode() in words:
            found.append(int(file.parent.name))
    return found


def wait_for_step(process, folder: pathlib.Path, step: int) -> None:
    while process.poll() is None and len(lines(folder)) <= step:
        time.sleep(0.005)


def wait_for_followers(folder: pathlib.Path) -> float:
    """Seconds until none is left; at most 60."""
    began = time.monotonic()
    while followers(folder) and time.monotonic() - began < 60:
        time.sleep(0.02)
    return time.monotonic() - began


# ---- kill ---------------------------------------------------------------------------------------


def told_once(folder: pathlib.Path) -> list[str]:
    """What is wrong with what the libraries have."""
    sys.path.insert(0, str(ROOT / "tests" / "sinks"))
    os.environ["TRACKIO_DIR"] = str(folder.parent / "trackio")
    import numpy as np
    import reading

    own = folder / "sinks"
    curves = {
        "tensorboard": reading.of_tensorboard(own / "tensorboard")[0],
        "wandb": reading.of_wandb(own / "wandb")[1],
        "trackio": reading.of_trackio(own / "trackio")[0],
    }
    wrong = []
    for key in sorted({k for line in lines(folder) for k in line} - {"step", "collapse/reason"}):
        wanted = [(line["step"], line[key]) for line in lines(folder) if key in line]
        for name, told in curves.items():
            points = told.get(key, [])
            if [s for s, _ in points] != [s for s, _ in wanted]:
                wrong.append(f"{name}: steps of {key} are {[s for s, _ in points]}")
            elif not key.startswith(CLOCKS) and (np.float32(points) != np.float32(wanted)).any():
                wrong.append(f"{name}: values of {key}")
    return wrong


def check_kill(base: pathlib.Path, seed: int) -> int:
    folder, rng, reached = base / "run", random.Random(seed), 0
    for attempt in range(6):
        process = start(folder, NAMES)
        wait_for_step(process, folder, reached + rng.randint(4, 15))
        time.sleep(rng.uniform(0, 4))
        if process.poll() is not None:
            break
        with_them = attempt % 2 == 0
        for pid in [process.pid, *(descendants(process.pid) if with_them else [])]:
            os.kill(pid, signal.SIGKILL)
        process.wait()
        reached = lines(folder)[-1]["step"]
        who = "a run and its sinks" if with_them else "a run"
        print(
            f"killed {who} after step {reached}; sinks gone after {wait_for_followers(folder):.1f} s",
            flush=True,
        )
    else:
        if (status := start(folder, NAMES).wait()) != 0:
            print(f"exit status {status}\n{folder.with_suffix('.err').read_text()}")
            return 1
    wrong = told_once(folder) + said(folder)
    print("\n".join(wrong[:20]) or f"{STEPS + 1} steps, each once in each of {', '.join(NAMES)}")
    return int(bool(wrong))


# ---- faults -------------------------------------------------------------------------------------

RUN = """
class Run:
    id = None
    def alert(self, *_, **__): pass
    def log(self, _, step): call(step)
def init(**_): return Run()
def finish(): pass
def Table(*_): pass
def Image(*_): pass
def call(step):
"""
FAULTS = {  # a package `trackio` of a few lines, and what is said of it
    "raises when imported": ("raise ImportError('no such library')", "ImportError: no such library"),
    "raises when it begins": ("def init(**_): raise RuntimeError('wrong key')", "RuntimeError: wrong key"),
    "exits when it begins": ("def init(**_): raise SystemExit(0)", "SystemExit: 0"),
    "raises in the middle": (
        f"{RUN}    if step == 5: raise ConnectionError('no network')",
        "ConnectionError: no network",
    ),
    "is killed in the middle": (
        f"import os\n{RUN}    if step == 5: os.kill(os.getpid(), 9)",
        "its process ended with status -9",
    ),
    "hangs when it begins": ("import time\ndef init(**_): time.sleep(1000)", "had not ended"),
    "hangs in the middle": (f"import time\n{RUN}    if step == 5: time.sleep(1000)", "had not ended"),
    "a full disk": ("", "OSError: [Errno 28] No space left on device"),
}
STORAGE = """
class SQLiteStorage:
    @staticmethod
    def get_max_step_for_run(*_, **__): return None
"""


def broken(base: pathlib.Path, text: str) -> pathlib.Path:
    """A folder with a package `trackio` that says this."""
    package = base / "packages" / "trackio"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(text)
    (package / "sqlite_storage.py").write_text(STORAGE)
    return package.parent


def full_disk(folder: pathlib.Path) -> None:
    """A sink's folder with hardly any room."""
    own = folder / "sinks" / "tensorboard"
    own.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(own)], check=True)


def check_faults(base: pathlib.Path, _seed: int) -> int:
    plain = base / "plain"
    if start(plain).wait():
        sys.exit(plain.with_suffix(".err").read_text())
    bad = 0
    for what, (package, wanted) in FAULTS.items():
        place = base / what.replace(" ", "_")
        place.mkdir()
        folder = place / "run"
        if package:
            process = start(folder, ["trackio"], broken(place, package))
        else:
            full_disk(folder)
            process = start(folder, ["tensorboard"])
        wait_for_step(process, folder, STEPS)
        began = time.monotonic()
        status = process.wait()
        took, words = time.monotonic() - began, said(folder)
        if not package:
            subprocess.run(["umount", "-l", folder / "sinks" / "tensorboard"], check=True)
        same = without_clocks(folder) == without_clocks(plain)
        right = len(words) == 1 and f"trackio: {wanted}" in words[0].replace("tensorboard", "trackio")
        good = status == 0 and same and right and not followers(folder) and took < 45
        bad += not good
        metrics = "same metrics" if same else "OTHER METRICS"
        print(
            f"{'ok ' if good else 'BAD'} {what}: status {status}, {metrics}, end {took:.1f} s", flush=True
        )
        print(*(f"      {line}" for line in words), sep="\n")
    return int(bad > 0)


# ---- cost ---------------------------------------------------------------------------------------


def check_cost(base: pathlib.Path, _seed: int) -> int:
    """Rounds of both, in turn, since others use the machine too."""
    seconds, ends = {"without": [], "with": []}, {"without": [], "with": []}
    for i in range(3):
        for kind, names in (("without", ()), ("with", NAMES)):
            folder = base / f"{kind}{i}"
            process = start(folder, names, steps=400, **{"checkpoint.every": 0, "eval.every": 0})
            wait_for_step(process, folder, 399)
            began = time.monotonic()
            process.wait()
            ends[kind].append(time.monotonic() - began)
            seconds[kind] += [line["timing_s/step"] for line in lines(folder)[100:]]
    for kind in seconds:
        step, end = statistics.median(seconds[kind]), statistics.median(ends[kind])
        print(
            f"{kind} sinks: {1000 * step:.2f} ms a step (median), {end:.2f} s from the last line to the exit"
        )
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("kill", "faults", "cost"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    check = {"kill": check_kill, "faults": check_faults, "cost": check_cost}[options.what]
    with tempfile.TemporaryDirectory(prefix="sinks-") as name:
        sys.exit(check(pathlib.Path(name), options.seed))
