"""Detectors of collapse: pure functions of a run's own metrics so far, none of which needs a label.

In: {signal: float64 `[N]`}, the values of steps 1..N, NaN where there was none. Out: a score a step; an alarm is a score
above its threshold for PATIENCE steps in a row. No detector reads the reward that is trained: it rises in collapse too.
docs/metrics.md has the formulas, and says where the thresholds are from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from urlvr_jax.measure.record import by_step

SIGNALS = {  # name: metric; what detectors and the estimate below read
    "length": "response_length/mean",
    "cut": "response_length/clip_ratio",
    "repetition": "repetition_rate",
    "no_answer": "train/ensemble/no_answer",
    "distinct": "votes/distinct",
    "commonest": "votes/commonest",
    "turned": "votes/turned",
    "kept": "votes/kept",
    "anchors": "anchors/lost",
}
SMOOTH = 5  # steps of a trailing mean
PATIENCE = 2  # steps in a row


def history_of(lines: list[dict]) -> dict[str, np.ndarray]:
    """{signal: float64 `[N]`} of a run's metric lines, whose last step is N; labelled metrics are not looked at."""
    steps = max((line["step"] for line in lines), default=0)
    out = {name: np.full(steps, np.nan) for name in SIGNALS}
    for name, metric in SIGNALS.items():
        for step, value in by_step(lines, metric).items():
            out[name][step - 1] = value
    return out


def smooth(values: np.ndarray, steps: int = SMOOTH) -> np.ndarray:
    """Trailing mean over the values there are, `[N]`; NaN where fewer than half of `steps` are there."""
    known = np.isfinite(values)
    total = np.cumsum(np.where(known, values, 0.0))
    count = np.cumsum(known).astype(float)
    before = lambda x: np.concatenate([np.zeros(min(steps, len(x))), x[:-steps]])
    total, count = total - before(total), count - before(count)
    return np.where(2 * count >= steps, total / np.maximum(count, 1), np.nan)


def start_of(values: np.ndarray) -> float:
    """Mean of the first SMOOTH values there are; NaN where there are none."""
    known = values[np.isfinite(values)][:SMOOTH]
    return float(known.mean()) if len(known) else np.nan


def below_most(values: np.ndarray, steps: int = SMOOTH) -> np.ndarray:
    """How far the trailing mean is below the largest so far, as a share of that."""
    now = smooth(values, steps)
    return 1 - now / np.fmax.accumulate(now)


def above_least(values: np.ndarray) -> np.ndarray:
    """How far the trailing mean is above the smallest so far."""
    now = smooth(values)
    return now - np.fmin.accumulate(now)


def below_start(values: np.ndarray) -> np.ndarray:
    """How far the trailing mean is below the first steps', as a share of that."""
    return 1 - smooth(values) / start_of(values)


@dataclasses.dataclass(frozen=True)
class Detector:
    """One sign of collapse."""

    name: str
    signal: str
    score: Callable[[np.ndarray], np.ndarray]
    threshold: float
    says: str


class Alarm(NamedTuple):
    """A detector's finding."""

    step: int  # at which it was known
    onset: int  # since when the score is above half its threshold
    detector: str


def scores(detector: Detector, history: dict[str, np.ndarray]) -> np.ndarray:
    """The score of each step over the threshold: above 1 is a sign. NaN where nothing can be said."""
    values = history.get(detector.signal)
    if values is None or not np.isfinite(values).any():
        return np.full(len(values) if values is not None else 0, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        return detector.score(values) / detector.threshold


def alarm_of(detector: Detector, history: dict[str, np.ndarray]) -> Alarm | None:
    """The first alarm of a whole history; None without one."""
    found = scores(detector, history)
    high = found > 1
    for earlier in range(1, PATIENCE):
        high[earlier:] &= found[:-earlier] > 1
    high[: PATIENCE - 1] = False
    if not high.any():
        return None
    end = int(high.argmax()) + 1
    quiet = np.flatnonzero(~(found[:end] > 0.5))
    return Alarm(end, int(quiet[-1]) + 2 if len(quiet) else 1, detector.name)


DETECTORS = (
    Detector(
        "shorter", "length", lambda x: below_most(x, 3), 0.20, "responses are much shorter than they were"
    ),
    Detector("repetition", "repetition", above_least, 0.12, "responses repeat themselves"),
    Detector("cut", "cut", above_least, 0.15, "more responses are cut at the longest allowed"),
    Detector("no_answer", "no_answer", above_least, 0.15, "more responses have no answer"),
    Detector("one_answer", "distinct", below_start, 0.30, "different questions get the same answer"),
    Detector("turned", "turned", lambda x: smooth(x, 10), 0.12, "answers that were sure are others now"),
    Detector(
        "drifted", "kept", lambda x: 1 - smooth(x), 0.30, "answers are no longer those of first visits"
    ),
    Detector(
        "unlikely",
        "anchors",
        lambda x: smooth(x, 2),
        0.30,
        "responses of ten steps ago have become unlikely",
    ),
)


ONE_ANSWER = 0.5  # of the questions have the same majority answer
KEPT = 0.10  # reward accuracy if the first sure answers were the truth


def collapse_estimate(history: dict[str, np.ndarray]) -> int | None:
    """A label-free estimate of the Model Collapse Step in its steady form (collapse.steady_step); None if never.

    The first step at which, mean of SMOOTH steps, one answer is the majority's for ONE_ANSWER of the questions, or
    `votes/kept` is below KEPT. What is lost within the first epoch by other answers on every question is not seen.
    """
    one, kept = smooth(history["commonest"]), smooth(history["kept"])
    found = np.flatnonzero((one >= ONE_ANSWER) | (kept < KEPT))
    return int(found[0]) + 1 if len(found) else None
