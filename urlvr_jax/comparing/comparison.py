"""A comparison of arms: every metric's difference and verdict, over all question sets, and what a gain is made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from urlvr_jax import config as config_lib
from urlvr_jax.comparing import aggregates, difference
from urlvr_jax.comparing import arms as arms_lib
from urlvr_jax.comparing.arms import ALL, BASE, END, LAST, ODD, PEAK, Arm, Scores
from urlvr_jax.comparing.difference import Compared
from urlvr_jax.errors import UserError
from urlvr_jax.measure.intervals import Difference

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
    UserError where nothing can be compared, and for a curve that is asked for and that some run has not.
    """
    arms, notes = _whole(arms, at)
    part = ODD if at == PEAK else ALL
    steps, scores, rows = {}, {}, []
    for name in dict.fromkeys(e["set"] for arm in arms for run in arm.runs for e in run.record.evals):
        some = arms_lib.having(arms, name)
        step, said = _step(arms, some, name, at)
        notes += said
        if step is None:
            continue
        steps[name] = step
        scores |= {(arm.name, name): arms_lib.scores(arm, name, step, part) for arm in some}
        begun = [arm for arm in some if all(0 in run.evaluated(name) for run in arm.runs)]
        scores |= {(of_base(arm.name), name): arms_lib.scores(arm, name, 0, part) for arm in begun}
        notes += [
            f"{arm.name} has no evaluation of {name} before training" for arm in some if arm not in begun
        ]
        first, *others = (arm.name for arm in some)
        pairs = [(arm.name, of_base(arm.name)) for arm in begun] + [(other, first) for other in others]
        rows += [row for pair in pairs for row in _accuracies(scores, name, *pair)]
    curves, said = _curves(arms, at, metrics)
    if not rows + curves:
        raise UserError("; ".join(["nothing can be compared", *notes]))
    whole = [name for name in steps if all((arm.name, name) in scores for arm in arms)]
    return Comparison(
        arms,
        notes + said,
        steps,
        scores,
        rows + curves,
        _together(arms, scores, whole),
        _parts(arms, scores, whole),
    )


def of_base(arm: str) -> str:
    """The key of an arm's base among the scores."""
    return f"{BASE} {arm}"


def _whole(arms: list[Arm], at: str | int) -> tuple[list[Arm], list[str]]:
    """Without runs that made no step, and those of an arm that are not at their end where others are; what is said of these."""
    out, notes = [], []
    for arm in arms:
        made = [run for run in arm.runs if run.step]
        done = [run for run in made if run.done]
        leave = bool(done) and at in (LAST, PEAK)
        for run in arm.runs:
            if not run.step or not run.done:
                what = "left out" if leave or not run.step else "not done"
                notes.append(f"{run.record.path} is {what}: step {run.step} of {run.config['steps']}")
        out.append(arm._replace(runs=done if leave else made))
    out = [arm for arm in out if arm.runs]
    if not out:
        raise UserError("; ".join(["nothing can be compared", *notes]))
    return out, notes


def _step(arms: list[Arm], some: list[Arm], name: str, at: str | int) -> tuple[int | str | None, list[str]]:
    """At which step a question set is compared, and what is said of it; some: the arms that have evaluated it."""
    lacking = {run.record.path for arm in arms for run in arm.runs} - {
        run.record.path for arm in some for run in arm.runs
    }
    notes = [f"{path} has not evaluated {name}" for path in sorted(lacking)]
    sizes = arms_lib.sizes_of(some, name)
    if len(sizes) > 1 or (at == PEAK and min(sizes) < 2):
        return None, [*notes, f"{name} is left out: evaluations have {sorted(sizes)} questions"]
    step = arms_lib.common_step(some, name) if at == LAST else at
    if step is None:
        return None, [*notes, f"{name} is left out: there is no step at which all runs have evaluated it"]
    files = dict.fromkeys(f for arm in some for run in arm.runs if (f := arms_lib.file_of(run, name)))
    if len(files) > 1:
        notes.append(f"{name} was read from {' and '.join(files)}: taken to be the same questions")
    return step, notes


