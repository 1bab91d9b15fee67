"""Controls: an upper bound, no signal, and signals that have nothing to do with being right."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from urlvr_jax.rewards.ensemble import majority_voting
from urlvr_jax.rewards.interface import RewardError, about, needs
from urlvr_jax.types import Reference, RewardInputs


@about(
    family="control",
    formula="1[y_g is right]",
    norm="none",
    range="{0, 1}",
    papers="supervised RLVR",
    failure="needs labels: the upper bound, not an unsupervised reward",
)
def ground_truth(inputs: RewardInputs, reference: Reference):
    """1 where the answer is right: the upper bound, not an unsupervised reward."""
    return reference.correct.astype(jnp.float32)


@about(
    family="control",
    formula="what `answers.check` gives",
    norm="none",
    range="of the check",
    papers="supervised RLVR with a verifier of one's own",
    failure="what the verifier lets through; a response without a score, for it took too long, has 0",
)
def verifier(inputs: RewardInputs, reference: Reference):
    """The score of `answers.check`, such as a function of your own file; of a built-in check 1 or 0."""
    return reference.score


@about(
    family="control",
    formula="Bernoulli(yes_if_right) where y_g is right, Bernoulli(yes_if_wrong) elsewhere",
    norm="none",
    range="{0, 1}",
    papers="-",
    failure="errors by chance cannot be sought, but where most of what is paid is wrong little is learned",
)
def noisy_verifier(inputs: RewardInputs, reference: Reference, *, yes_if_right=0.9, yes_if_wrong=0.3):
    """A verifier with these true- and false-positive rates, whose errors are chance. Beside `self_verify`."""
    for name, chance in (("yes_if_right", yes_if_right), ("yes_if_wrong", yes_if_wrong)):
        if not 0 <= chance <= 1:
            raise RewardError(f"noisy_verifier({name}={chance}): give a chance from 0 to 1")
    chance = jnp.where(reference.correct, yes_if_right, yes_if_wrong)
    return jax.random.bernoulli(inputs.key, chance, inputs.shape).astype(jnp.float32)


@about(
    family="control",
    formula="1[a_g = majority of a_1..a_G], 0 where the majority is wrong",
    norm="none",
    range="{0, 1}",
    papers="zero_wrong_majority of CARE's code (2605.25864)",
    failure="needs labels: the upper bound of whatever filters a vote's labels",
)
@needs("answers")
def zero_wrong_majority(inputs: RewardInputs, reference: Reference):
    """Majority voting in groups whose majority is right, no signal in the others: a perfect filter of labels."""
    votes = majority_voting(inputs)
    right = jnp.any((votes > 0) & reference.correct, axis=1, keepdims=True)
    return jnp.where(right, votes, 0.0)


@about(
    family="control",
    formula="Bernoulli(1/2)",
    norm="none",
    range="{0, 1}",
    papers="Spurious Rewards (2506.10947)",
    failure="no signal: whatever moves is drift",
    differs="EMPO's codes draw from U(0, 1), one of them only where there is an answer",
)
def random(inputs: RewardInputs):
    """A fair coin: no signal."""
    return jax.random.bernoulli(inputs.key, 0.5, inputs.shape).astype(jnp.float32)


@about(
    family="control",
    formula="1[there is an answer]",
    norm="none",
    range="{0, 1}",
    papers="Spurious Rewards (2506.10947)",
    failure="any answer will do, soon the shortest",
    differs="there a non-empty box; here whatever `answers.style` extracts",
)
@needs("answers")
def format(inputs: RewardInputs):
    """1 where any answer can be extracted, whatever it is."""
    return (inputs.answers >= 0).astype(jnp.float32)


@about(
    family="control",
    formula="|y| / rollout.max_new_tokens",
    norm="is the length",
    range="[0, 1]",
    papers="-",
    failure="longer and longer",
)
def length(inputs: RewardInputs):
    """Response length over the longest allowed: longer is better, whatever it says."""
    return inputs.per_group(inputs.lengths / inputs.max_new_tokens).astype(jnp.float32)


def constant(inputs: RewardInputs):
    """1 for every row: supervised mode, where the corpus wrote the responses."""
    return jnp.ones(inputs.shape, jnp.float32)


METHODS = (ground_truth, verifier, zero_wrong_majority, noisy_verifier, random, format, length)
