"""Rise, fall and collapse of one run: the Model Collapse Step, the collapse step, paired differences.

Rise and fall are measured without picking winners twice: the peak step is chosen on the held-out
questions of even position and reported on those of odd position, as paired differences by question.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from urlvr_jax.measure.intervals import Difference, paired
from urlvr_jax.measure.record import RunRecord, by_step

MCS_THRESHOLD = 0.01  # reward accuracy
STEADY_BELOW, STEADY_OVER = 0.10, 5
COLLAPSE_SHARE = 0.5  # of the base's ground-truth reward
COLLAPSE_PATIENCE = 5  # steps in a row
TRUTH = "train/ensemble/ground_truth_reward"
VOTES = "train/ensemble/reward_accuracy"  # of the majority's pseudo-reward, whatever is trained
NO_ANSWER = "train/ensemble/no_answer"


@dataclasses.dataclass(frozen=True)
class RiseAndFall:
    """Held-out accuracy on the reporting half: base, at the chosen peak step, at the end."""

    base: float
    peak_step: int
    peak: float
    final_step: int
    final: float
    rise: Difference  # peak - base
    fall: Difference  # final - peak
    final_minus_base: Difference


def mcs(lines: list[dict]) -> int | None:
    """Model Collapse Step: the first step with reward accuracy below 1 % (paper, F10); None if never."""
    known = by_step(lines, VOTES)
    return next((step for step, value in known.items() if value < MCS_THRESHOLD), None)


def steady_step(accuracy: np.ndarray) -> int | None:
    """The laboratory's form of the Model Collapse Step: the first at which reward accuracy, float `[N]` of steps 1..N, is below
    STEADY_BELOW in the mean of the last STEADY_OVER steps; None if never.

    The laboratory's answers are 0 to 99, so that one answer for all questions is right in 1 to 3 % of them: a single step
    below 1 % is a matter of luck there, and scatters twofold between seeds.
    """
    if len(accuracy) < STEADY_OVER:
        return None
    means = np.convolve(accuracy, np.ones(STEADY_OVER) / STEADY_OVER, "valid")
    found = np.flatnonzero(means < STEADY_BELOW)
    return int(found[0]) + STEADY_OVER if len(found) else None


def is_mcs(labelled: dict[str, float]) -> bool:
    """Whether a step, given its metrics that need labels, is or is past the Model Collapse Step."""
    return labelled.get(VOTES, 1.0) < MCS_THRESHOLD


def until_mcs(c, workdir) -> bool:
    """Whether a run that is to end at its Model Collapse Step has been there."""
    return c.collapse.until_mcs and mcs(RunRecord(workdir.path).lines) is not None


def collapse_step(lines: list[dict]) -> int | None:
    """First of 5 steps in a row whose ground-truth reward is below half the base's; None if never.

    The base's is the first that is known, step 1's. In a row: steps s to s + 4, all known, since a run writes a line
    a step; a gap ends the row.
    """
    known = by_step(lines, TRUTH)
    if not known:
        return None
    limit = COLLAPSE_SHARE * next(iter(known.values()))
    low = {step for step, value in known.items() if value < limit}
    return next(
        (step for step in sorted(low) if low.issuperset(range(step, step + COLLAPSE_PATIENCE))), None
    )


@dataclasses.dataclass(frozen=True)
class Finding:
    """A step that is looked for in a run, or why it says nothing of this run."""

    step: int | None
    why: str = ""

    def __str__(self):
        return self.why or ("never" if self.step is None else f"at step {self.step}")


def collapse_of(lines: list[dict]) -> tuple[Finding, Finding]:
    """The Model Collapse Step and the collapse step, each only where the base could collapse."""
    truth, votes, silent = (by_step(lines, name) for name in (TRUTH, VOTES, NO_ANSWER))
    if silent and min(silent.values()) == 1:
        nowhere = Finding(None, "not defined: no answer was found in any response")
        return nowhere, nowhere
    if not truth or not votes:
        unlabelled = Finding(None, "not defined: no labels")
        return unlabelled, unlabelled
    lost, collapsed = Finding(mcs(lines)), Finding(collapse_step(lines))
    if next(iter(votes.values())) < MCS_THRESHOLD:
        lost = Finding(None, "not reported: the base itself is below 1 %")
    if next(iter(truth.values())) == 0:
        collapsed = Finding(None, "not reported: the base itself is never right")
    return lost, collapsed


def peak_step(evals: list[dict]) -> int:
    """The step of the best evaluation of one set on its questions of even position, the first of equals.

    To be reported on those of odd position: chosen and measured on the same ones, a peak is partly luck.
    """
    chosen = {e["step"]: np.mean(e["correct"][0::2]) / e["k"] for e in evals}
    return max(chosen, key=lambda step: (chosen[step], -step))


def rise_and_fall_of(evals: list[dict]) -> RiseAndFall:
    """From the lines of evals.jsonl, one set's, the first at step 0. ValueError for fewer than two steps or questions."""
    accuracy = {e["step"]: np.array(e["correct"]) / e["k"] for e in evals}
    steps = sorted(accuracy)
    if len(steps) < 2 or steps[0] != 0:
        raise ValueError(f"needs evaluations at step 0 and later, has {steps}")
    questions = len(accuracy[0])
    if questions < 2:
        raise ValueError(f"the peak is chosen on one question and reported on another, has {questions}")
    report = {s: accuracy[s][1::2] for s in steps}
    peak = peak_step(evals)
    last = steps[-1]
    return RiseAndFall(
        base=float(report[0].mean()),
        peak_step=peak,
        peak=float(report[peak].mean()),
        final_step=last,
        final=float(report[last].mean()),
        rise=paired(report[peak], report[0]),
        fall=paired(report[last], report[peak]),
        final_minus_base=paired(report[last], report[0]),
    )
