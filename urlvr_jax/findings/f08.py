"""F8: even a set whose votes are all wrong teaches."""

from __future__ import annotations

from urlvr_jax.findings.finding import Arm, Finding, Rule, Runs, curve, held_out

WRONG = "32 questions with wrong votes"
KEYS = {"steps": 150, "optim.lr": 1e-4, "data.train": "lab:wrong_majority[0:32]"}


def label_accuracy(runs: Runs) -> float:
    """Share of the trained questions whose majority is right, mean over the run."""
    return float(curve(runs[WRONG], "label_accuracy").mean())


def net(runs: Runs) -> float:
    return held_out(runs[WRONG], KEYS["steps"]) - held_out(runs[WRONG], 0)


FINDING = Finding(
    name="F8",
    title="Even wrong votes help",
    claim="Trained on questions whose majority answer is wrong, and stays so, a model gets better on others.",
    paper="32 problems whose majority of 64 is wrong: label accuracy stays near 0, AMC 2023 goes from 0.330 to 0.375.",
    setting="`lab:plain`, 32 questions to which the majority of 64 responses is wrong, 150 steps of 32 × 8 at 1e-4: the rate is a third "
    "of F6's, for this set is hard on the policy.",
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
