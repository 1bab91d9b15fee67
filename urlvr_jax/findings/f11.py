"""F11: hastened, the collapse keeps its order, and costs a fraction of the training that it predicts."""

from __future__ import annotations

import dataclasses

from urlvr_jax.findings import bases
from urlvr_jax.findings.bases import HASTENED, LEAN, MENDABLE, TRUTH, VOTED
from urlvr_jax.findings.finding import Finding, Rule, Runs


def same_order(seeds: list[Runs]) -> float:
    return bases.kendall(
        bases.of_seeds(seeds, VOTED, bases.steady_step, MENDABLE),
        bases.of_seeds(seeds, LEAN, bases.steady_step, MENDABLE),
    )


def fewer_tokens(runs: Runs) -> float:
    """Ground truth's tokens over those of the hastened runs until their collapse, all bases together."""
    return _fewer_tokens(runs, LEAN, MENDABLE, bases.steady_step)


def _fewer_tokens(runs: Runs, kind: str, names, step_of) -> float:
    hastened = [runs[f"{base}, {kind}"] for base in names]
    labelled = [runs[f"{base}, {TRUTH}"] for base in names]
    spent = sum(bases.tokens_until(line, step_of(line)) for line in hastened)
    return sum(bases.tokens_until(line, line["steps"]) for line in labelled) / spent


def same_order_of_a_seed(runs: Runs) -> float:
    return bases.kendall(bases.steps(runs), bases.steps(runs, HASTENED))


def fewer_tokens_of_eight(runs: Runs) -> float:
    return _fewer_tokens(runs, HASTENED, bases.BASES, bases.collapse_step)


SAME_ORDER = "Kendall of both Model Collapse Steps over the bases is 0.8 or more"
FEWER = "5.6 times fewer tokens than ground truth, or fewer"
_FINDING = Finding(
    name="F11",
    title="And cheaply",
    brief=("5.6 times fewer tokens, the same order", "{1} times fewer tokens; Kendall {0}"),
    claim="With more updates for its tokens the collapse comes sooner and keeps its order over the bases, for a fraction of the tokens of training "
    "with ground truth.",
    paper="1.19 B tokens against 6.66 B of the ground-truth runs, 5.6 times fewer; with mini-batches of one, or 32 rollouts, models "
    "collapse sooner in the same order.",
    setting="The seven bases of F10 with an update every 8 questions instead of 32, each on fresh rollouts: four times as many updates "
    f"for the tokens; {bases.LEAN_STEPS} steps at most, counted until their collapse, beside F10's ground truth. This way to hasten was "
    f"chosen by runs with seeds 100 and 101. {bases.DEFINITION}",
    arms=bases.arms(VOTED, LEAN, TRUTH, names=MENDABLE),
    first_seed=3,
    notes="Hastened, a base's step scatters up to threefold between seeds (`lab:steady` 47, 117, 31), so three seeds do not order seven bases: "
    "with seeds 3 to 5 alone Kendall was 0.59 [0.29, 0.71], `fails`. The tokens leave room for three times as many seeds, and 6 to 11 were "
    "added; these alone give 0.90 [0.52, 1]. Eight updates a step of 32 questions (seeds 100 and 101): Kendall 0.65, 5.9 times "
    "fewer tokens.",
    rules=(
        Rule(SAME_ORDER, same_order, ">=", 0.8, null=0.0, pooled=True),
        Rule(FEWER, fewer_tokens, ">=", 5.6, null=1.0),
    ),
    panels=(("reward_accuracy", "reward accuracy"),),
    at_scale={
        name: arm._replace(overrides={**arm.overrides, "optim.minibatch_prompts": 1})
        for name, arm in bases.at_scale("majority_voting").items()
    },
)
FINDING = dataclasses.replace(
    _FINDING,
    earlier=dataclasses.replace(
        _FINDING,
        setting="Four updates a step of 32 questions; eight bases, seeds from 0, each seed's order alone, the Model Collapse Step in the paper's form.",
        first_seed=0,
        arms=bases.arms(VOTED, HASTENED, TRUTH),
        rules=(
            Rule(SAME_ORDER, same_order_of_a_seed, ">=", 0.8, null=0.0),
            Rule(FEWER, fewer_tokens_of_eight, ">=", 5.6, null=1.0),
        ),
    ),
)
