"""A comparison of arms: every metric's difference and verdict, over all question sets, and what a gain is made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from urlvr_jax.comparing import aggregates, difference
from urlvr_jax.comparing import arms as arms_lib
from urlvr_jax.comparing.arms import ALL, END, LAST, ODD, PEAK, Arm, Scores
from urlvr_jax.comparing.difference import Compared
from urlvr_jax.errors import UserError
from urlvr_jax.measure.intervals import Difference

BASE = "base"  # the policy before training: each run's evaluation at step 0
# Means over the last tenth of the steps; none has a direction that is good.
CURVES = (
    "response_length/mean", "response_length/clip_ratio", "repetition_rate", "actor/entropy", "actor/kl",
    "train/ensemble/majority_ratio", "train/ensemble/ground_truth_reward",
)  # fmt: skip
# Rewards that tell what a gain is made of (2606.05932): none, what votes give, the truth.
RANDOM, VOTES = "random", "majority_voting"


class Row(NamedTuple):
    """One metric of an arm against another."""

    arm: str
    against: str
    metric: str
    found: Compared


class Together(NamedTuple):
    """Two arms over all question sets: interquartile means, their difference, and who is above whom how often."""

    arm: str
    against: str
    a: float
    b: float
    difference: Difference | None  # None of few seeds
    improvement: float
    improvement_interval: Difference | None


class Comparison(NamedTuple):
    """What is known of the arms, and how they differ."""

    arms: list[Arm]
    notes: list[str]  # what was left out, and why
    steps: dict[str, int | str]  # {question set: at which step, or at each run's "end" or "peak"}
    scores: dict[tuple[str, str], Scores]  # of (arm, set); of an arm's base ("base ARM", set)
    rows: list[Row]
    together: list[Together]
    parts: list[Row]  # of each gain over the base


def compared(arms: list[Arm], at: str | int = LAST, metrics: Iterable[str] = ()) -> Comparison:
    """Every arm against its base, which is each run's evaluation at step 0, and against the first arm.

    at: "last", the latest step that all runs have evaluated; each run's "end" or "peak"; or a step. metrics: more curves.
    UserError where nothing can be compared.
    """
    arms, notes = _whole(arms, at)
    steps, said = _steps(arms, at)
    part = ODD if at == PEAK else ALL
    scores = {}
    for name, step in steps.items():
        for arm in arms:
            scores[arm.name, name] = arms_lib.scores(arm, name, step, part)
            scores[f"{BASE} {arm.name}", name] = arms_lib.scores(arm, name, 0, part)
    first, *others = (arm.name for arm in arms)
    pairs = [(name, f"{BASE} {name}") for name in (first, *others)] + [(name, first) for name in others]
    rows = [row for name in steps for pair in pairs for row in _accuracies(scores, name, *pair)]
    rows += _curves(arms, at, (*CURVES, *metrics))
    if not rows:
        raise UserError(
            "nothing to compare: give runs of two configurations, or runs that were evaluated (eval.every)"
        )
    together = [_together(scores, list(steps), *pair) for pair in pairs] if len(steps) > 1 else []
    return Comparison(arms, notes + said, steps, scores, rows, together, _parts(arms, scores, list(steps)))


def _whole(arms: list[Arm], at: str | int) -> tuple[list[Arm], list[str]]:
    """Without the runs of an arm that are not at their end, where others are; and what is said of these."""
    out, notes = [], []
    for arm in arms:
        done = [run for run in arm.runs if run.done]
        leave = bool(done) and at in (LAST, PEAK)
        for run in arm.runs:
            if not run.done:
                what = "left out" if leave else "not done"
                notes.append(f"{run.record.path} is {what}: step {run.step} of {run.config['steps']}")
        out.append(arm._replace(runs=done) if leave else arm)
    return out, notes


def _steps(arms: list[Arm], at: str | int) -> tuple[dict[str, int | str], list[str]]:
    """At which step each question set is compared, and which sets are not."""
    names = arms_lib.sets_of(arms)
    steps = {name: arms_lib.common_step(arms, name) if at == LAST else at for name in names}
    steps = {name: step for name, step in steps.items() if step is not None}
    known = dict.fromkeys(e["set"] for arm in arms for run in arm.runs for e in run.record.evals)
    return steps, [
        f"{name} is left out: the runs have no evaluation of the same questions at one step"
        for name in known
        if name not in steps
    ]


def _accuracies(scores: dict, name: str, arm: str, against: str) -> list[Row]:
    """avg, maj and pass at k of a set; of arms with other k, what can be said at the smaller."""
    a, b = scores[arm, name], scores[against, name]
    k = min(a.k, b.k)
    found = {f"avg@{k}" if a.k == b.k else "avg": (a.avg, b.avg)}
    if k > 1:
        found |= {f"maj@{k}": (a.maj, b.maj)} if a.k == b.k else {}
        found[f"pass@{k}"] = a.pass_at(k), b.pass_at(k)
    against = BASE if against.startswith(f"{BASE} ") else against
    return [
        Row(arm, against, f"eval/{name}/{metric}", difference.of_questions(*both))
        for metric, both in found.items()
    ]


def _curves(arms: list[Arm], at: str | int, names: Iterable[str]) -> list[Row]:
    """Late means of curves, of every arm against the first; those that a run has not are left out."""
    common = min(run.step for arm in arms for run in arm.runs)
    until = lambda run: run.step if at in (END, PEAK) else common if at == LAST else at
    rows = []
    for name in dict.fromkeys(names):
        late = [[arms_lib.late_mean(run, name, until(run)) for run in arm.runs] for arm in arms]
        rows += [
            Row(arm.name, arms[0].name, name, difference.of_numbers(values, late[0]))
            for arm, values in zip(arms[1:], late[1:], strict=True)
            if None not in (*values, *late[0])
        ]
    return rows


def _together(scores: dict, sets: list[str], arm: str, against: str) -> Together:
    a, b = (np.stack([scores[of, name].avg.mean(axis=1) for name in sets], axis=1) for of in (arm, against))
    middle, chance = aggregates.interquartile_mean, aggregates.probability_of_improvement
    apart = lambda a, b: middle(a) - middle(b)
    return Together(
        arm, BASE if against.startswith(f"{BASE} ") else against, middle(a), middle(b),
        aggregates.bootstrapped(apart, a, b), chance(a, b), aggregates.bootstrapped(chance, a, b),
    )  # fmt: skip


def _parts(arms: list[Arm], scores: dict, sets: list[str]) -> list[Row]:
    """What an arm's gain over the base is made of, where a random reward and majority voting are among the arms.

    null: random reward - base. elicitation: majority voting - random reward. reward design: the arm - majority voting.
    """
    of = {arm.config["reward.name"]: arm.name for arm in arms if not arm.config["reward.fn"]}
    if RANDOM not in of or VOTES not in of:
        return []
    apart = lambda what, name, a, b: Row(
        what, b, f"eval/{name}/avg", difference.of_questions(scores[a, name].avg, scores[b, name].avg)
    )
    rows = []
    for name in sets:
        rows.append(apart("null", name, of[RANDOM], f"{BASE} {of[RANDOM]}")._replace(against=BASE))
        rows.append(apart("elicitation", name, of[VOTES], of[RANDOM]))
        rows += [
            apart(f"reward design of {arm.name}", name, arm.name, of[VOTES])
            for arm in arms
            if arm.name not in (of[RANDOM], of[VOTES])
        ]
    return rows
