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


def leading_votes(answers):
    """Votes of the most frequent answer and of the next one: int32 `[P]` each, 0 where there is none."""
    votes = jnp.sum(answers[:, :, None] == jnp.arange(answers.shape[1])[None, None], axis=1)
    ordered = jnp.sort(votes, axis=1)  # [P, classes]
    return ordered[:, -1], (ordered[:, -2] if answers.shape[1] > 1 else jnp.zeros_like(ordered[:, -1]))


@about(
    family="ensemble",
    formula="1[a_g = majority of a_1..a_G], 0 where the majority's share is not above `above`",
    norm="none",
    range="{0, 1}",
    papers="TTRL (2504.16084), SRT (2505.21444); the reward of ETTRL, SeRL, SQLM, R-Zero; with above=0.5 the "
    "mask of 2511.04902, for groups without a strict one",
    failure="the first majority is made the only answer, right or wrong",
    differs="the vote goes by exact strings and the reward by equivalence in the released codes, so a label "
    "can be split; EMPO's code pays every answer that is tied for the most votes. See `ttrl`. 2511.04902 also "
    "orders questions from easy to hard, and was read by its abstract alone",
)
@needs("answers")
def majority_voting(inputs: RewardInputs, *, above=0.0):
    """1 where the answer is the group's majority answer. TTRL, SRT. No answer never earns. Option: above.

    A group whose majority has a share of the G votes that is not above this gives no signal.
    """
    if not 0 <= above < 1:
        raise RewardError(f"majority_voting(above={above}): need 0 <= above < 1, a share of the votes")
    answers, group = inputs.answers, inputs.shape[1]
    label = majority_class(answers, jnp)[:, None]
    enough = (leading_votes(answers)[0] / group > above)[:, None]
    return ((answers == label) & (answers >= 0) & enough).astype(jnp.float32)


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


@about(
    family="ensemble",
    formula="1 if a_g is the label, -1 if it is a negative, `no_answer` without one, else 0. The label: the majority, if "
    "its share >= `least` and leads by more than `lead`. Negatives: others with a share < `rare` and H of their "
    "rollouts >= H of the group, H the mean of mean_t H(p_t)",
    norm="entropies: mean over tokens",
    range="[-1, 1]",
    papers="SCRL, selective and complementary (2603.19880)",
    failure="as majority voting where it labels; where it does not, rare answers and silence are all that it punishes",
    differs="the released code takes 0.0 for every rollout's entropy where the statistic is missing, so that all rare "
    "answers are negatives; here the run stops. Its mode `continuous` is not here",
)
@needs("answers", "entropy")
def scrl(inputs: RewardInputs, *, least=0.5, lead=0.15, rare=0.15, no_answer=-1.0):
    """Votes with a label only where it is clear, and with negatives. Options: least, lead, rare, no_answer. SCRL."""
    if not all(0 <= x <= 1 for x in (least, lead, rare)) or not -1 <= no_answer <= 1:
        raise RewardError(
            f"scrl(least={least}, lead={lead}, rare={rare}, no_answer={no_answer}): the first three are shares from "
            "0 to 1, no_answer is a reward from -1 to 1"
        )
    answers, group = inputs.answers, inputs.shape[1]
    first, second = leading_votes(answers)
    clear = (first / group >= least) & ((first - second) / group > lead)
    label = jnp.where(clear, majority_class(answers, jnp), -2)[:, None]
    # Of each rollout against the first: the mean of equal entropies is then equal to each of them.
    entropy = inputs.per_group(masked_mean(inputs.stats["entropy"], inputs.lengths))
    entropy = entropy - entropy[:, :1]
    size = supporters(answers)
    same = answers[:, :, None] == answers[:, None, :]
    of_answer = jnp.sum(jnp.where(same, entropy[:, None, :], 0.0), axis=2) / jnp.maximum(size, 1).astype(
        jnp.float32
    )
    doubtful = of_answer >= jnp.mean(entropy, axis=1, keepdims=True)
    negative = (size / group < rare) & doubtful
    paid = jnp.where(answers == label, 1.0, jnp.where(negative, -1.0, 0.0))
    return jnp.where(answers >= 0, paid, no_answer)


def _signal_to_noise(first, second, votes):
    """(n1 - n2)^2 / (n (n1 + n2)); 0 where nobody voted."""
    noise = votes * (first + second)
    return jnp.where(noise > 0, (first - second) ** 2 / jnp.maximum(noise, 1), 0.0)


@about(
    family="ensemble",
    formula="S - S without rollout g, S = (n_1 - n_2)^2 / (G (n_1 + n_2)) of the two leading answers' votes",
    norm="none",
    range="[-1, 1]",
    papers="SNR reward, Condorcet TTT (2510.17472)",
    failure="as majority voting: the vote that leads is made to lead further, right or wrong; of a tie both are fined, "
    "which favours whatever else was said",
    differs="S itself is one number a group, which has no advantage within it: the released code pays each rollout what S "
    "loses without it, as here. There no answer has -10, which drowns a group's other differences; here it has what an "
    "answer behind the leading two has",
)
@needs("answers")
def snr(inputs: RewardInputs):
    """What a rollout adds to the signal-to-noise ratio of its group's vote. Condorcet TTT.

    Voters of the majority are paid, voters of the runner-up fined, all others fined a little.
    """
    answers, group = inputs.answers, inputs.shape[1]
    first, second = (x[:, None].astype(jnp.float32) for x in leading_votes(answers))
    label = majority_class(answers, jnp)[:, None]
    runner_up = majority_class(jnp.where(answers == label, -1, answers), jnp)[:, None]
    without = jnp.where(
        answers == label,
        _signal_to_noise(first - 1, second, group - 1),
        jnp.where(
            answers == runner_up,
            _signal_to_noise(first, second - 1, group - 1),
            _signal_to_noise(first, second, group - 1),
        ),
    )
    silent = _signal_to_noise(first, second, group - 1)
    return _signal_to_noise(first, second, group) - jnp.where(answers >= 0, without, silent)


METHODS = (majority_voting, ttrl, empo, weighted_voting, scrl, snr)
