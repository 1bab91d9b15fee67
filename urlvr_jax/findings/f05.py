"""F5: sharpening on a few questions that the vote gets wrong mends the vote on others."""

from __future__ import annotations

from urlvr_jax.findings.finding import Arm, Finding, Rule, Runs

UNSEEN = "lab:wrong_majority[6:52]"
KEYS = {
    "data.train": "lab:wrong_majority[0:6]",
    "data.prompts_per_step": 6,
    "steps": 80,
    "optim.lr": 1e-4,
    "eval.every": 20,
    "eval.sets": (UNSEEN, "lab:heldout"),
    "eval.k": 8,
    "eval.temperature": 1.0,
    "eval.top_p": 1.0,
}
NAME = UNSEEN.removeprefix("lab:")


def gain_of_votes(runs: Runs) -> float:
    """Change of the share of unseen questions, of those that the base's vote gets wrong, whose majority is right."""
    shares = runs["six questions"]["sets"][NAME]["maj"]
    return max(shares[1:]) - shares[0]


def gain_of_accuracy(runs: Runs) -> float:
    shares = runs["six questions"]["sets"][NAME]["avg"]
    return max(shares[1:]) - shares[0]


FINDING = Finding(
    name="F5",
    title="Sharpening generalises",
    brief=("two of two unseen votes turn right", "share of unseen wrong votes that turn right {0}"),
    claim="Trained on six questions whose majority answer is wrong, the vote turns right on questions it has not seen.",
    paper="Qwen3-1.7B-Base, six problems whose majority is wrong: two unseen problems go from label accuracy 0 to 1.",
    setting="`lab:plain`, majority voting at 1e-4 (at 3e-4 a pilot with another seed mended nothing), 80 steps of 6 × 8 on the first six of the questions to which the majority of 64 "
    "responses is wrong; the other 46 are asked eight times each at T = 1, every 20 steps. The best of the "
    "evaluations counts: that some step mends them is the claim.",
    arms={"six questions": Arm("experiments/majority.py", KEYS)},
    rules=(
        Rule(
            "of unseen questions with a wrong vote, 0.05 or more turn right",
            gain_of_votes,
            ">=",
            0.05,
            null=0.0,
        ),
        Rule("and a response to them is right more often", gain_of_accuracy, ">", 0.0),
    ),
)
