"""Graders that may hang or crash, in worker processes that may be killed: math-verify for comparison.

The vote never asks a grader: it compares keys (canonical.py). A grader is `(gold, answer) -> bool`, named
`module:function`; it runs in a fresh interpreter, so that neither a fork of a JAX process nor the caller's
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
from collections.abc import Iterable

from urlvr_jax.errors import UserError

MATH_VERIFY = "urlvr_jax.checks.workers:math_verify"
STARTUP_S = 120.0  # a worker imports its grader
WORKER_BYTES = 4 << 30  # of address space, on Linux
ATTEMPTS = 2  # a task whose worker dies is given to one more


class GraderError(UserError):
    """A grader that cannot be started; the message has what its process wrote."""


class Pool:
    """`workers` processes with a deadline a pair. They start with the first task.

    `timeouts` and `crashes` count pairs without a verdict (None): over the deadline, or lost with
    ATTEMPTS workers. Use it as a context manager, or call `close`.
    """

    def __init__(self, grader: str = MATH_VERIFY, workers: int = 2, deadline_s: float = 5.0):
        if workers < 1 or not deadline_s > 0:
            raise ValueError(f"{workers=} must be at least 1 and {deadline_s=} positive")
        self.grader, self.deadline_s = grader, deadline_s
        self.timeouts = self.crashes = 0
        self._count = workers
        self._tasks: queue.SimpleQueue = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock, self._closed = threading.Lock(), threading.Event()

    def submit(self, pairs: Iterable[tuple[str, str]]) -> list[concurrent.futures.Future]:
        """Queue (gold, answer) pairs and return at once: one future a pair, in order."""
        if self._closed.is_set():
            raise RuntimeError("this pool is closed")
        futures = []
        for gold, answer in pairs:
            futures.append(concurrent.futures.Future())
            self._tasks.put((futures[-1], gold, answer))
        if futures and not self._threads:
            self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(self._count)]
            for thread in self._threads:
                thread.start()
        return futures

    def grade(self, pairs: Iterable[tuple[str, str]]) -> list[bool | None]:
        """Verdicts in order; None where the grader gave none. GraderError if it cannot start."""
        return [future.result() for future in self.submit(pairs)]

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
        while (task := self._tasks.get()) and not self._closed.is_set():
            future, *pair = task
            if not future.set_running_or_notify_cancel():
                continue
            verdict = None
            lost = True
            for _ in range(ATTEMPTS):
                try:
                    worker = worker or _Worker(self.grader)
                except GraderError as error:
                    future.set_exception(error)
                    break
                answer = worker.ask(pair, self.deadline_s, self._closed)
                if isinstance(answer, dict):
                    verdict = answer["verdict"]
                    lost = False
                    break
                worker.kill()
                worker = None
                if answer == "late":
                    lost = False
                    with self._lock:
                        self.timeouts += 1
                    break
            if not future.done():
                with self._lock:
                    self.crashes += lost
                future.set_result(verdict)
        if task:
            task[0].cancel()
        if worker:
            worker.kill()


class _Worker:
    """A process that grades one pair at a time, by lines of JSON on its standard streams."""

    def __init__(self, grader: str):
        path = os.pathsep.join(p or os.getcwd() for p in sys.path)
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from urlvr_jax.checks.workers import work; work()", grader],
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

    def ask(self, pair: list[str], deadline_s: float, closed: threading.Event) -> dict | str:
        """The answer, or "late", or "dead"."""
        try:
            self.process.stdin.write(json.dumps(pair).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            return "dead"
        return self._line(deadline_s, closed)

    def _line(self, deadline_s: float, closed: threading.Event) -> dict | str:
        end = time.monotonic() + deadline_s
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self.rest:
                left = end - time.monotonic()
                if left <= 0 or closed.is_set():
                    return "late"
                if not selector.select(min(left, 0.5)):
                    continue
                read = self.process.stdout.read()
                if read == b"":
                    return "dead"
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
    module, _, name = sys.argv[1].partition(":")
    try:
        grader = getattr(importlib.import_module(module), name)
        if grader is math_verify:
            importlib.import_module("math_verify")
            logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that no timeout is set
    except (ImportError, AttributeError) as error:
        out.write(json.dumps({"error": str(error)}).encode() + b"\n")
        return
    out.write(b"{}\n")
    for line in sys.stdin.buffer:
        gold, answer = json.loads(line)
        try:
            verdict = bool(grader(gold, answer))
        except Exception as error:  # noqa: BLE001 - whatever a grader raises is 'no verdict', and is reported
            print(f"grader: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)
            verdict = None
        out.write(json.dumps({"verdict": verdict}).encode() + b"\n")


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


def math_verify(gold: str, answer: str) -> bool:
    """Does math-verify hold an answer equal to the gold one: LaTeX first, then plain expressions.

    Needs the extra `.[test]`. Its own timeouts are signals; here the worker's deadline stands in for them.
    """
    from math_verify import parse, verify

    def read(text: str):
        return parse(f"\\boxed{{{text}}}", parsing_timeout=None)

    return bool(verify(read(gold), read(answer), timeout_seconds=None))
