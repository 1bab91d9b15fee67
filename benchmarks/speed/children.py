"""A measured system as a child process: pinned, asked by lines, and loud when it dies."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time

import specs

PEERS = pathlib.Path(__file__).resolve().parent / "peers"
# name -> (script, virtual environment; "" = this interpreter)
SYSTEMS = {
    "ours": ("ours.py", ""),
    "transformers": ("transformers_peer.py", "torch"),
    "trl": ("trl_peer.py", "torch"),
    "tunix": ("tunix_peer.py", "tunix"),
}
ENVIRONMENT = dict(os.environ)  # as this process got it
IDLE_SHARE = 0.05  # of one core, that a system may use while another is measured,
IDLE_S = 0.5  # and so many seconds besides: what its threads still had to do


class ChildError(RuntimeError):
    """A system died or misbehaved; the message has the end of its log."""


def interpreter(name: str) -> str:
    environment = SYSTEMS[name][1]
    path = specs.HOME / environment / "bin" / "python"
    if environment and not path.exists():
        raise ChildError(
            f"{name}: {path} does not exist; make the environments with benchmarks/speed/peers/setup.sh"
        )
    return str(path) if environment else sys.executable


class Child:
    """One system on the cores of this process. `ask` sends a command and waits for its one-line answer."""

    def __init__(self, name: str, job: pathlib.Path):
        self.name, self.log = name, job / f"{name}.log"
        count = str(len(os.sched_getaffinity(0)))
        threads = {v: count for v in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"}
        shared = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # several systems on one accelerator
        began = time.perf_counter()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [interpreter(name), str(PEERS / SYSTEMS[name][0]), str(job)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                env={**ENVIRONMENT, **threads, **quiet, **shared},
            )  # fmt: skip
        try:
            self.hello = self._answer()
        except BaseException:
            self.close()
            raise
        self.start_s = time.perf_counter() - began

    def ask(self, *words: str) -> dict:
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            status = self.process.wait()
            tail = self.log.read_text(errors="replace")[-3000:]
            raise ChildError(f"{self.name} died with status {status}; the end of its log:\n{tail}")
        return json.loads(line)

    def cpu_seconds(self) -> float:
        """Processor time used so far, all threads."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def ask_alone(children: list[Child], asked: Child, *words: str) -> dict:
    """Ask one child, and see that the others are at rest meanwhile."""
    others = [c for c in children if c is not asked]
    before, began = [c.cpu_seconds() for c in others], time.perf_counter()
    reply = asked.ask(*words)
    seconds = time.perf_counter() - began
    for child, used in zip(others, before, strict=True):
        idle = child.cpu_seconds() - used
        if idle > IDLE_S + IDLE_SHARE * seconds:
            raise ChildError(
                f"{child.name} used {idle:.2f} s of processor while {asked.name} was measured for {seconds:.2f} s"
            )
    return reply
