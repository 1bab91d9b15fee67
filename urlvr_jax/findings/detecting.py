"""How early the detectors of collapse warn, and how often falsely: fitted on one half of the runs on file, judged on the other.

The halves: of every reward, base and setting the runs of even seeds fit, those of odd seeds judge.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from urlvr_jax.findings.store import CURVES
from urlvr_jax.findings.table import FINDINGS
from urlvr_jax.measure import detectors
from urlvr_jax.measure.detectors import DETECTORS, SIGNALS, Alarm, Detector, alarm_of

GAIN = 0.05  # of held-out accuracy, and less is none: then a fall is LOSS below the base
LOSS = 0.10
FEW = 128  # questions, and fewer are a small set
FALSE = 3.0  # falls warned of that a false alarm outweighs
GRID = tuple(1.25**i for i in range(-6, 7))  # of thresholds that are tried
ROUNDS = 4
NEAR_BEST = 0.03  # of held-out accuracy
EVERY = 10  # steps between checkpoints, as between evaluations
STEPS_OFF, SHARE_OFF = 10, 0.15  # of the label-free step from the labelled one
TRUTH = "ground_truth"


class Course(NamedTuple):
    """What a run on file shows of its rise and fall."""

    reward: str
    base: str
    small: bool
    seed: int
    history: dict[str, np.ndarray]  # as detectors read it
    steps: tuple[int, ...]  # evaluated
    accuracy: np.ndarray  # held out, at these
    mcs: int | None
    ended: int

    @property
    def fits(self) -> bool:
        return self.seed % 2 == 0

    @property
    def half_lost(self) -> float | None:
        return half_lost(self.steps, self.accuracy)


def half_lost(steps, accuracy: np.ndarray) -> float | None:
    """Step at which half of the gain so far is lost, between evaluations on a straight line; None if it never is.

    The gain is the best so far over the base. Where it is below GAIN, LOSS below the base counts.
    """
    best = np.maximum.accumulate(accuracy)
    level = np.where(best - accuracy[0] >= GAIN, (best + accuracy[0]) / 2, accuracy[0] - LOSS)
    for i in range(1, len(steps)):
        if accuracy[i] <= level[i]:
            high, low = accuracy[i - 1], accuracy[i]
            share = (high - level[i]) / (high - low) if high > low else 1.0
            return float(steps[i - 1] + share * (steps[i] - steps[i - 1]))
    return None


def questions_of(c) -> int | None:
    """How many a configuration trains on where it says so; None: all of its file."""
    if c.data.subset:
        return c.data.subset
    _, bracket, part = c.data.train.partition("[")
    if bracket and ":" in part:
        first, last = part.rstrip("]").split(":")
        return int(last) - int(first or 0)
    return 32 if c.data.train == "lab:firmly_wrong" else None


def courses(lines: list[dict]) -> list[Course]:
    """Of the runs that are evaluated every EVERY steps and have every signal; each configuration once."""
    out, seen = [], set()
    for line in lines:
        cell = _cell_of(line)
        curves = line.get("curves", {})
        steps = tuple(line.get("eval_steps") or ())
        if cell is None or line["config_hash"] in seen or not {"distinct", "turned"} <= set(curves):
            continue
        if len(steps) < 5 or steps[1] > EVERY:
            continue
        seen.add(line["config_hash"])
        c = cell.config
        few = questions_of(c)
        out.append(
            Course(
                reward=c.reward.name,
                base=c.model.path,
                small=few is not None and few <= FEW,
                seed=line["seed"],
                history=history_of(curves, line["steps"]),
                steps=steps,
                accuracy=np.array(line["eval_avg"]),
                mcs=line["mcs"],
                ended=line["steps"],
            )
        )
    return out


def _cell_of(line: dict):
    """The cell of a finding, or of an attempt before, whose run this line is; None of another study's."""
    finding = FINDINGS.get(line.get("finding", ""))
    while finding:
        if line["arm"] in finding.arms and finding.cell(line["arm"], line["seed"]).has(line):
            return finding.cell(line["arm"], line["seed"])
        finding = finding.earlier
    return None


def history_of(curves: dict[str, list], steps: int) -> dict[str, np.ndarray]:
    """{signal: float64 `[N]`}; NaN where a line has no value."""
    named = {metric: name for name, metric in CURVES.items()}
    out = {}
    for signal, metric in SIGNALS.items():
        values = curves.get(named[metric], [])
        out[signal] = np.array([np.nan if v is None else v for v in values] or [np.nan] * steps, float)
    return out


