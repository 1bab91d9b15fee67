"""Live progress: one line that is rewritten on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import pathlib
import sys
import time

from urlvr_jax.measure import figure, summary
from urlvr_jax.runtime import hosts, terminal
from urlvr_jax.runtime.counting import Tell, stage_text
from urlvr_jax.untrusted import shown

SHOWN = (
    ("reward/mean", "reward"),
    ("train/ensemble/ground_truth_reward", "truth"),
    ("train/ensemble/reward_accuracy", "reward acc"),
    ("actor/nll", "nll"),
    ("actor/entropy", "entropy"),
    ("response_length/mean", "length"),
)


class Console:
    """One stream of process 0: on a terminal a line that moves, elsewhere at most one plain line every `seconds`."""

    def __init__(self, name: str = "stdout", seconds: float = 5.0):
        self.name, self.seconds = name, seconds
        self.writes = hosts.is_writer()
        self._last = -math.inf

    @property
    def stream(self):
        return getattr(sys, self.name)

    def say(self, text: str) -> None:
        """A line of its own."""
        if self.writes:
            terminal.say(text, stream=self.stream)

    def move(self, text: str, *, keep: bool = False, since: float = -math.inf, now: bool = False) -> None:
        """Where something stands; "" wipes it. keep: what else is said does not wipe it from a terminal.

        since: when it began; what takes less than `seconds` is not said elsewhere, unless it is to be said `now`.
        """
        at = time.monotonic()
        if not self.writes:
            return
        if shown.is_guarded(self.stream):
            terminal.move(text, self.stream, keep)
        elif text and (now or at - max(self._last, since) >= self.seconds):
            self._last = at
            terminal.say(text, stream=self.stream)

    def stage(self, what: str, unit: str) -> Tell:
        """Shows what is counted, from now on: see `counting`."""
        began = time.monotonic()

        def tell(done: int, of: int) -> None:
            text = stage_text(what, unit, done, of, time.monotonic() - began) if done < of else ""
            self.move(text, since=began)

        return tell


class Progress(Console):
    """What a run says on standard output."""

    def __init__(self, steps: int, seconds: float = 5.0):
        super().__init__("stdout", seconds)
        self.steps = steps
        self.trained = {}
        self.began = time.perf_counter()

    def opened(self, folder: pathlib.Path, reward: str, first: int, trained: dict) -> None:
        """trained: see `summary.kind_of_set`."""
        self.trained = trained
        self.say(f"{folder}: {reward}, from step {first}")
        if self.trained:
            self.say(summary.test_time_text(self.trained))

    def step(self, step: int, metrics: dict) -> None:
        """A step's line, and what it says of an evaluation."""
        parts = [f"{label} {metrics[name]:.3f}" for name, label in SHOWN if name in metrics]
        text = f"step {step}/{self.steps}  " + "  ".join(parts)
        text += f"  {metrics['timing_s/step']:.2f} s/step"
        self.move(text, keep=True, now=step == self.steps)
        if any(name.startswith("eval/") for name in metrics):
            self.evaluation(metrics)

    def evaluation(self, metrics: dict) -> None:
        self.say(summary.eval_text(metrics, self.trained))

    def analysis(self, folder: pathlib.Path, drawn: bool) -> None:
        """What the whole run showed, and its figure."""
        if self.writes:
            self.say(summary.summary(folder))
            if drawn:
                self.say(f"figure: {figure.rise_and_fall(folder)}")

    def done(self, folder: pathlib.Path, compiling: float) -> None:
        minutes = (time.perf_counter() - self.began) / 60
        self.say(f"{folder}: done in {minutes:.1f} min, {compiling:.0f} s of it compiling")
