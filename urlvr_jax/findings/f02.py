"""F2: three ways to fail: by degrees, by length, by repetition."""

from __future__ import annotations

import numpy as np

from urlvr_jax.findings.finding import Arm, Finding, Rule, Runs, curve, late, near

STAYS, GRADUAL, SHORT, REPEATS, ONE_ANSWER = (
    "stays", "gradual degradation", "length collapse", "repetition collapse", "one answer for all"
)  # fmt: skip
FALL = 0.10  # below the peak, in held-out accuracy: else it stays
SHORTER = 0.6  # times the length at the peak, or shorter
REPEATED = 0.30  # of 4-grams
SAME = 0.2  # different majority answers over questions
EXPECTED = {
    "self_certainty": GRADUAL,
    "majority_voting": GRADUAL,
    "probability": SHORT,
    "token_level_entropy": REPEATS,
    "trajectory_level_entropy": REPEATS,
}
FILES = {
    "self_certainty": "selfcert",
    "majority_voting": "majority",
    "probability": "probability",
    "token_level_entropy": "token_entropy",
    "trajectory_level_entropy": "trajectory_entropy",
}
STEPS = 300


def way_of_failing(line: dict) -> str:
    """How a run failed, from its label-free curves; whether it failed, from held-out accuracy."""
    peak = line["held_out"]["peak_step"]
    if line["held_out"]["fall"]["mean"] > -FALL:
        return STAYS
    if late(line, "repetition") >= REPEATED:
        return REPEATS
    if late(line, "length") <= SHORTER * near(line, "length", peak):
        return SHORT
    if "distinct" in line["curves"] and np.nanmean(curve(line, "distinct")[-10:]) <= SAME:
        return ONE_ANSWER
    return GRADUAL


def told_apart(runs: Runs) -> float:
    """Of the five rewards, how many fail in the paper's way."""
    return sum(way_of_failing(runs[reward]) == way for reward, way in EXPECTED.items())


def ways(runs: Runs) -> float:
    """How many of the paper's three ways are seen."""
    return len({way_of_failing(runs[reward]) for reward in EXPECTED} & {GRADUAL, SHORT, REPEATS})


FINDING = Finding(
    name="F2",
    title="Three ways to fail",
    brief=("three ways", "{0} of 3 ways seen; {1} of 5 rewards fail in the paper's"),
    claim="Rewards taken from the policy fail in different ways: by degrees (self-certainty, majority voting), by shorter and "
    "shorter answers (probability), by repeating likely tokens (the two entropies).",
    paper="Qwen3-1.7B-Base on DAPO-17k: gradual degradation under self-certainty and majority voting; length collapse under "
    "probability; repetition collapse under token- and trajectory-level entropy.",
    setting=f"`lab:plain`, 32 × 8, {STEPS} steps, each reward at its experiment's rate. A run that ends 0.10 below its peak has "
    f"failed: by repetition where {REPEATED:.0%} of 4-grams are repeated, else by length where responses have {SHORTER:g} "
    f"times the peak's length or less, else with one answer for all where a majority answer serves five questions, else by "
    "degrees. The thresholds were set knowing the grid's runs of 150 steps.",
    arms={reward: Arm(f"experiments/{file}.py", {"steps": STEPS}) for reward, file in FILES.items()},
    notes="Of eight seeds token-level entropy ends in repetition in all, probability in short answers and trajectory-level entropy in repetition "
    "in five each, majority voting by degrees in four. Self-certainty falls by degrees, but at the end, 200 steps later, repeats itself or gives "
    "one answer for all. Asked 40 steps after half of the gain is lost instead of at the end, 3.75 of five rewards fail in the paper's way.",
    rules=(
        Rule("all of the three ways are seen", ways, ">=", 3),
        Rule("four or five of five rewards fail in the paper's way", told_apart, ">=", 4),
    ),
    panels=(
        ("eval_avg", "held-out accuracy"),
        ("length", "length (tokens)"),
        ("repetition", "repetition"),
        ("distinct", "different answers"),
    ),
    at_scale={
        reward: Arm("experiments/paper/dapo.py", {"reward.name": reward, "steps": 1000})
        for reward in EXPECTED
    },
)
