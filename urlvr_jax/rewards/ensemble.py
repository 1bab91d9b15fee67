"""Ensembles: how well a rollout agrees with the others of its group.

a_g is the answer of rollout g as a class within its group: one equivalence relation for label and
reward alike. A rollout without an answer has class -1; it neither votes nor earns, but for `ttrl`.
G is the number of votes, `rollout.group`; the first `rollout.train_group` of them are trained.
"""

from __future__ import annotations

import jax.numpy as jnp

from urlvr_jax.answers.classes import majority_class
from urlvr_jax.rewards.interface import RewardError, about, needs
from urlvr_jax.types import RewardInputs, masked_mean


def supporters(answers):
    """How many rollouts of the group give the same answer as each, itself included: int32 `[P, G]`.

    0 where there is no answer.
    """
    same = answers[:, :, None] == answers[:, None, :]
    return jnp.where(answers >= 0, jnp.sum(same, axis=2), 0)


@about(
    family="ensemble",
    formula="1[a_g = majority of a_1..a_G]",
    norm="none",
    range="{0, 1}",
    papers="TTRL (2504.16084), SRT (2505.21444); the reward of ETTRL, SeRL, SQLM, R-Zero",
    failure="the first majority is made the only answer, right or wrong",
    differs="the vote goes by exact strings and the reward by equivalence in the released codes, so a label "
    "can be split; EMPO's code pays every answer that is tied for the most votes. See `ttrl`",
)
@needs("answers")
def majority_voting(inputs: RewardInputs):
    """1 where the answer is the group's majority answer. TTRL, SRT. No answer never earns."""
    label = majority_class(inputs.answers, jnp)[:, None]
    return ((inputs.answers == label) & (inputs.answers >= 0)).astype(jnp.float32)


@about(
    family="ensemble",
    formula="1[a_g = first seen of the most frequent a_1..a_G, 'no answer' being one of them]",
    norm="none",
    range="{0, 1}",
    papers="TTRL (2504.16084), as released",
    failure="a group that mostly gives no answer is paid for it; ties follow the order of the rollouts",
    differs="not reproduced: ballots by string against rewards by equivalence, the last number of a text "
    "taken for an answer, special tokens in the text, rollouts reordered by length before 'first' is taken",
)
@needs("answers")
def ttrl(inputs: RewardInputs):
    """Majority voting with the released code's tie rule and empty ballots, for comparison with it."""
    answers = inputs.answers
    votes = jnp.sum(answers[:, :, None] == answers[:, None, :], axis=2)  # [P, G], -1 is a class too
    label = jnp.take_along_axis(answers, jnp.argmax(votes, axis=1)[:, None], axis=1)
    return (answers == label).astype(jnp.float32)


@about(
    family="ensemble",
    formula="|{h: a_h = a_g}| / G where low <= H(a) / log G <= high, else 0",
    norm="none",
    range="[0, 1]",
    papers="EMPO (2504.05812)",
    failure="as majority voting: the clusters sharpen into one",
    differs="its TRL code pays 0 where all G answers differ (high=0.999 here) and its verl code pays 1/G "
    "for no answer; clusters by string or by a loose tolerance (10 = 14) there, by the answers' keys here",
)
@needs("answers")
def empo(inputs: RewardInputs, *, low=0.0, high=1.0):
    """Share of the rollout's semantic cluster in its group. Options: low, high.

    Groups earn only where the entropy of their clusters, over its maximum log G, is in [low, high]. A
    rollout without an answer is a cluster of its own in the entropy and earns 0.
    """
    if not 0 <= low <= high <= 1:
        raise RewardError(f"empo(low={low}, high={high}): need 0 <= low <= high <= 1, shares of log G")
    group = inputs.shape[1]
    size = supporters(inputs.answers)
    # H = -sum_clusters share log share = log G - mean_g log size_g: exactly log G where all differ.
    spread = jnp.mean(jnp.log(jnp.maximum(size, 1)), axis=1, keepdims=True) / jnp.log(max(group, 2))
    entropy = jnp.clip(1 - spread, 0, 1) if group > 1 else jnp.zeros_like(spread)
    within = (low <= entropy) & (entropy <= high)
    return jnp.where(within, size / group, 0.0).astype(jnp.float32)


@about(
    family="ensemble",
    formula="1[a_g = argmax_a sum_{h: a_h = a} exp(mean_t log p_t(y_ht))]",
    norm="votes weigh a geometric mean over tokens",
    range="{0, 1}",
    papers="after RLCCF (2508.12338), with rollouts for its models",
    failure="confident mistakes outvote hesitant right answers",
    differs="RLCCF weighs each model's votes by that model's self-consistency; with a single model all "
    "weights of a question are equal and it is `majority_voting`. Here each rollout weighs its own certainty",
)
@needs("answers", "logp")
def weighted_voting(inputs: RewardInputs):
    """1 where the answer has the largest sum of its voters' certainty. Ties as in `majority_voting`."""
    answers = inputs.answers
    weight = inputs.per_group(jnp.exp(masked_mean(inputs.stats["logp"], inputs.lengths)))  # [P, G]
    ballots = answers[:, :, None] == jnp.arange(answers.shape[1])[None, None]  # [P, G, classes]
    # No voters is less than voters of no weight.
    total = jnp.where(
        jnp.any(ballots, axis=1), jnp.sum(jnp.where(ballots, weight[:, :, None], 0.0), axis=1), -1.0
    )
    label = jnp.argmax(total, axis=1)[:, None]
    return ((answers == label) & (answers >= 0)).astype(jnp.float32)


METHODS = (majority_voting, ttrl, empo, weighted_voting)
