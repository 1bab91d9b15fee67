"""F9: the prior decides when a model collapses; its entropy does not tell."""

from __future__ import annotations

from urlvr_jax.findings import bases
from urlvr_jax.findings.bases import VOTED
from urlvr_jax.findings.finding import Finding, Rule, Runs


def range_of_steps(runs: Runs) -> float:
    steps = bases.steps(runs)
    return max(steps) / min(steps)


def by_votes(runs: Runs) -> float:
    return bases.spearman(bases.of_bases(runs, VOTED, bases.base_votes), bases.steps(runs))


def votes_above_entropy(runs: Runs) -> float:
    entropy = bases.spearman(bases.of_bases(runs, VOTED, bases.base_entropy), bases.steps(runs))
    return by_votes(runs) - abs(entropy)


FINDING = Finding(
    name="F9",
    title="Priors decide",
    claim="How long a model keeps its accuracy under majority voting depends on the base: on how often its vote is right, not on its "
    "entropy.",
    paper="DeepSeek-R1-Distill-Qwen-1.5B keeps reward accuracy above 0.8, Qwen2.5-1.5B is near 0 by step 200, Llama-3.1-8B by step 40, "
    "Tulu-3-8B-SFT later; initial actor entropy does not predict it.",
    setting=f"Eight bases, from `lab:hasty` to `lab:taught`, 32 × 8, rate 1e-3, {bases.MCS_STEPS} steps: at this rate most collapse "
    "within them. The world has no instruction that could be left out; at the paper's scale both prompts are runs.",
    arms=bases.arms(VOTED),
    rules=(
        Rule(
            "the last base collapses twice as late as the first, or later",
            range_of_steps,
            ">=",
            2.0,
            null=1.0,
        ),
        Rule(
            "Spearman of the share of right votes with the Model Collapse Step is 0.7 or more",
            by_votes,
            ">=",
            0.7,
            null=0.0,
        ),
        Rule("and above that of initial entropy, whatever its sign", votes_above_entropy, ">", 0.0),
    ),
    panels=(
        ("reward_accuracy", "reward accuracy"),
        ("truth", "ground-truth reward"),
        ("entropy", "entropy (nats)"),
    ),
    at_scale=bases.at_scale("majority_voting")
    | {
        f"{name}, bare": arm._replace(overrides={**arm.overrides, "data.template": "{prompt}"})
        for name, arm in bases.at_scale("majority_voting").items()
    },
)