# ---- fitting -----------------------------------------------------------------------------------------


def worth(those: list[Course], using: Iterable[Detector]) -> float:
    """What thresholds are fitted to: falls that are warned of in time, and kept checkpoints near the best; less FALSE for
    each false alarm."""
    found = judge(those, using)
    return found.before + found.kept - FALSE * found.false


def fitted(those: list[Course]) -> tuple[Detector, ...]:
    """The detectors with the thresholds that are worth most on these runs: one after the other, until none gains.

    Tried are GRID times the threshold there is; of equal ones the highest.
    """
    using = list(DETECTORS)
    tried = {d.name: [round(d.threshold * factor, 3) for factor in GRID] for d in DETECTORS}
    best = worth(those, using)
    for _ in range(ROUNDS):
        before = best
        for i, detector in enumerate(using):
            for threshold in tried[detector.name]:
                other = [*using[:i], dataclasses.replace(detector, threshold=threshold), *using[i + 1 :]]
                value = worth(those, other)
                if value > best or (value == best and threshold > using[i].threshold):
                    using, best = other, value
        if best == before:
            break
    return tuple(using)


# ---- judging -----------------------------------------------------------------------------------------


def first_alarm(course: Course, using: Iterable[Detector] = DETECTORS) -> Alarm | None:
    """As a run would have given it: the earliest step; of two, the one with the earlier onset."""
    found = [a for d in using if (a := alarm_of(d, course.history))]
    return min(found, key=lambda a: (a.step, a.onset), default=None)


def lead(course: Course, alarm: Alarm | None) -> float:
    """Steps from the alarm to the loss of half of the gain; minus infinity without an alarm."""
    return course.half_lost - alarm.step if alarm else -np.inf


def kept_accuracy(course: Course, alarm: Alarm | None) -> float:
    """Held-out accuracy of the checkpoint that is kept: the last before the onset, else the run's end; the base's at 0."""
    at = (alarm.onset - 1) // EVERY * EVERY if alarm else course.steps[-1]
    before = [i for i, step in enumerate(course.steps) if step <= at]
    return float(course.accuracy[before[-1]])


def near_best(course: Course, alarm: Alarm | None) -> bool:
    return kept_accuracy(course, alarm) >= course.accuracy.max() - NEAR_BEST


@dataclasses.dataclass(frozen=True)
class Judged:
    """Of the runs of one kind."""

    runs: int
    fell: int  # lost half of their gain
    before: int  # of these: an alarm came before
    leads: tuple[float, ...]  # steps, of these with an alarm
    stayed: int
    false: int  # of these: an alarm
    kept: int  # of those that fell or alarmed: the kept checkpoint is near the best
    ended: int  # how many these are


def judge(those: list[Course], using: Iterable[Detector] = DETECTORS) -> Judged:
    alarms = [first_alarm(course, using) for course in those]
    fell = [(c, a) for c, a in zip(those, alarms, strict=True) if c.half_lost is not None]
    stayed = [a for c, a in zip(those, alarms, strict=True) if c.half_lost is None]
    stopped = [(c, a) for c, a in zip(those, alarms, strict=True) if a or c.half_lost is not None]
    return Judged(
        runs=len(those),
        fell=len(fell),
        before=sum(lead(c, a) > 0 for c, a in fell),
        leads=tuple(sorted(lead(c, a) for c, a in fell if a)),
        stayed=len(stayed),
        false=sum(a is not None for a in stayed),
        kept=sum(near_best(c, a) for c, a in stopped),
        ended=len(stopped),
    )


def kinds(those: list[Course]) -> dict[str, list[Course]]:
    """By reward; runs on small sets are a kind of their own, whatever is voted there."""
    out: dict[str, list[Course]] = {}
    for course in those:
        out.setdefault("small sets" if course.small else course.reward, []).append(course)
    return dict(sorted(out.items()))


def near_labelled(estimate: int | None, mcs: int) -> bool:
    return estimate is not None and abs(estimate - mcs) <= max(STEPS_OFF, SHARE_OFF * mcs)


def estimates(
    lines: list[dict], of: Callable = detectors.collapse_estimate
) -> list[tuple[dict, int | None, int]]:
    """(line, label-free step, labelled step) of the runs that reach the Model Collapse Step."""
    out = []
    for line in lines:
        if line.get("mcs") and "commonest" in line.get("curves", {}):
            out.append((line, of(history_of(line["curves"], line["steps"])), line["mcs"]))
    return out
