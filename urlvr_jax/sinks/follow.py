"""The process of one sink: follows a run's folder and tells a library what stands there.

    python -m urlvr_jax.sinks.follow NAME MODULE FOLDER SECONDS

Started by `processes.py`. Standard input is the run: it gives its exit status and closes at its end, and just closes
where it is killed. Then what is left is told, within SECONDS, or STARTING times as many from the start of this process. Standard
output says one JSON line a trouble.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import pathlib
import signal
import sys
import threading
import time
import traceback
import uuid
from typing import Protocol

from urlvr_jax.runtime.lock import Lock
from urlvr_jax.sinks import folder as folder_lib
from urlvr_jax.sinks.folder import State, Tail

POLL = 0.5  # seconds between two looks at the folder
HANGS = 60.0  # seconds in one call of a library, after which that is said
STARTING = 3
KILLED = 1  # the exit status of a run that has given none


@dataclasses.dataclass(frozen=True)
class Place:
    """What a sink knows when it opens."""

    folder: pathlib.Path  # the run's
    own: pathlib.Path  # the sink's, FOLDER/sinks/NAME
    id: str
    config: dict

    @property
    def name(self) -> str:
        return self.folder.name


class Sink(Protocol):
    """A library that is told of a run. Whatever a method raises ends the sink and is said once."""

    def open(self, place: Place) -> None:
        """Begin, or go on with what `place.id` began."""

    def kept(self) -> int | None:
        """The highest step that the library has for sure, -1 for none; None where it cannot say."""

    def step(self, step: int, numbers: dict, texts: dict, table: dict | None) -> None:
        """A metric line, and the step's table of completions by columns."""

    def warning(self, step: int, text: str) -> None: ...

    def figure(self, step: int, name: str, file: pathlib.Path) -> None:
        """A PNG, after all steps."""

    def close(self, status: int) -> None:
        """End; status: the run's exit status."""


class Run:
    """What is known of the run: whether it has ended, and how. Watched by a thread, whatever the library does."""

    def __init__(self, stdin: int, say, seconds: float):
        self.stdin, self.say, self.seconds = stdin, say, seconds
        self.began = time.monotonic()
        self.ended = threading.Event()
        self.status = KILLED
        self.since: float | None = None  # when the library was called that has not returned yet
        for work in (self._read, self._watch):
            threading.Thread(target=work, daemon=True).start()

    def _read(self) -> None:
        """Until the run closes the pipe; then there is so much time left, and no more."""
        text = b""
        while part := os.read(self.stdin, 64):
            text += part
        with contextlib.suppress(ValueError):
            self.status = int(text)
        self.ended.set()
        left = max(self.seconds, self.began + STARTING * self.seconds - time.monotonic())
        time.sleep(left)
        self.say(f"had not ended {left:.0f} s after the run and was stopped")
        os._exit(1)

    def _watch(self) -> None:
        while True:
            time.sleep(min(POLL, HANGS / 4))
            since = self.since
            if since is not None and time.monotonic() - since > HANGS:
                self.say(f"has not answered for {HANGS:g} s")
                return

    @contextlib.contextmanager
    def calling(self):
        self.since = time.monotonic()
        yield
        self.since = None


def follow(sink: Sink, folder: pathlib.Path, own: pathlib.Path, run: Run) -> None:
    """Tell a run from where it was told to, until it ends."""
    file = own / "state.json"
    state = State.read(file, uuid.uuid4().hex[:8])
    state.write(file)
    config = json.loads((folder / "config.json").read_text())
    metrics, warnings = Tail(folder / "metrics.jsonl"), Tail(folder / "warnings.jsonl")
    with run.calling():
        sink.open(Place(folder, own, state.id, config))
        kept = sink.kept()
    state.step = state.step if kept is None else kept
    while True:
        over = run.ended.is_set()  # asked first: all that was written before the end is read
        for line in warnings.new():
            if line["kind"] not in state.warnings:
                with run.calling():
                    sink.warning(line["step"], line["text"])
                state.warnings.append(line["kind"])
                state.write(file)
        for line in metrics.new():
            step, numbers, texts = folder_lib.split(line)
            if step > state.step:
                table = folder_lib.completions(folder, step)
                with run.calling():
                    sink.step(step, numbers, texts, table)
                state.step = step
                state.write(file)
        if over:
            break
        run.ended.wait(POLL)
    _end(sink, folder, run, state)
    state.write(file)
    metrics.close()
    warnings.close()


def _end(sink: Sink, folder: pathlib.Path, run: Run, state: State) -> None:
    for name, (drawn, digest) in folder_lib.figures(folder).items():
        if state.figures.get(name) != digest:
            with run.calling():
                sink.figure(state.step, name, drawn)
            state.figures[name] = digest
    with run.calling():
        sink.close(run.status)
        kept = sink.kept()
    if kept is not None and kept < state.step:
        raise OSError(f"it has kept steps up to {kept} of {state.step}")


def _hold(own: pathlib.Path, run: Run) -> Lock:
    """The sink's folder, once the follower of an earlier start of this run has let it go."""
    while (lock := Lock(own)).taken:
        time.sleep(POLL)
    return lock


def main(name: str, module: str, folder: pathlib.Path, seconds: float) -> int:
    # It ends when the run does, who is told by a signal to its whole group, or to all processes of a job.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGXCPU):
        signal.signal(number, signal.SIG_IGN)
    os.nice(10)  # on a CPU the training goes first
    out = os.dup(1)
    said = threading.Lock()

    def say(text: str) -> None:
        """Once; a run that is gone does not hear it."""
        if said.acquire(blocking=False):
            with contextlib.suppress(OSError):
                os.write(out, json.dumps({"trouble": " ".join(text.split())[:400]}).encode() + b"\n")

    run = Run(os.dup(0), say, seconds)
    try:
        own = folder / "sinks" / name
        own.mkdir(parents=True, exist_ok=True)
        log = os.open(own / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        lock = _hold(own, run)
        with run.calling():
            sink = importlib.import_module(module).Sink()
        follow(sink, folder, own, run)
        lock.release()
    except BaseException as error:  # noqa: BLE001  whatever the library does, sys.exit() included
        run.since = None
        say(f"{type(error).__name__}: {error}")
        with contextlib.suppress(OSError):
            traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]), float(sys.argv[4]))
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)  # threads of the library that still run are not waited for