def _accuracies(scores: dict, name: str, arm: str, against: str) -> list[Row]:
    """avg, maj and pass at k of a set; of arms with other k, what can be said at the smaller."""
    a, b = scores[arm, name], scores[against, name]
    k = min(a.k, b.k)
    found = {f"avg@{k}" if a.k == b.k else "avg": (a.avg, b.avg)}
    if k > 1:
        found |= {f"maj@{k}": (a.maj, b.maj)} if a.k == b.k else {}
        found[f"pass@{k}"] = a.pass_at(k), b.pass_at(k)
    against = BASE if against == of_base(arm) else against
    return [
        Row(arm, against, f"eval/{name}/{metric}", difference.of_questions(*both))
        for metric, both in found.items()
    ]


def _curves(arms: list[Arm], at: str | int, asked: Iterable[str]) -> tuple[list[Row], list[str]]:
    """Late means of curves until the step compared, of every arm against the first; those that a run has not are left out.

    UserError for one that is asked for and that no run has.
    """
    common = min(run.step for arm in arms for run in arm.runs)
    until = lambda run: (
        (run.peak or run.step) if at == PEAK else run.step if at == END else common if at == LAST else at
    )
    rows, notes = [], []
    asked = list(asked)
    for name in dict.fromkeys((*CURVES, *asked)):
        late = [[arms_lib.late_mean(run, name, until(run)) for run in arm.runs] for arm in arms]
        if name in asked and all(x is None for values in late for x in values):
            raise UserError(f"--metric {name} is in no run's lines, or is no number there")
        if name in asked and any(None in values for values in late):
            notes.append(f"{name} is not in the lines of every run")
        rows += [
            Row(arm.name, arms[0].name, name, difference.of_numbers(values, late[0]))
            for arm, values in zip(arms[1:], late[1:], strict=True)
            if None not in (*values, *late[0])
        ]
    return rows, notes


def _together(arms: list[Arm], scores: dict, sets: list[str]) -> list[Together]:
    """Of several sets that all arms have, each arm against its base and the first."""
    if len(sets) < 2:
        return []
    middle, chance = aggregates.interquartile_mean, aggregates.probability_of_improvement
    apart = lambda a, b: middle(a) - middle(b)
    first, *others = (arm.name for arm in arms)
    bases = [arm.name for arm in arms if all((of_base(arm.name), name) in scores for name in sets)]
    out = []
    for arm, against in [(name, of_base(name)) for name in bases] + [(name, first) for name in others]:
        a, b = (
            np.stack([scores[of, name].avg.mean(axis=1) for name in sets], axis=1) for of in (arm, against)
        )
        said = BASE if against == of_base(arm) else against
        found = aggregates.bootstrapped(apart, a, b), chance(a, b), aggregates.bootstrapped(chance, a, b)
        out.append(Together(arm, said, middle(a), middle(b), *found))
    return out


def _parts(arms: list[Arm], scores: dict, sets: list[str]) -> list[Row]:
    """What an arm's gain over the base is made of, where arms that differ in their reward alone have a random reward and
    majority voting among them.

    null: random reward - base. elicitation: majority voting - random reward. reward design: the arm - majority voting.
    """
    alike: dict[str, list[Arm]] = {}
    default = config_lib.flat(config_lib.default())
    for arm in arms:
        plain = {key: default[key] if key.startswith("reward.") else x for key, x in arm.config.items()}
        alike.setdefault(config_lib.config_hash(plain | {"seed": 0}), []).append(arm)
    rows = []
    apart = lambda what, name, a, b: Row(
        what, b, f"eval/{name}/avg", difference.of_questions(scores[a, name].avg, scores[b, name].avg)
    )
    for group in alike.values():
        named = lambda reward, group=group: [a.name for a in group if a.config["reward.name"] == reward and not a.config["reward.fn"]]  # fmt: skip
        if len(named(RANDOM)) != 1 or len(named(VOTES)) != 1:
            continue
        (nothing,), (votes,) = named(RANDOM), named(VOTES)
        for name in sets:
            if (of_base(nothing), name) in scores:
                rows.append(apart("null", name, nothing, of_base(nothing))._replace(against=BASE))
            rows.append(apart("elicitation", name, votes, nothing))
            rows += [
                apart(f"reward design of {arm.name}", name, arm.name, votes)
                for arm in group
                if arm.name not in (nothing, votes)
            ]
    return rows
