"""How early the detectors of collapse warn, and how often falsely: fitted on one half of the runs on file, judged on the other.

The halves: of every reward, base and setting the runs of even seeds fit, those of odd seeds judge.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from urlvr_jax.data import files
from urlvr_jax.findings.store import CURVES
from urlvr_jax.findings.table import FINDINGS
from urlvr_jax.lab import shipped
from urlvr_jax.lab.world import QUESTIONS
from urlvr_jax.measure import collapse, detectors
from urlvr_jax.measure.detectors import DETECTORS, SIGNALS, Alarm, Detector, alarm_of, below_start, smooth
from urlvr_jax.runtime.lines import read_lines
from urlvr_jax.studies.page import table

GAIN = 0.05  # of held-out accuracy, and less is none: then a fall is LOSS below the base
LOSS = 0.10
FEW = 128  # questions, and fewer are a small set
MARGIN = 1.25  # a false alarm counts where a threshold so much lower would give it
FALSE = 1000.0  # falls warned of that a false alarm outweighs
CANDIDATES = (  # judged alone, not in force; signals by their names in CURVES
    Detector("flips", "flips", lambda x: smooth(x, 10), 0.30, "majorities flip from visit to visit"),
    Detector("locked", "locked", lambda x: smooth(x), 0.30, "flipped questions are sure again"),
    Detector(
        "halves agree", "halves_agree", lambda x: smooth(x, 10), 0.95, "both halves of the votes agree"
    ),
    Detector("spent entropy", "entropy", below_start, 0.80, "entropy is a fraction of the base's"),
    Detector("same answers", "answers", below_start, 0.50, "rollouts give fewer answers than the base's"),
)
# Few runs stay: thresholds far below those set by eye would be trusted on too little.
GRID = tuple(1.25**i for i in range(-2, 7))
ROUNDS = 4
NEAR_BEST = 0.03  # of held-out accuracy
EVERY = 10  # steps between checkpoints, as between evaluations
CHOSEN_ON = "F9"  # whose runs chose the thresholds of detectors.collapse_estimate
STEPS_OFF, SHARE_OFF = 10, 0.15  # of the label-free step from the labelled one


class Course(NamedTuple):
    """What a run on file shows of its rise and fall."""

    reward: str
    base: str
    small: bool
    seed: int
    history: dict[str, np.ndarray]  # as detectors read it
    steps: tuple[int, ...]  # evaluated
    accuracy: np.ndarray  # held out, at these
    trained: np.ndarray | None  # accuracy of each step's rollouts; None of a subset of the questions

    @property
    def fits(self) -> bool:
        return self.seed % 2 == 0

    @property
    def half_lost(self) -> float | None:
        return half_lost(self.steps, self.accuracy, self.trained)


def half_lost(steps, accuracy: np.ndarray, trained: np.ndarray | None = None) -> float | None:
    """Step at which half of the gain so far is lost; None if it never is.

    The gain is the best so far over the base. Where it is below GAIN, LOSS below the base counts. Between two evaluations it
    is placed where the accuracy of the training rollouts, float `[N]` of steps 1..N, has gone as much of its way, mean of 3
    steps; on a straight line where that does not fall.
    """
    best = np.maximum.accumulate(accuracy)
    level = np.where(best - accuracy[0] >= GAIN, (best + accuracy[0]) / 2, accuracy[0] - LOSS)
    low = np.flatnonzero(accuracy[1:] <= level[1:])
    if not len(low):
        return None
    i = int(low[0]) + 1
    before, after = int(steps[i - 1]), int(steps[i])
    drop = accuracy[i - 1] - accuracy[i]
    share = (accuracy[i - 1] - level[i]) / drop if drop > 0 else 1.0
    if trained is not None:
        means = smooth(trained, 3)
        at = lambda step: means[min(max(step, 1), len(means)) - 1]
        high, end = at(before), at(min(after + 1, len(means)))
        if high - end >= GAIN:
            gone = [s for s in range(before + 1, after + 1) if at(s) <= high - share * (high - end)]
            return float(gone[0] if gone else after)
    return float(before + share * (after - before))


def questions_of(c) -> int | None:
    """How many a configuration trains on where that is less than all of `lab:train`; None: all."""
    name, part = files.part_of(c.data.train)
    if part:
        return part.end - part.start
    whole = len(read_lines(shipped.questions(name.removeprefix("lab:"))))
    count = c.data.subset or whole
    return count if count < QUESTIONS["train"] else None


def courses(lines: list[dict]) -> list[Course]:
    """Of the runs that are evaluated every EVERY steps and have every signal; each configuration once."""
    out, seen = [], set()
    for line in lines:
        cell = _cell_of(line)
        curves = line.get("curves", {})
        steps = tuple(line.get("eval_steps") or ())
        if cell is None or line["config_hash"] in seen or "anchors" not in curves:
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
                trained=None if few is not None else np.array(curves["truth"], float),
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
    of = {signal: named[metric] for signal, metric in SIGNALS.items()} | {
        c.signal: c.signal for c in CANDIDATES
    }
    return {signal: np.array(curves.get(name, [None] * steps), float) for signal, name in of.items()}


# ---- fitting -----------------------------------------------------------------------------------------


def worth(those: list[Course], using: Iterable[Detector]) -> float:
    """What thresholds are fitted to: falls that are warned of in time, and kept checkpoints near the best; less FALSE for
    each false alarm."""
    lower = [dataclasses.replace(d, threshold=d.threshold / MARGIN) for d in using]
    false = sum(first_alarm(c, lower) is not None for c in those if c.half_lost is None)
    found = judge(those, using)
    return found.before + found.kept - FALSE * false


def fitted(those: list[Course], first: Iterable[Detector] = DETECTORS) -> tuple[Detector, ...]:
    """The detectors with the thresholds that are worth most on these runs: one after the other, until none gains.

    Tried are GRID times the first thresholds; one that gains nothing stays as it was.
    """
    using = list(first)
    tried = {d.name: [round(d.threshold * factor, 3) for factor in GRID] for d in using}
    best = worth(those, using)
    for _ in range(ROUNDS):
        before = best
        for i, detector in enumerate(using):
            for threshold in tried[detector.name]:
                other = [*using[:i], dataclasses.replace(detector, threshold=threshold), *using[i + 1 :]]
                value = worth(those, other)
                if value > best:
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


class Estimated(NamedTuple):
    """A run that reaches the Model Collapse Step in its steady form."""

    finding: str
    reward: str
    base: str
    estimate: int | None  # of the step, without labels
    steady: int
    mcs: int | None  # in the paper's form


def near(estimate: int | None, step: int | None) -> bool:
    """Whether both are steps, at most STEPS_OFF or SHARE_OFF apart."""
    return None not in (estimate, step) and abs(estimate - step) <= max(STEPS_OFF, SHARE_OFF * step)


def estimates(lines: list[dict]) -> list[Estimated]:
    """Of the runs on file that reach it and have both signals, each configuration once."""
    out = {}
    for line in lines:
        cell, curves = _cell_of(line), line.get("curves", {})
        if cell is None or not {"commonest", "anchors_change", "reward_accuracy"} <= set(curves):
            continue  # the change of anchors came with `kept`, which a run of one epoch has not
        c = cell.config
        steady = collapse.steady_step(np.array(curves["reward_accuracy"], float))
        if steady is None or c.data.prompts_per_step < 2:
            continue  # one answer for all questions means nothing of one question
        found = detectors.collapse_estimate(history_of(curves, line["steps"]))
        of = Estimated(line["finding"], c.reward.name, c.model.path, found, steady, line["mcs"])
        out.setdefault(line["config_hash"], of)
    return list(out.values())


# ---- the page ------------------------------------------------------------------------------------------


def share(part: int, whole: int) -> str:
    return f"{part} of {whole}" if whole else "-"


def _row(name: str, found: Judged) -> tuple[str, ...]:
    lead = "-"
    if found.leads:
        low, middle, high = np.quantile(found.leads, [0.1, 0.5, 0.9])
        lead = f"{middle:.0f} ({low:.0f} to {high:.0f})"
    return (
        name, str(found.runs), str(found.fell), share(found.before, found.fell), lead,
        share(found.false, found.stayed), share(found.kept, found.ended),
    )  # fmt: skip


HEAD = (
    "runs of",
    "runs",
    "fell",
    "warned before",
    "lead, steps",
    "false alarms",
    "kept checkpoint near the best",
)


def page(lines: list[dict]) -> str:
    """docs/findings/detectors.md."""
    those = courses(lines)
    fit, judged = [c for c in those if c.fits], [c for c in those if not c.fits]
    refitted = fitted(fit)
    thresholds = [
        (d.name, f"{d.threshold:g}", f"{new.threshold:g}")
        for d, new in zip(DETECTORS, refitted, strict=True)
    ]
    by_fit = judge(judged, refitted)
    by_kind = [_row(name, judge(some)) for name, some in {**kinds(judged), "all": judged}.items()]
    fitted_alone = [fitted(fit, [candidate])[0] for candidate in CANDIDATES]
    candidates = [_row(f"{d.name}, {d.threshold:g}", judge(judged, [d])) for d in fitted_alone]
    alone = [_row(f"`{d.name}`", judge(judged, [d])) for d in DETECTORS]
    found = estimates(lines)
    rows = {}
    for e in found:
        rows.setdefault((e.reward, e.base), []).append(e)
    count = lambda some: (
        str(len(some)), str(sum(near(e.estimate, e.steady) for e in some)), str(sum(near(e.estimate, e.mcs) for e in some))
    )  # fmt: skip
    steps = lambda some: ", ".join(f"{e.estimate or '-'}/{e.steady}/{e.mcs or '-'}" for e in some)
    mcs = [(*kind, *count(some), steps(some)) for kind, some in sorted(rows.items())]
    mcs.append(("all", "", *count(found), ""))
    others = [e for e in found if e.finding != CHOSEN_ON]
    mcs.append((f"all but {CHOSEN_ON}'s", "", *count(others), ""))
    return (
        "# How early the detectors warn\n\n"
        f"{len(those)} runs of the [findings](README.md) that are evaluated every {EVERY} steps. A run falls where held-out accuracy "
        f"loses half of its gain so far (of a gain below {GAIN:g}: where it is {LOSS:g} below the base); else it stays. The lead is the number of "
        "steps from the first alarm to that loss, placed between evaluations by the accuracy of the training rollouts; its median, and in brackets the 10 % and 90 % "
        "quantiles. A false alarm is one in a run that stays. The kept checkpoint is the last before the onset, where there is one every "
        f"{EVERY} steps; it is near the best where it is at most {NEAR_BEST:g} below the run's best held-out accuracy, the part of the run after "
        f"the alarm included; runs that fall without an alarm count with their end. A small set has at most {FEW} questions.\n\n"
        f"The thresholds in force were set by eye on earlier runs. They are judged below on the {len(judged)} runs of odd seeds. Thresholds fitted "
        f"on the {len(fit)} runs of even seeds (as many timely warnings and good checkpoints as possible, with no alarm in a run that stays even at "
        f"thresholds {MARGIN:g} times lower) are not in force: too few of these runs stay ({sum(c.half_lost is None for c in fit)}), and on the odd "
        f"seeds they alarm in {share(by_fit.false, by_fit.stayed)} that stay, warn before {share(by_fit.before, by_fit.fell)} falls and keep "
        f"{share(by_fit.kept, by_fit.ended)} checkpoints near the best. [docs/metrics.md](../metrics.md#early-warning) has the formulas.\n\n"
        + table(HEAD, by_kind)
        + "\nEach detector alone, on the same runs:\n\n"
        + table(HEAD, alone)
        + "\n"
        + table(("detector", "in force, by eye", "fitted"), thresholds)
        + "\nCandidates that are not in force, each alone, with a threshold fitted likewise. Where it is above all values of a share, "
        "1, no threshold that was tried was worth its false alarms:\n\n"
        + table(HEAD, candidates)
        + "\n## The Model Collapse Step without labels\n\n"
        f"Of the runs that reach it in its steady form, reward accuracy below {collapse.STEADY_BELOW:.2f} in the mean of "
        f"{collapse.STEADY_OVER} steps: how many estimates are within {STEPS_OFF} steps or {SHARE_OFF:.0%} of it, and of the paper's form, a "
        f"single step below 0.01. The estimate's two thresholds were chosen on the runs of {CHOSEN_ON}, seeds 3 to 5.\n\n"
        + table(
            ("reward", "base", "runs", "near", "near the paper's form", "estimate / steady / paper's"), mcs
        )
    )
