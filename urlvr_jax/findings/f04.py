"""F4: one question at a time, training amplifies what the model holds; it seldom corrects."""

from __future__ import annotations

import dataclasses

import numpy as np

from urlvr_jax.findings.finding import Arm, Finding, Rule, Runs, early, late

QUESTIONS = 25
STEPS = 100
KEYS = {
    "steps": STEPS,
    "optim.lr": 2e-5,
    "data.prompts_per_step": 1,
    "eval.every": STEPS,
    "eval.k": 1,
    "eval.temperature": 0.0,
    "eval.top_p": 1.0,
    "checkpoint.every": 0,
    "log.completions_every": 0,
}


def flipped(line: dict) -> bool:
    """Whether the greedy answer's correctness changed."""
    before, *_, after = next(iter(line["sets"].values()))["avg"]
    return before != after


def deepened(line: dict) -> bool:
    """Whether the mean log-probability, its own reward, grew."""
    return late(line, "own_reward") > early(line, "own_reward")


def flips(runs: Runs) -> float:
    return float(np.mean([flipped(line) for line in runs.values()]))


def deeper(runs: Runs) -> float:
    return float(np.mean([deepened(line) for line in runs.values()]))


def _arms(**keys) -> dict[str, Arm]:
    arms = {}
    for i in range(QUESTIONS):
        name = f"lab:train[{i}:{i + 1}]"
        of = {**KEYS, **keys, "data.train": name, "eval.sets": (name,)}
        arms[f"question {i}"] = Arm("experiments/trajectory_entropy.py", of)
    return arms


_FINDING = Finding(
    name="F4",
    title="Amplification, not correction",
    brief=("0.12 flip, all deepen", "{0} flip, {1} deepen"),
    claim="Trained on one question alone, a model deepens its confidence every time, and seldom changes from wrong to right or "
    "back.",
    paper="25 problems of MATH500, one at a time, 100 epochs of trajectory-level entropy: the greedy answer's correctness flips in "
    "3 of 25 (12 %), confidence deepens in all.",
    setting=f"`lab:plain`, the first {QUESTIONS} training questions, each its own run of {STEPS} steps of 1 × 8 at 2e-5. In runs with seed "
    "100 at 3e-5 confidence still deepened in all, and 5 of 25 flipped.",
    arms=_arms(),
    notes="Seeds 3 to 7 were added after 0 to 2 had left it undecided (0.20 [0.10, 0.30] flip, 0.97 [0.86, 1.09] deepen). The added ones alone: "
    "0.12 [0.04, 0.20] flip, all deepen.",
    rules=(
        Rule("the greedy answer's correctness flips in at most 0.25 of the questions", flips, "<=", 0.25),
        Rule("confidence deepens in 0.9 or more of them", deeper, ">=", 0.9),
    ),
    panels=(("own_reward", "mean log-probability"),),
    at_scale={
        f"question {i}": Arm(
            "experiments/paper/dapo.py",
            {
                "data.train": f"hf:HuggingFaceH4/MATH-500:test[{i}:{i + 1}]",
                "data.prompts_per_step": 8,  # the same question, so that 8 devices have one each
                "reward.name": "trajectory_level_entropy",
                "steps": 100,
                "eval.sets": (f"hf:HuggingFaceH4/MATH-500:test[{i}:{i + 1}]",),
                "eval.every": 100,
                "eval.k": 1,
                "eval.temperature": 0.0,
            },
        )
        for i in range(QUESTIONS)
    },
)
FINDING = dataclasses.replace(
    _FINDING,
    earlier=dataclasses.replace(
        _FINDING,
        setting="The same at 1e-4, where a policy is pushed far.",
        arms=_arms(**{"optim.lr": 1e-4}),
    ),
)
