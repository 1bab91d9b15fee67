"""Chat templates of model folders: programs, so they run in a process of their own, under limits.

One process serves all templates of this one; it ends with it. `transformers` renders there as it would here.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time

MEMORY = 1 << 30  # bytes of address space beyond what the process has when it starts
STARTUP_S = 120.0
DEADLINE_S = 10.0  # and a millisecond for each conversation
LARGEST = 64 << 20  # bytes of an answer


class ChatTemplateError(ValueError):
    """A chat template that cannot render a conversation, or not within the limits."""


def render(template: str, conversations: list[list[dict]], generation: bool, variables: dict) -> list[str]:
    """The conversations by the template, with the generation prompt or without; ChatTemplateError."""
    seconds = DEADLINE_S + 0.001 * len(conversations)
    task = {
        "template": template,
        "conversations": conversations,
        "generation": generation,
        "variables": variables,
        "seconds": seconds,
    }
    renderer = _Renderer.running
    if renderer and renderer.process.poll() is not None:  # ended while nobody asked
        renderer.kill()
    if _Renderer.running is None:
        _Renderer.running = _Renderer()
    answer = _Renderer.running.ask(json.dumps(task), seconds)
    if isinstance(answer, str):
        raise ChatTemplateError(answer)
    return answer


class _Renderer:
    """The process, asked by lines of JSON."""

    running: _Renderer | None = None

    def __init__(self):
        path = os.pathsep.join(p or os.getcwd() for p in sys.path)
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from urlvr_jax.untrusted.chat_template import work; work()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path, "TRANSFORMERS_VERBOSITY": "error"},
        )
        atexit.register(self.process.kill)
        os.set_blocking(self.process.stdout.fileno(), False)
        if self._line(STARTUP_S) != b'"ready"':
            self.kill()
            raise ChatTemplateError("the process that renders chat templates does not start")

    def ask(self, task: str, seconds: float) -> list[str] | str:
        """The texts, or what went wrong; a process that did not answer is gone."""
        try:
            self.process.stdin.write(task.encode() + b"\n")
            self.process.stdin.flush()
            line = self._line(seconds)
        except OSError:
            line = b""
        if line is None or not line:
            self.kill()
            limits = f"{seconds:.0f} s, {MEMORY >> 20} MiB of memory, {LARGEST >> 20} MiB of text"
            return f"it takes more than a template may: {limits}"
        return json.loads(line)

    def kill(self) -> None:
        _Renderer.running = None
        atexit.unregister(self.process.kill)
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        with contextlib.suppress(BrokenPipeError):  # of what it did not read any more
            self.process.stdin.close()

    def _line(self, seconds: float) -> bytes | None:
        """The next line; None past the deadline or if it is too long, empty if the process ended."""
        ends = time.monotonic() + seconds
        parts = []
        size = 0
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while (left := ends - time.monotonic()) > 0 and size <= LARGEST:
                if not selector.select(left):
                    continue
                part = os.read(self.process.stdout.fileno(), 1 << 16)
                if not part:
                    return b""
                parts.append(part)
                size += len(part)
                if part.endswith(b"\n"):
                    return b"".join(parts)[:-1]
        return None


# ---- in that process ----------------------------------------------------------------------


def work() -> None:
    """Answer each line of standard input by one: the texts, or what went wrong."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print
    from transformers.utils.chat_template_utils import render_jinja_template

    _limit()
    _answer(out, "ready")
    for line in sys.stdin.buffer:
        task = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, 2 * task["seconds"])  # ends a loop whose asker was killed
        try:
            texts, _ = render_jinja_template(
                task["conversations"],
                chat_template=task["template"],
                add_generation_prompt=task["generation"],
                **task["variables"],
            )
            "".join(texts).encode("utf-8")
        except Exception as error:  # noqa: BLE001  whatever a template does
            texts = f"{type(error).__name__}: {error!s:.500}"
        signal.setitimer(signal.ITIMER_REAL, 0)  # it may wait for the next task as long as it likes
        _answer(out, texts)


def _answer(out, value) -> None:
    out.write(json.dumps(value).encode() + b"\n")
    out.flush()


def _limit() -> None:
    """No more memory than MEMORY beyond what is mapped now, no files, no core; the deadline alone off Linux."""
    import resource

    if sys.platform != "linux":
        return
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
