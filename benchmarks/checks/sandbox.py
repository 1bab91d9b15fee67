"""Hostile programs in the sandbox: none escapes, outlives its time or is paid; and how many ordinary ones run a minute.

    python benchmarks/checks/sandbox.py                      every program of hostile_programs.py; --family NAME, --only NAME
    python benchmarks/checks/sandbox.py --speed 1000         ordinary programs with tests, by two workers

A program fails the check if it says that it escaped, shows the secret that lies in a file and in the environment here,
reaches the listener, sends a signal, leaves a process or a file, is not over a second and a half past its time, is paid for
a test whose answer it cannot know, or makes this process grow. Exit status 1 if any fails.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import secrets
import signal
import socket
import sys
import tempfile
import time

import hostile_programs
from hostile_programs import FAMILIES

from urlvr_jax.checks import python_programs, sandbox
from urlvr_jax.checks.workers import Pool

SECONDS = 2.0
GRACE = 1.5  # seconds past the deadline
GROWTH = 64 << 20  # bytes of this process


class Guard:
    """What a program should not reach: a secret, a listener, this process, the file system."""

    def __init__(self, folder: pathlib.Path):
        self.secret = secrets.token_hex(16)
        self.file = folder / "canary"
        self.file.write_text(self.secret)
        os.environ["CANARY"] = self.secret
        self.listeners = [socket.socket(), socket.socket(socket.AF_UNIX)]
        self.listeners[0].bind(("127.0.0.1", 0))
        self.port = self.listeners[0].getsockname()[1]
        self.listeners[1].bind(f"\0canary{self.port}")
        for one in self.listeners:
            one.listen()
            one.setblocking(False)
        self.signals: list[int] = []
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda n, _: self.signals.append(n))
        self.files = self.listed()

    def listed(self) -> set[str]:
        mine = {
            name
            for name in os.listdir("/tmp")
            if name == "x" or name in ("y", "link", "env", "pipe", "disk")
        }
        return mine | {place for place in ("/x", "/dev/shm/x", "/var/tmp/x", "x") if os.path.lexists(place)}

    def filled(self, source: str) -> str:
        return hostile_programs.filled(source, port=self.port, pid=os.getpid(), secret_file=self.file)

    def breaches(self, out: bytes) -> list[str]:
        """What is wrong after a program that wrote `out`."""
        found = []
        if hostile_programs.ESCAPED.encode() in out:
            found.append("it escaped")
        if self.secret.encode() in out:
            found.append("it has the secret")
        if self.signals:
            found.append(f"signals {self.signals}")
            self.signals.clear()
        for one in self.listeners:
            with contextlib.suppress(BlockingIOError):
                one.accept()
                found.append("it reached a listener")
        if self.file.read_text() != self.secret or self.listed() != self.files:
            found.append("it wrote a file")
        if left := sandboxed_processes():
            found.append(f"it left processes {left}")
        return found


def sandboxed_processes() -> list[int]:
    """Processes of sandboxes of this process that are there; one that was killed may take a moment to go."""
    end = time.monotonic() + 1.0
    while (found := _matching()) and time.monotonic() < end:
        time.sleep(0.02)
    return found


def _matching() -> list[int]:
    user = str(sandbox.FIRST_USER + os.getpid()).encode()  # in the words with which root's are started
    out = []
    for folder in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            words = (folder / "cmdline").read_bytes()
            if b"/inside.py" in words and (os.geteuid() or user in words):
                out.append(int(folder.name))
    return out


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def attack(guard: Guard, family: str, source: str, seconds: float) -> tuple[float, list[str], str]:
    """(seconds it took, what is wrong, how it ended) of one program."""
    before = resident()
    began = time.monotonic()
    paid, runs = 0.0, 1
    if family == "forgeries":
        number = secrets.randbelow(10**12) + 10
        tests = [
            python_programs.UnitTest("f(3)", number, True),
            python_programs.UnitTest("3\n", str(number), False),
        ]
        paid, runs, ran = python_programs.unit_tests(guard.filled(source), tests, seconds), 2, None
    else:
        ran = sandbox.run(guard.filled(source), seconds)
    took = time.monotonic() - began
    wrong = guard.breaches(ran.out if ran else b"")
    if paid:
        wrong.append(f"it was paid {paid}")
    if took > seconds + GRACE:
        wrong.append(f"it took {took:.1f} s")
    if resident() - before > GROWTH:
        wrong.append(f"this process grew by {(resident() - before) >> 20} MiB")
    return took, wrong, f"{runs} runs" if ran is None else f"status {ran.status} {ran.why}".strip()


ORDINARY = (
    ("def f(n):\n    return sum(i * i for i in range(n))\n", "assert f({n}) == {value}"),
    ("def f(n):\n    out = []\n    for i in range(n):\n        out.append(i * i)\n    return sum(out)\n", "assert f({n}) == {value}"),
    ("import functools\ndef f(n):\n    return functools.reduce(lambda a, i: a + i * i, range(n), 0)\n", "assert f({n}) == {value}"),
)  # fmt: skip


def speed(count: int, workers: int) -> int:
    """Programs with three tests each through the pool that training uses."""
    tasks = []
    for i in range(count):
        source, test = ORDINARY[i % len(ORDINARY)]
        tests = [test.format(n=i + k, value=sum(j * j for j in range(i + k)) + (i % 2)) for k in (3, 5, 9)]
        task = {"answer": f"{source}# {i}\n", "row": {"tests": tests}}
        tasks.append(task | {"question": "", "prompt": "", "response": "", "gold": None})
    with Pool(
        f"unit_tests:{10.0}", workers, 20.0, call="urlvr_jax.checks.python_programs:for_worker"
    ) as pool:
        pool.begin(tasks[:workers])()  # they start
        began = time.monotonic()
        judged = pool.begin(tasks)()
        took = time.monotonic() - began
    right = sum(verdict is not None and verdict[1] for verdict in judged.verdicts)
    print(
        f"{count} programs by {workers} workers: {took:.1f} s, {60 * count / took:.0f} a minute; {right} right, "
        f"{judged.late} late, {judged.lost} lost, {judged.failed} failed {judged.error}"
    )
    return int(right != (count + 1) // 2 or judged.late + judged.lost + judged.failed > 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--family")
    parser.add_argument("--only")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--speed", type=int)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    if options.speed:
        return speed(options.speed, options.workers)
    sandbox.require()
    failed = count = 0
    longest = 0.0
    with tempfile.TemporaryDirectory(prefix="canary-") as folder:
        guard = Guard(pathlib.Path(folder))
        for family, programs in FAMILIES.items():
            for name, source in programs.items():
                if options.family not in (None, family) or options.only not in (None, name):
                    continue
                took, wrong, ended = attack(guard, family, source, options.seconds)
                count, longest = count + 1, max(longest, took)
                failed += bool(wrong)
                print(
                    f"{'FAILED' if wrong else 'held':<7}{took:5.1f} s  {name}: {ended} {'; '.join(wrong)}",
                    flush=True,
                )
    print(f"{count - failed} of {count} hostile programs held, the longest for {longest:.1f} s")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
