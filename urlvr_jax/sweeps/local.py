"""Runs as processes of this machine, each in its place."""

from __future__ import annotations

import collections
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

from urlvr_jax.sweeps.places import Place
from urlvr_jax.sweeps.run import LOG, Run

CHILD = pathlib.Path(__file__).with_name("child.py")


class _Started(NamedTuple):
    run: Run
    place: Place
    process: subprocess.Popen
    since: int  # bytes of its log before


class Local:
    """An engine (see make.py): processes that end when this one does, and save before they end."""

    def __init__(self, places: Sequence[Place]):
        self._free = list(places)
        self._waiting: collections.deque[Run] = collections.deque()
        self._started: list[_Started] = []
        self._stopping = False

    def begin(self, runs: Sequence[Run]) -> None:
        self._waiting.extend(runs)

    @property
    def running(self) -> list[Run]:
        """Its own, and those whose folder another process holds."""
        return [started.run for started in self._started] + [run for run in self._waiting if run.held]

    @property
    def busy(self) -> bool:
        return bool(self._started or self._waiting)

    def poll(self) -> list[tuple[Run, int]]:
        """Runs that ended since, with their exit statuses; what has a place now is started.

        A run whose folder another process holds waits for it: one that a sweep before this one left saving, say.
        """
        ended = []
        for one in list(self._started):
            status = one.process.poll()
            if status is not None:
                self._started.remove(one)
                self._free.append(one.place)
                asked = self._stopping and status in (-signal.SIGTERM, 128 + signal.SIGTERM)
                if status and not asked:
                    one.run.failed(status, one.since)
                ended.append((one.run, status))
        for _ in range(len(self._waiting)):
            if not self._free:
                break
            run = self._waiting.popleft()
            if run.held:
                self._waiting.append(run)
            elif run.done:
                ended.append((run, 0))
            else:
                self._start(run, self._free.pop(0))
        return ended

    def _start(self, run: Run, place: Place) -> None:
        run.folder.mkdir(parents=True, exist_ok=True)
        run.forget_failure()
        before = [sys.executable, str(CHILD), ",".join(map(str, place.cores)), str(os.getpid())]
        with open(run.folder / LOG, "ab") as log:
            process = subprocess.Popen(
                [*before, *run.words], cwd=run.cwd, env=os.environ | place.environ, stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,  # Ctrl-C is for this process alone
            )  # fmt: skip
            self._started.append(_Started(run, place, process, log.tell()))

    def stop(self, at_once: bool = False) -> None:
        """Start no more; each run saves and ends, or ends without."""
        self._waiting.clear()
        self._stopping = True
        for one in self._started:
            if one.process.poll() is None:
                os.killpg(one.process.pid, signal.SIGKILL if at_once else signal.SIGTERM)
        for one in self._started if at_once else ():
            one.process.wait()
