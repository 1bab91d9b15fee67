"""F8: even a set whose votes are all wrong teaches."""

from __future__ import annotations

import dataclasses

from urlvr_jax.findings.finding import Arm, Finding, Rule, Runs, curve, held_out

WRONG = "questions with wrong votes"
KEYS = {
    "steps": 150,
    "optim.lr": 5e-5,
    "data.train": "lab:firmly_wrong",
    "data.prompts_per_step": 16,
}
FIRST = {"steps": 150, "optim.lr": 1e-4, "data.train": "lab:wrong_majority[0:32]"}


def label_accuracy(runs: Runs) -> float:
    """Share of the trained questions whose majority is right, mean over the run."""
    return float(curve(runs[WRONG], "label_accuracy").mean())


def net(runs: Runs) -> float:
    return held_out(runs[WRONG], runs[WRONG]["steps"]) - held_out(runs[WRONG], 0)


_FINDING = Finding(
    name="F8",
    title="Even wrong votes help",
    brief=("0.330 to 0.375, labels stay wrong", "held-out change {1}; label accuracy {0}"),
    claim="Trained on questions whose majority answer is wrong, and stays so, a model gets better on others.",
    paper="32 problems whose majority of 64 is wrong: label accuracy stays near 0, AMC 2023 goes from 0.330 to 0.375.",
    setting="`lab:plain`, the 16 training questions with the fewest right answers of those whose vote is wrong (2 to 10 % of 256 responses), 150 "
    "steps of 16 × 8 at 5e-5. Half of the questions whose majority of 64 is wrong get a right one when they are asked again. With seeds "
    "101 and 102, 32 questions and the same rate label accuracy went to 0.28 and 0.41, held-out accuracy from 0.62 to 0.86.",
    arms={WRONG: Arm("experiments/majority.py", KEYS)},
    rules=(
        Rule("label accuracy is at most 0.25 on average", label_accuracy, "<=", 0.25),
        Rule("held-out accuracy ends above the base's", net, ">", 0.0),
    ),
    panels=(
        ("eval_avg", "held-out accuracy"),
        ("label_accuracy", "label accuracy"),
        ("own_reward", "own reward"),
    ),
)
FINDING = dataclasses.replace(
    _FINDING,
    earlier=dataclasses.replace(
        _FINDING,
        setting="32 questions whose majority of 64 is wrong, 32 × 8 at 1e-4.",
        arms={WRONG: Arm("experiments/majority.py", FIRST)},
    ),
)
