"""F11: hastened, the collapse keeps its order, and costs a fraction of the training that it predicts."""

from __future__ import annotations

from urlvr_jax.findings import bases
from urlvr_jax.findings.bases import HASTENED, TRUTH, VOTED
from urlvr_jax.findings.finding import Finding, Rule, Runs


def same_order(runs: Runs) -> float:
    return bases.kendall(bases.steps(runs), bases.steps(runs, HASTENED))


def fewer_tokens(runs: Runs) -> float:
    """Ground truth's tokens over those of the hastened runs until their collapse, all bases together."""
    spent = sum(
        bases.tokens_until(line, bases.collapse_step(line))
        for line in (runs[f"{base}, {HASTENED}"] for base in bases.BASES)
    )
    labelled = (runs[f"{base}, {TRUTH}"] for base in bases.BASES)
    return sum(bases.tokens_until(line, line["steps"]) for line in labelled) / spent


FINDING = Finding(
    name="F11",
    title="And cheaply",
    claim="With more updates a step the collapse comes sooner and keeps its order over the bases, for a fraction of the tokens of training "
    "with ground truth.",
    paper="1.19 B tokens against 6.66 B of the ground-truth runs, 5.6 times fewer; with mini-batches of one, or 32 rollouts, models "
    "collapse sooner in the same order.",
    setting=f"The eight bases of F9 with four updates a step, {bases.HASTENED_STEPS} steps at most, counted until their collapse, beside "
    "F10's ground truth.",
    arms=bases.arms(VOTED, HASTENED, TRUTH),
    rules=(
        Rule(
            "Kendall of both Model Collapse Steps over the bases is 0.8 or more",
            same_order,
            ">=",
            0.8,
            null=0.0,
        ),
        Rule("5.6 times fewer tokens than ground truth, or fewer", fewer_tokens, ">=", 5.6, null=1.0),
    ),
    panels=(("reward_accuracy", "reward accuracy"),),
    at_scale={
        name: arm._replace(overrides={**arm.overrides, "optim.minibatch_prompts": 1})
        for name, arm in bases.at_scale("majority_voting").items()
    },
)
