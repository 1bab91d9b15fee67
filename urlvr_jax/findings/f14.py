"""F14: the majority's share of each question follows the law of sharpening."""

from __future__ import annotations

import numpy as np

from urlvr_jax import theory
from urlvr_jax.findings.finding import Arm, Finding, Rule, Runs

LARGE, SMALL = "64 rollouts", "4 rollouts"
QUESTIONS, STEPS = 16, 80
KEYS = {
    "steps": STEPS,
    "optim.lr": 3e-5,
    "data.subset": QUESTIONS,
    "data.prompts_per_step": QUESTIONS,
    "eval.every": STEPS,
}


def shares(line: dict) -> np.ndarray:
    """Share of the first visit's majority answer at each visit, `[questions, steps]`."""
    return np.array(line["paths"]) / line["group"]


def explained(runs: Runs) -> float:
    """Of the variance of all shares around each question's first, what one 1/beta for all questions explains."""
    line = runs[LARGE]
    measured = shares(line)
    steps = np.arange(measured.shape[1])
    fit = theory.fit_common_rate(measured, steps, line["group"])
    predicted = np.array([theory.predicted(p0, fit.inverse_beta, steps) for p0 in fit.p0])
    return theory.explained(measured, predicted)


def kept(line: dict) -> float:
    """Share of the questions whose majority at the last visit is the first visit's."""
    return float(np.mean(line["majority_kept"]))


def stable(runs: Runs) -> float:
    return kept(runs[LARGE])


def more_stable(runs: Runs) -> float:
    return kept(runs[LARGE]) - kept(runs[SMALL])


FINDING = Finding(
    name="F14",
    title="The law of sharpening",
    claim="Under majority voting the log-odds of a question's majority answer grow by the same amount each step: its share goes to 1 "
    "geometrically; with many rollouts the majority stays the first one.",
    paper="Theorem 1: with the current policy as each step's reference, p becomes p e^(1/β) / (p e^(1/β) + 1 - p), so 1 - p shrinks by "
    "e^(-1/β) a step; the limit is the base restricted to its majority answer. It holds for large groups.",
    setting=f"`lab:plain`, {QUESTIONS} questions, each asked 64 times at every one of {STEPS} steps, rate 3e-5: slow enough to see the path. "
    "The policy gradient is not the exact update; one effective 1/β is fitted for all questions, and each question's first share.",
    arms={
        LARGE: Arm("experiments/majority.py", {**KEYS, "rollout.group": 64}),
        SMALL: Arm("experiments/majority.py", {**KEYS, "rollout.group": 4}),
    },
    rules=(
        Rule("the law explains 0.5 or more of the variance of the shares", explained, ">=", 0.5),
        Rule("with 64 rollouts 0.9 or more of the majorities stay the first ones", stable, ">=", 0.9),
        Rule("more than with 4", more_stable, ">", 0.0),
    ),
    panels=(("majority_ratio", "share of the majority"), ("label_accuracy", "label accuracy")),
    at_scale={
        LARGE: Arm("experiments/paper/dapo.py", {"rollout.group": 64, "data.subset": 64, "steps": 200}),
    },
)
