"""F10: the Model Collapse Step foretells what labels will bring."""

from __future__ import annotations

import dataclasses

from urlvr_jax.findings import bases
from urlvr_jax.findings.bases import MENDABLE, TRUTH, VOTED
from urlvr_jax.findings.finding import Finding, Rule, Runs


def by_collapse(seeds: list[Runs]) -> float:
    return bases.spearman(
        bases.of_seeds(seeds, VOTED, bases.steady_step, MENDABLE),
        bases.of_seeds(seeds, TRUTH, bases.repaired, MENDABLE),
    )


def above_headroom(seeds: list[Runs]) -> float:
    headroom = bases.of_seeds(seeds, TRUTH, bases.headroom, MENDABLE)
    repaired = bases.of_seeds(seeds, TRUTH, bases.repaired, MENDABLE)
    return by_collapse(seeds) - bases.spearman(headroom, repaired)


def by_collapse_of_a_seed(runs: Runs) -> float:
    return bases.spearman(bases.steps(runs), bases.of_bases(runs, TRUTH, bases.repaired))


def above_headroom_of_a_seed(runs: Runs) -> float:
    by_headroom = bases.spearman(
        bases.of_bases(runs, TRUTH, bases.headroom), bases.of_bases(runs, TRUTH, bases.repaired)
    )
    return by_collapse_of_a_seed(runs) - by_headroom


BY_COLLAPSE = "Spearman of the Model Collapse Step with the gain is 0.85 or more"
ABOVE_HEADROOM = "and above that of pass@8 - avg@8"
SETTING = (
    "F9's runs beside 100 steps of ground truth at 1e-4 on the same bases. The gain is the share of the base's held-out "
    "mistakes that are repaired: in points a strong base of the laboratory has nothing left to gain, where the paper's are far "
    "from the top. Headroom is pass@8 - avg@8. "
)
_FINDING = Finding(
    name="F10",
    title="The Model Collapse Step predicts the gain",
    brief=("the same order of 7 models", "Spearman {0}, above pass@k's by {1}"),
    claim="The later majority voting collapses on a base, the more of its mistakes ground truth repairs; pass@k tells less.",
    paper="Seven models, the first step with reward accuracy below 1 %: OLMo-2-7B 34 (+0.42 on AIME 2024 with ground truth), Llama-3.1-8B 40 "
    "(+1.01), Qwen2.5-Math-1.5B 160 (+3.96), Qwen2.5-1.5B 221 (+3.96), Qwen2.5-7B 245 (+6.67), Qwen3-1.7B-Base 280 (+7.08), "
    "Qwen3-8B-Base 383 (+17.08): the same order; pass@256 - pass@1 has inversions.",
    setting=SETTING
    + "Seven bases: `lab:taught`, right 0.985 of the time, has nothing that labels could mend. "
    + bases.DEFINITION,
    arms=bases.arms(VOTED, TRUTH, names=MENDABLE),
    first_seed=3,
    rules=(
        Rule(BY_COLLAPSE, by_collapse, ">=", 0.85, null=0.0, pooled=True),
        Rule(ABOVE_HEADROOM, above_headroom, ">", 0.0, pooled=True),
    ),
    panels=(("reward_accuracy", "reward accuracy"), ("eval_avg", "held-out accuracy")),
    at_scale=bases.at_scale("majority_voting", "ground_truth"),
)
FINDING = dataclasses.replace(
    _FINDING,
    earlier=dataclasses.replace(
        _FINDING,
        setting="Eight bases, seeds from 0, each seed's order alone, the Model Collapse Step in the paper's form.",
        first_seed=0,
        arms=bases.arms(VOTED, TRUTH),
        rules=(
            Rule(BY_COLLAPSE, by_collapse_of_a_seed, ">=", 0.85, null=0.0),
            Rule(ABOVE_HEADROOM, above_headroom_of_a_seed, ">", 0.0),
        ),
    ),
)
