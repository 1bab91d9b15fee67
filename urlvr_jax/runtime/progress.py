"""Live progress: one line that is rewritten on a terminal, plain lines elsewhere."""

from __future__ import annotations

import pathlib
import sys
import time

from urlvr_jax.measure import figure, summary
from urlvr_jax.runtime import hosts
from urlvr_jax.runtime.terminal import say, warn

SHOWN = (
    ("reward/mean", "reward"),
    ("train/ensemble/ground_truth_reward", "truth"),
    ("train/ensemble/reward_accuracy", "reward acc"),
    ("actor/nll", "nll"),
    ("actor/entropy", "entropy"),
    ("response_length/mean", "length"),
)


class Progress:
    """Prints a step's main numbers; at most one plain line every `seconds` where no terminal is."""

    def __init__(self, steps: int, seconds: float = 5.0):
        self.steps = steps
        self.trained = {}
        self.seconds = seconds
        self.began = time.perf_counter()
        self.terminal = sys.stdout.isatty()
        self.writes = hosts.is_writer()
        self._last = 0.0
        self._open_line = False
        self._noticed: set[str] = set()

    def opened(self, folder: pathlib.Path, reward: str, first: int, trained: dict) -> None:
        """trained: see `summary.kind_of_set`."""
        self.trained = trained
        self.say(f"{folder}: {reward}, from step {first}")
        if self.trained:
            self.say(summary.test_time_text(self.trained))

    def step(self, step: int, metrics: dict) -> None:
        """A step's line, and what it says of an evaluation."""
        self._step(step, metrics)
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

    def _step(self, step: int, metrics: dict) -> None:
        due = time.monotonic() - self._last >= self.seconds
        if not self.writes or not (self.terminal or due or step == self.steps):
            return
        self._last = time.monotonic()
        parts = [f"{label} {metrics[name]:.3f}" for name, label in SHOWN if name in metrics]
        text = f"step {step}/{self.steps}  " + "  ".join(parts)
        text += f"  {metrics['timing_s/step']:.2f} s/step"
        if self.terminal:
            say(text, end="", control="\r\x1b[2K")
            self._open_line = True
        else:
            say(text)

    def notice(self, notices: dict[str, str]) -> None:
        """Warnings by their kinds, each kind once."""
        for kind, text in notices.items():
            if self.writes and kind not in self._noticed:
                self._noticed.add(kind)
                self._end_line()
                warn(text)

    def say(self, text: str) -> None:
        """A line of its own."""
        if self.writes:
            self._end_line()
            say(text)

    def _end_line(self) -> None:
        if self._open_line:
            say("")
            self._open_line = False
