"""F9: the prior decides when a model collapses; its entropy does not tell."""

from __future__ import annotations

import dataclasses

from urlvr_jax.findings import bases
from urlvr_jax.findings.bases import VOTED
from urlvr_jax.findings.finding import Finding, Rule, Runs


def range_of_steps(seeds: list[Runs]) -> float:
    found = bases.of_seeds(seeds, VOTED, bases.steady_step)
    return max(found) / min(found)


def by_votes(seeds: list[Runs]) -> float:
    found = bases.of_seeds(seeds, VOTED, bases.steady_step)
    return bases.spearman(bases.of_seeds(seeds, VOTED, bases.base_votes), found)


def votes_above_entropy(seeds: list[Runs]) -> float:
    found = bases.of_seeds(seeds, VOTED, bases.steady_step)
    return by_votes(seeds) - abs(bases.spearman(bases.of_seeds(seeds, VOTED, bases.base_entropy), found))


def _at_once(runs: Runs) -> tuple[list[float], ...]:
    """Votes, entropies and Model Collapse Steps of one seed, the last in the paper's form."""
    of = lambda what: bases.of_bases(runs, VOTED, what)
    return of(bases.base_votes), of(bases.base_entropy), of(bases.collapse_step)


def range_of_single_steps(runs: Runs) -> float:
    _, _, steps = _at_once(runs)
    return max(steps) / min(steps)


def by_votes_of_a_seed(runs: Runs) -> float:
    votes, _, steps = _at_once(runs)
    return bases.spearman(votes, steps)


def votes_above_entropy_of_a_seed(runs: Runs) -> float:
    votes, entropy, steps = _at_once(runs)
    return bases.spearman(votes, steps) - abs(bases.spearman(entropy, steps))


LATER = "the last base collapses twice as late as the first, or later"
BY_VOTES = "Spearman of the share of right votes with the Model Collapse Step is 0.7 or more"
ABOVE_ENTROPY = "and above that of initial entropy, whatever its sign"
SETTING = (
    f"Eight bases, from `lab:hasty` to `lab:taught`, 32 × 8, rate 1e-3, {bases.MCS_STEPS} steps: at this rate most collapse within "
    "them. The world has no instruction that could be left out; at the paper's scale both prompts are runs. "
)
_FINDING = Finding(
    name="F9",
    title="Priors decide",
    brief=("collapse at step 40 to never", "last over first step {0}; Spearman with right votes {1}"),
    claim="How long a model keeps its accuracy under majority voting depends on the base: on how often its vote is right, not on its "
    "entropy.",
    paper="DeepSeek-R1-Distill-Qwen-1.5B keeps reward accuracy above 0.8, Qwen2.5-1.5B is near 0 by step 200, Llama-3.1-8B by step 40, "
    "Tulu-3-8B-SFT later; initial actor entropy does not predict it.",
    setting=SETTING + bases.DEFINITION,
    arms=bases.arms(VOTED),
    first_seed=3,
    rules=(
        Rule(LATER, range_of_steps, ">=", 2.0, null=1.0, pooled=True),
        Rule(BY_VOTES, by_votes, ">=", 0.7, null=0.0, pooled=True),
        Rule(ABOVE_ENTROPY, votes_above_entropy, ">", 0.0, pooled=True),
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
FINDING = dataclasses.replace(
    _FINDING,
    earlier=dataclasses.replace(
        _FINDING,
        setting="Seeds from 0, each seed's order alone, the Model Collapse Step in the paper's form.",
        first_seed=0,
        rules=(
            Rule(LATER, range_of_single_steps, ">=", 2.0, null=1.0),
            Rule(BY_VOTES, by_votes_of_a_seed, ">=", 0.7, null=0.0),
            Rule(ABOVE_ENTROPY, votes_above_entropy_of_a_seed, ">", 0.0),
        ),
    ),
)
