"""The run's side of its sinks: starts their processes, says once what is wrong with one, and ends them."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import time
import weakref

from urlvr_jax.runtime.terminal import warn
from urlvr_jax.sinks.follow import STARTING
from urlvr_jax.sinks.table import SINKS

END = 10.0  # seconds for a sink to tell the rest after the end of a run; then it ends itself
GRACE = 1.0  # and so many later it is killed


class _Process:
    """One sink's process, and what was heard of it."""

    def __init__(self, name: str, folder: pathlib.Path, end_s: float):
        self.name, self.folder = name, folder
        self.until = time.monotonic() + STARTING * end_s  # it is not stopped before
        self.said = False
        self.heard = b""
        path = os.pathsep.join(p or os.getcwd() for p in sys.path)
        # A session of its own: Ctrl-C and the end of a terminal are for the run, which then tells the sink.
        self.process = subprocess.Popen(
            [sys.executable, "-m", "urlvr_jax.sinks.follow", name, SINKS[name], str(folder), str(end_s)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path}, start_new_session=True,
        )  # fmt: skip
        os.set_blocking(self.process.stdout.fileno(), False)

    def say(self, text: str) -> None:
        if not self.said:
            self.said = True
            log = self.folder / "sinks" / self.name / "log.txt"
            warn(
                f"log.sinks: {self.name}: {text.rstrip('.')}; the run is not touched by that, and its next start tells what is missing "
                f"there; see {log}"
            )

    def look(self) -> None:
        """Say what it says, or that it is gone; at once, whatever it does."""
        if self.said:
            return
        gone = self.process.poll()
        with contextlib.suppress(BlockingIOError):
            self.heard += self.process.stdout.read() or b""
        if b"\n" in self.heard:
            self.say(json.loads(self.heard.split(b"\n")[0])["trouble"])
        elif gone:
            self.say(f"its process ended with status {gone}")

    def tell_end(self, status: int) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(str(status).encode())
            self.process.stdin.flush()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def end(self, until: float) -> None:
        """Wait for it until then, or for one that has just started a little longer."""
        try:
            self.process.wait(max(0.0, max(until, self.until + GRACE) - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.look()
        self.process.stdout.close()


def _close(processes: list[_Process], end_s: float, status: int = 1) -> None:
    for one in processes:
        one.tell_end(status)
    until = time.monotonic() + end_s + GRACE
    for one in processes:
        one.end(until)
    processes.clear()


class Sinks:
    """The sinks of a run, each a process that follows its folder; of process 0 alone.

    Nothing here raises for what a sink does, and nothing but `close` waits. A run that ends without `close` (an error)
    does it when this object goes, at the latest at exit.
    """

    def __init__(self, names, folder: pathlib.Path, writes: bool = True, end_s: float = END):
        self.processes = [_Process(name, folder.absolute(), end_s) for name in names if writes]
        self.end_s = end_s
        self._closed = weakref.finalize(self, _close, self.processes, end_s)

    def look(self) -> None:
        """Say what is wrong with a sink, each once. Once a step: it costs a few microseconds."""
        for one in self.processes:
            one.look()

    def close(self, status: int) -> int:
        """Tell the sinks that the run has ended with this exit status, and wait for them a bounded time; the status."""
        self._closed.detach()
        _close(self.processes, self.end_s, status)
        return status
