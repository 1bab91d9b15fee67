"""Live progress: one line that is rewritten on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time

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
        self.steps, self.seconds = steps, seconds
        self.terminal = sys.stdout.isatty()
        self._last = 0.0
        self._open_line = False

    def step(self, step: int, metrics: dict) -> None:
        due = time.monotonic() - self._last >= self.seconds
        if not (self.terminal or due or step == self.steps):
            return
        self._last = time.monotonic()
        parts = [f"{label} {metrics[name]:.3f}" for name, label in SHOWN if name in metrics]
        text = f"step {step}/{self.steps}  " + "  ".join(parts)
        text += f"  {metrics['timing_s/step']:.2f} s/step"
        if self.terminal:
            print("\r\x1b[2K" + text, end="", flush=True)
            self._open_line = True
        else:
            print(text, flush=True)

    def say(self, text: str) -> None:
        """A line of its own."""
        if self._open_line:
            print()
            self._open_line = False
        print(text, flush=True)
