"""A real Slurm of two nodes on this machine: runs of two nodes, a node that fails, and a sweep as an array.

    python benchmarks/checks/slurm.py [--keep]      as root; needs slurm-wlm and munge, and for the sweep submitit

1. `srun -N2` runs two processes, which find each other: the metrics of one process with two devices.
2. A job of two nodes whose second slurmd is killed in the middle: requeued, it goes on and ends with the same metrics.
3. `sweep --engine slurm`: six runs as an array, a slurmd killed in the middle: all six end, with the metrics of runs
   that were left alone.
4. The same verb with two nodes a run: `srun` starts both within the array, and they find each other.

Everything lies in a temporary folder, and the daemons are ended at the end. Exit status 1 if anything fails.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLOCKS = ("timing_s/", "perf/")
OPTIONS = {
    "steps": 12,
    "checkpoint.every": 2,
    "eval.every": 4,
    "eval.max_questions": 16,
    "data.prompts_per_step": 8,
    "rollout.group": 4,
    "optim.micro_rows": 0,
}
HOSTS, NAMES = pathlib.Path("/etc/hosts"), "127.0.0.1 n1 n2 # two nodes for a check\n"
CONF = """
ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SlurmctldPort=17010
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
StateSaveLocation={folder}/state
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmdLogFile={folder}/slurmd.%n.log
SlurmdSpoolDir={folder}/spool.%n
SlurmdTimeout=10
ReturnToService=2
MpiDefault=none
KillWait=5
JobRequeue=1
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[17001-17002] CPUs={cpus}
PartitionName=all Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """Two nodes, from `with` to its end."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.env = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "JAX_PLATFORMS": "cpu"}
        self.env["PYTHONPATH"] = str(ROOT)

    def __enter__(self) -> Slurm:
        text = CONF.format(host=socket.gethostname().split(".")[0], folder=self.folder, cpus=1)
        (self.folder / "slurm.conf").write_text(text)
        (self.folder / "state").mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        HOSTS.write_text(HOSTS.read_text() + NAMES)  # nodes are found by name, as on a cluster
        socket_of = f"--socket={self.folder}/munge.socket"
        files = [
            f"--{kind}-file={self.folder}/munge.{end}" for kind, end in (("pid", "pid"), ("log", "log"))
        ]
        self.sh(
            "munged",
            "--force",
            socket_of,
            f"--key-file={key}",
            *files,
            f"--seed-file={self.folder}/munge.seed",
        )
        self.sh("slurmctld")
        for node in ("n1", "n2"):
            self.start(node)
        self.wait_for(lambda: "idle" in self.sh("sinfo", "-h", "-o", "%T"), 60)
        return self

    def __exit__(self, *_) -> None:
        for file in (
            *self.folder.glob("slurmd.*.pid"),
            self.folder / "slurmctld.pid",
            self.folder / "munge.pid",
        ):
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(file.read_text()), signal.SIGTERM)
        HOSTS.write_text(HOSTS.read_text().replace(NAMES, ""))
        time.sleep(2)

    def start(self, node: str) -> None:
        (self.folder / f"spool.{node}").mkdir(exist_ok=True)
        self.sh("slurmd", "-N", node)

    def kill(self, node: str) -> None:
        """As a machine that goes down: its daemon, what watches its steps, before that could tell of it, and what runs there."""
        running, watching = [], set()
        for environ in pathlib.Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if f"SLURMD_NODENAME={node}".encode() in environ.read_bytes().split(b"\0"):
                    running.append(int(environ.parent.name))
                    parent = environ.with_name("stat").read_text().rpartition(")")[2].split()[1]
                    if "slurmstepd" in pathlib.Path(f"/proc/{parent}/comm").read_text():
                        watching.add(int(parent))
        daemon = int((self.folder / f"slurmd.{node}.pid").read_text())
        for process in (daemon, *watching, *running):
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL)

    def fail(self, node: str) -> None:
        """Down until the controller has seen it: started again before, the job's other node would wait for it."""
        self.kill(node)
        self.wait_for(lambda: "down" in self.sh("sinfo", "-h", "-n", node, "-o", "%T"), 300)

    def sh(self, *words: str) -> str:
        done = subprocess.run(words, env=self.env, capture_output=True, text=True, cwd=ROOT)
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def wait_for(self, condition, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until:
                raise RuntimeError(f"nothing after {seconds} s:\n{self.sh('sinfo')}\n{self.sh('squeue')}")
            time.sleep(0.3)


def words(folder: pathlib.Path, options: dict) -> list[str]:
    keys = [f"--config.{key}={value}" for key, value in options.items()]
    return [
        sys.executable,
        "-m",
        "urlvr_jax.main",
        "--config",
        "experiments/majority.py",
        "--workdir",
        str(folder),
        *keys,
    ]


def lines(folder: pathlib.Path) -> list[dict]:
    """Of metrics.jsonl, clocks apart."""
    file = folder / "metrics.jsonl"
    read = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
    return [{k: v for k, v in line.items() if not k.startswith(CLOCKS)} for line in read]


def furthest(a: list[dict], b: list[dict]) -> float:
    """The largest difference of a metric, relative where it is above 1; infinite where lines or names differ."""
    if len(a) != len(b) or any(x.keys() != y.keys() for x, y in zip(a, b, strict=True)):
        return float("inf")
    return max(_apart(x[k], y[k]) for x, y in zip(a, b, strict=True) for k in x)


def _apart(a, b) -> float:
    if isinstance(a, str) or isinstance(b, str):
        return 0.0 if a == b else float("inf")
    return abs(a - b) / max(1.0, abs(a))


def reached(folder: pathlib.Path) -> int:
    return max((line["step"] for line in lines(folder)), default=0)


def of_one_process(slurm: Slurm, base: pathlib.Path) -> None:
    """A run on two devices, with which those of two nodes are compared."""
    env = slurm.env | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    line = words(base / "one", OPTIONS | {"mesh.data": 2})
    subprocess.run(line, env=env, cwd=ROOT, check=True, capture_output=True)


def of_two_nodes(slurm: Slurm, base: pathlib.Path) -> list[str]:
    wrong = []
    options = OPTIONS | {"mesh.data": 2}
    of_one_process(slurm, base)
    slurm.sh("srun", "-N2", "-n2", "--chdir", str(ROOT), *words(base / "two", options))
    apart = furthest(lines(base / "one"), lines(base / "two"))
    print(f"1. srun -N2: metrics {apart:.1e} apart from those of one process", flush=True)
    wrong += ["two nodes"] if apart > 1e-6 else []

    script = base / "job.sh"
    script.write_text(
        "#!/bin/sh\nsrun " + " ".join(f"'{word}'" for word in words(base / "requeued", options)) + "\n"
    )
    job = slurm.sh(
        "sbatch", "--parsable", "--requeue", "-N2", "-n2", "--chdir", str(ROOT),
        "-o", str(base / "job.log"), "--open-mode=append", str(script),
    ).strip()  # fmt: skip
    slurm.wait_for(lambda: reached(base / "requeued") >= 5, 300)
    slurm.fail("n2")
    killed = reached(base / "requeued")
    slurm.start("n2")
    slurm.wait_for(
        lambda: reached(base / "requeued") == OPTIONS["steps"] and not slurm.sh("squeue", "-h"), 400
    )
    restarts = slurm.sh("scontrol", "show", "job", job).partition("Restarts=")[2].split()[0]
    apart = furthest(lines(base / "one"), lines(base / "requeued"))
    print(
        f"2. n2's slurmd killed after step {killed}: restarts {restarts}, metrics {apart:.1e} apart",
        flush=True,
    )
    return wrong + (["requeued"] if apart > 1e-6 else [])


def of_an_array(slurm: Slurm, base: pathlib.Path) -> list[str]:
    folder = base / "sweep"
    keys = [f"--config.{key}={value}" for key, value in OPTIONS.items()]
    over = ["--over", "optim.lr=1e-4,3e-4", "--over", "seed=0:3"]
    command = [
        sys.executable,
        "-m",
        "urlvr_jax.main",
        "sweep",
        "--config",
        "experiments/majority.py",
        *keys,
        *over,
    ]
    subprocess.run(
        [
            *command,
            "--workdir",
            str(base / "alone"),
            "--jobs",
            "1",
        ],  # on as many cores as a job of Slurm's has
        env=slurm.env,
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    watcher = subprocess.Popen(
        [*command, "--workdir", str(folder), "--engine", "slurm", "--slurm", "timeout_min=30"],
        env=slurm.env, cwd=ROOT, stdout=open(base / "sweep.log", "w"), stderr=subprocess.STDOUT,  # noqa: SIM115
    )  # fmt: skip
    runs = lambda: [file.parent for file in folder.glob("*/metrics.jsonl")]
    slurm.wait_for(
        lambda: any(2 <= reached(run) < OPTIONS["steps"] for run in runs()) or watcher.poll() is not None,
        300,
    )
    slurm.fail("n2")
    slurm.start("n2")
    status = watcher.wait(900)
    apart = {run.name: furthest(lines(base / "alone" / run.name), lines(run)) for run in runs()}
    print(
        f"3. sweep as an array: exit status {status}, {len(apart)} runs, metrics {max(apart.values()):.1e} apart",
        flush=True,
    )
    good = status == 0 and len(apart) == 6 and max(apart.values()) <= 1e-6
    return [] if good else ["sweep"]


def of_an_array_of_two_nodes(slurm: Slurm, base: pathlib.Path) -> list[str]:
    folder = base / "wide"
    keys = [f"--config.{key}={value}" for key, value in (OPTIONS | {"mesh.data": 2}).items()]
    line = [sys.executable, "-m", "urlvr_jax.main", "sweep", "--config", "experiments/majority.py", *keys]
    given = ["--over", "seed=0:2", "--engine", "slurm", "--slurm", "nodes=2", "--slurm", "timeout_min=30"]
    slurm.sh(*line, *given, "--workdir", str(folder))
    names = {
        run["values"]["seed"]: run["name"]
        for run in json.loads((folder / "sweep.json").read_text())["runs"]
    }
    apart = furthest(lines(base / "one"), lines(folder / names[0]))
    print(
        f"4. runs of two nodes in an array: metrics {apart:.1e} apart from those of one process", flush=True
    )
    return (
        [] if apart <= 1e-6 and reached(folder / names[1]) == OPTIONS["steps"] else ["array of two nodes"]
    )


def main(keep: bool) -> int:
    base = pathlib.Path(tempfile.mkdtemp(prefix="slurm-"))
    base.chmod(0o755)
    with Slurm(base) as slurm:
        wrong = of_two_nodes(slurm, base)
        if importlib.util.find_spec("submitit"):
            wrong += of_an_array(slurm, base) + of_an_array_of_two_nodes(slurm, base)
        else:
            print("3 and 4 left out: pip install submitit")
    if not (keep or wrong):
        shutil.rmtree(base)
    if wrong:
        print(f"failed: {', '.join(wrong)}; see {base}")
    return int(bool(wrong))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--keep", action="store_true", help="leave the folder")
    sys.exit(main(parser.parse_args().keep))
