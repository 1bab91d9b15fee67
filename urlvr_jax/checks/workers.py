"""Graders that may hang or crash, in worker processes that may be killed: one's own, and math-verify for comparison.

The vote never asks a grader: it compares keys (canonical.py). A grader is a function of one task, which is JSON, to a
verdict, which is too; it runs in a fresh interpreter, so that neither a fork of a JAX process nor the caller's
`__main__` is involved. A worker that exceeds its deadline is killed and replaced.
"""

from __future__ import annotations

import concurrent.futures
import importlib
import json
import logging
import os
import queue
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from urlvr_jax.errors import UserError
from urlvr_jax.runtime.user_code import said

MATH_VERIFY = "math-verify", "urlvr_jax.checks.workers:math_verify"
LATE, LOST = "late", "lost"
STARTUP_S = 120.0  # a worker imports its grader
WORKER_BYTES = 16 << 30  # of address space, on Linux
ATTEMPTS = 2  # a task whose worker dies is given to one more


class GraderError(UserError):
    """A grader that cannot be started; the message has what its process wrote."""


class Outcome(NamedTuple):
    """Of one task."""

    verdict: object  # what the grader returned; None without one
    why: str = ""  # LATE: over the deadline; LOST with ATTEMPTS workers; else what the grader raised


class Judged(NamedTuple):
    """Of many tasks, in order."""

    verdicts: list
    late: int
    lost: int
    failed: int
    error: str  # the first that a grader raised

    @classmethod
    def of(cls, outcomes: list[Outcome]) -> Judged:
        whys = [o.why for o in outcomes]
        raised = [w for w in whys if w not in ("", LATE, LOST)]
        return cls(
            [o.verdict for o in outcomes],
            whys.count(LATE),
            whys.count(LOST),
            len(raised),
            (raised or [""])[0],
        )


class Pool:
    """`workers` processes with a deadline a task. They start with the first one.

    grader: "module:function"; with `call`, likewise a function, it is what call(grader) returns. Use it as a context
    manager, or call `close`.
    """

    def __init__(
        self, grader: str = MATH_VERIFY[0], workers: int = 2, deadline_s: float = 5.0,
        call: str = MATH_VERIFY[1],
    ):  # fmt: skip
        if workers < 1 or not deadline_s > 0:
            raise ValueError(f"{workers=} must be at least 1 and {deadline_s=} positive")
        self.grader, self.deadline_s, self.call = grader, deadline_s, call
        self._count = workers
        self._tasks: queue.SimpleQueue = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock, self._closed = threading.Lock(), threading.Event()

    def submit(self, tasks: Iterable) -> list[concurrent.futures.Future]:
        """Queue tasks and return at once: one future of an `Outcome` a task, in order."""
        if self._closed.is_set():
            raise RuntimeError("this pool is closed")
        futures = []
        for task in tasks:
            futures.append(concurrent.futures.Future())
            self._tasks.put((futures[-1], task))
        if futures and not self._threads:
            self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(self._count)]
            for thread in self._threads:
                thread.start()
        return futures

    def begin(self, tasks: Iterable) -> Callable[[], Judged]:
        """As `submit`; the function waits for all. GraderError if the grader cannot start."""
        futures = self.submit(tasks)
        return lambda: Judged.of([future.result() for future in futures])

    def close(self) -> None:
        """End the workers, whatever they do; waiting pairs are cancelled."""
        self._closed.set()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()
        while not self._tasks.empty():
            if task := self._tasks.get():
                task[0].cancel()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _serve(self) -> None:
        """One thread, one worker at a time."""
        worker = None
        while (queued := self._tasks.get()) and not self._closed.is_set():
            future, task = queued
            if not future.set_running_or_notify_cancel():
                continue
            outcome = Outcome(None, LOST)
            for _ in range(ATTEMPTS):
                try:
                    worker = worker or _Worker(self.grader, self.call)
                except GraderError as error:
                    future.set_exception(error)
                    break
                answer = worker.ask(task, self.deadline_s, self._closed)
                if isinstance(answer, dict):
                    outcome = Outcome(answer["verdict"], answer["why"])
                    break
                worker.kill()
                worker = None
                if answer == LATE:
                    outcome = Outcome(None, LATE)
                    break
            if not future.done():
                future.set_result(outcome)
        if queued:
            queued[0].cancel()
        if worker:
            worker.kill()


class _Worker:
    """A process that grades one task at a time, by lines of JSON on its standard streams."""

    def __init__(self, grader: str, call: str):
        path = os.pathsep.join(p or os.getcwd() for p in sys.path)
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from urlvr_jax.checks.workers import work; work()", grader, call],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"},
        )
        os.set_blocking(self.process.stdout.fileno(), False)
        self.rest = b""
        ready = self._line(STARTUP_S, threading.Event())
        if not isinstance(ready, dict) or "error" in ready:
            self.kill()
            why = ready["error"] if isinstance(ready, dict) else f"its process was {ready}"
            raise GraderError(f"grader {grader!r} cannot start: {why}")

    def ask(self, task, deadline_s: float, closed: threading.Event) -> dict | str:
        """The answer, or LATE, or LOST."""
        try:
            # Dates and the like of a table's row go as their text.
            self.process.stdin.write(json.dumps(task, default=str).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            return LOST
        return self._line(deadline_s, closed)

    def _line(self, deadline_s: float, closed: threading.Event) -> dict | str:
        end = time.monotonic() + deadline_s
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self.rest:
                left = end - time.monotonic()
                if left <= 0 or closed.is_set():
                    return LATE
                if not selector.select(min(left, 0.5)):
                    continue
                read = self.process.stdout.read()
                if read == b"":
                    return LOST
                self.rest += read or b""
        line, self.rest = self.rest.split(b"\n", 1)
        return json.loads(line)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def work() -> None:
    """What a worker process does: import the grader of its first argument, answer line by line."""
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what the grader prints must not mix with the answers
    _limit(os.getppid())
    try:
        grader = _function(sys.argv[2])(sys.argv[1]) if sys.argv[2] else _function(sys.argv[1])
    except (ImportError, AttributeError, UserError) as error:
        out.write(json.dumps({"error": str(error)}).encode() + b"\n")
        return
    out.write(b"{}\n")
    for line in sys.stdin.buffer:
        answer = judged(grader, json.loads(line))._asdict()
        out.write(json.dumps(answer).encode() + b"\n")


def _function(name: str) -> Callable:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def judged(grader: Callable, task) -> Outcome:
    """Call a grader; whatever it raises is no verdict, and is reported."""
    try:
        return Outcome(grader(task))
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:  # noqa: BLE001  sys.exit() included: it must not end a run as if all were well
        return Outcome(None, said(error))


def _limit(parent: int) -> None:
    """Bounded memory, and no life after the parent's."""
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (WORKER_BYTES, WORKER_BYTES))

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def math_verify(_name: str) -> Callable:
    """A grader of [gold, answer]: does math-verify hold them equal, as LaTeX or else as plain expressions.

    Needs the extra `.[test]`. Its own timeouts are signals; here the worker's deadline stands in for them.
    """
    from math_verify import parse, verify

    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that no timeout is set

    def equal(pair: list[str]) -> bool:
        gold, answer = (parse(f"\\boxed{{{text}}}", parsing_timeout=None) for text in pair)
        return bool(verify(gold, answer, timeout_seconds=None))

    return equal
