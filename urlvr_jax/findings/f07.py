"""F7: training on the test questions themselves, without labels, is safe."""

from __future__ import annotations

from urlvr_jax.findings.f01 import FINDING as F1
from urlvr_jax.findings.f01 import VOTED
from urlvr_jax.findings.finding import Arm, Finding, Rule, Runs

TEST, OTHERS = "heldout[0:40]", "heldout[40:600]"
TTT = "40 test questions"
KEYS = {
    "steps": 300,
    "data.train": f"lab:{TEST}",
    "data.prompts_per_step": 40,
    "eval.sets": (f"lab:{TEST}", f"lab:{OTHERS}"),
}


def net(runs: Runs, name: str) -> float:
    first, *_, last = runs[TTT]["sets"][name]["avg"]
    return last - first


def on_test(runs: Runs) -> float:
    return net(runs, TEST)


def on_others(runs: Runs) -> float:
    return net(runs, OTHERS)


def against_training_set(runs: Runs) -> float:
    """Last held-out accuracy over that of the run on all training questions."""
    return runs[TTT]["sets"][OTHERS]["avg"][-1] - next(iter(runs[VOTED]["sets"].values()))["avg"][-1]


FINDING = Finding(
    name="F7",
    title="Test-time training is safe",
    brief=("test questions and others improve", "change on the test questions {0}, on others {1}"),
    claim="On 40 test questions themselves majority voting improves these and others, and does not collapse, as it does on the "
    "training set.",
    paper="40 problems of AMC 2023, batch 40: both rewards rise and stay, AMC 2023 and AIME 2024 improve; DAPO-17k collapses.",
    setting="`lab:plain`, the first 40 held-out questions, 300 steps of 40 × 8 at 3e-4, beside F1's run on the training set.",
    arms={TTT: Arm("experiments/majority.py", KEYS), VOTED: F1.arms[VOTED]},
    notes="At 2e-4 (seed 101) the 40 questions go from 0.66 to 0.95 and the others from 0.61 to 0.80, and stay for 300 steps; but at that rate the "
    "training set stands as well (F6).",
    rules=(
        Rule("accuracy on the 40 questions ends above the base's", on_test, ">", 0.0),
        Rule("so does accuracy on the other 560", on_others, ">", 0.0),
        Rule(
            "which ends 0.10 or more above that of the run on the training set",
            against_training_set,
            ">=",
            0.10,
            null=0.0,
        ),
    ),
    panels=(
        ("eval_avg", "accuracy (first set)"),
        ("reward_accuracy", "reward accuracy"),
        ("own_reward", "own reward"),
    ),
    at_scale={TTT: Arm("experiments/paper/ttt_amc.py", {})},
)
