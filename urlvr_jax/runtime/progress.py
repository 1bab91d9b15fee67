"""Live progress: one line that is rewritten on a terminal, plain lines elsewhere."""

from __future__ import annotations

import collections
import math
import pathlib
import sys
import time

from urlvr_jax.measure import figure, questions, summary
from urlvr_jax.measure.collapse import TRUTH
from urlvr_jax.measure.sparkline import sparkline
from urlvr_jax.runtime import hosts, terminal
from urlvr_jax.runtime.counting import Tell, stage_text
from urlvr_jax.untrusted import shown

# Rank, metric, and how it is shown: where a line is too short, the first ranks stay. `reward acc` and `agrees` compare
# the trained reward with the truth; `votes right` is of the majority's answers, whatever is trained.
COLUMNS = (
    (1, "reward/mean", "reward {:.3f}"),
    (2, TRUTH, "truth {:.3f}"),
    (3, "reward/accuracy", "reward acc {:.2f}"),
    (4, "reward/rank_correlation", "agrees {:+.2f}"),
    (10, "train/ensemble/label_accuracy", "votes right {:.2f}"),
    (5, "train/ensemble/no_answer", "no answer {:.2f}"),
    (6, "response_length/clip_ratio", "cut {:.2f}"),
    (7, "frac_reward_zero_std", "equal groups {:.2f}"),
    (9, "response_length/mean", "length {:.1f}"),
    (11, "actor/entropy", "entropy {:.3f}"),
    (12, "actor/nll", "nll {:.3f}"),
)
CHECK_SHOWN = 0.1  # of a step: a check that takes more is shown
SHADOWS = 8  # the rank of what stands in brackets


CURVE = 13  # the rank of the small curve, and how many steps it has at least and at most
FEWEST, KEPT = 8, 4096


def step_text(step: int, steps: int, metrics: dict, width: int, curve: str = "") -> str:
    """A step's main numbers in one line; shadows stand after the reward's number of the same kind. curve: a small one."""
    parts = [(0, f"step {step}/{steps}")]
    what, form = ("rank_correlation", "{:+.2f}") if TRUTH in metrics else ("mean", "{:.3f}")
    for rank, name, own in COLUMNS:
        if name in metrics:
            parts.append((rank, own.format(metrics[name])))
        if name == f"reward/{what}":
            beside = {n: metrics.get(f"{n}/{what}") for n in summary.shadows_of([metrics])}
            texts = {n: form.format(x) for n, x in beside.items() if x is not None}
            parts += [(SHADOWS, f"({n.removeprefix('shadow/')} {text})") for n, text in texts.items()]
    seconds = metrics["timing_s/step"]
    if (check := metrics.get("timing_s/check", 0.0)) > CHECK_SHOWN * seconds:
        parts.append((1, f"check {check / seconds:.0%} of"))
    return fitted([*parts, (0, f"{seconds:.2f} s/step"), *([(CURVE, curve)] if curve else [])], width)


def fitted(parts: list[tuple[int, str]], width: int) -> str:
    """Of (rank, text), in the order of a line, those that fit: the lowest ranks first."""
    chosen, used = set(), -2
    for at, (_, text) in sorted(enumerate(parts), key=lambda part: part[1][0]):
        if used + 2 + len(text) <= width:
            chosen.add(at)
            used += 2 + len(text)
    return "  ".join(text for at, (_, text) in enumerate(parts) if at in chosen)


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
        self.warn = lambda text, kind: terminal.warn(text)
        self._noticed: set[str] = set()
        self._truth = collections.deque(maxlen=KEPT)  # of the steps so far: true reward, else its own

    def opened(self, workdir, reward: str, first: int, trained: dict) -> None:
        """From now on warnings are kept in the workdir too. trained: see `summary.kind_of_set`."""
        self.trained, self.warn = trained, workdir.warn
        self.say(f"{workdir.name}: {reward}, from step {first}")
        if self.trained:
            self.say(summary.test_time_text(self.trained))

    def step(self, step: int, metrics: dict) -> None:
        """A step's line, and what it says of an evaluation."""
        self._truth.append(metrics.get(TRUTH, metrics.get("reward/mean", math.nan)))
        drawn = len(self._truth) >= FEWEST and shown.is_guarded(self.stream)
        curve = sparkline(list(self._truth)) if drawn else ""
        text = step_text(step, self.steps, metrics, terminal.width(self.stream), curve)
        self.move(text, keep=True, now=step == self.steps)
        if any(name.startswith("eval/") for name in metrics):
            self.evaluation(metrics)

    def evaluation(self, metrics: dict) -> None:
        if text := summary.eval_text(metrics, self.trained):
            self.say(text)

    def analysis(self, folder: pathlib.Path, votes: bool) -> None:
        """What the whole run showed, and its figure."""
        if self.writes:
            self.say(summary.summary(folder))
            if votes:
                self.say(f"figure: {figure.rise_and_fall(folder)}")
                if drawn := questions.draw(folder):
                    self.say(f"{drawn[0]}\nfigure: {drawn[1]}")

    def done(self, folder: str, compiling: float) -> None:
        minutes = (time.perf_counter() - self.began) / 60
        self.say(f"{folder}: done in {minutes:.1f} min, {compiling:.0f} s of it compiling")

    def stopped(self, folder: str, name: str, step: int) -> None:
        """By a signal."""
        self.say(f"stopped by {name} after step {step}; --workdir {folder} goes on from there")

    def notice(self, notices: dict[str, str]) -> None:
        """Warnings by their kinds, each kind once."""
        for kind, text in notices.items():
            if self.writes and kind not in self._noticed:
                self._noticed.add(kind)
                self.warn(text, kind)
