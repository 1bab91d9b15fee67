"""What a run takes: seconds of each phase of a step, and compilations."""

from __future__ import annotations

import time

import jax


class Clock:
    """Seconds of each phase of a step."""

    def __init__(self):
        self._began = self._last = time.perf_counter()
        self._laps = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._laps[f"timing_s/{name}"] = now - self._last
        self._last = now

    def timed(self, name: str, fn):
        """`fn`, whose seconds are also counted apart, within the lap in which it runs."""

        def run(*args):
            began = time.perf_counter()
            out = fn(*args)
            before = self._laps.get(f"timing_s/{name}", 0.0)
            self._laps[f"timing_s/{name}"] = before + time.perf_counter() - began
            return out

        return run

    def metrics(self) -> dict[str, float]:
        """A step's seconds are without those of an evaluation, which few steps have."""
        whole = time.perf_counter() - self._began
        return self._laps | {"timing_s/step": whole - self._laps.get("timing_s/eval", 0.0)}


_COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"


class CompileCounter:
    """Counts what XLA is asked to compile from now on."""

    def __init__(self):
        self.count = 0
        self.seconds = 0.0
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, seconds: float, **_):
        if event == _COMPILE_EVENT:
            self.count += 1
            self.seconds += seconds
