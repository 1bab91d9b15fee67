"""Certainty: how sure the policy is of the tokens it wrote.

p_t is the policy's distribution of token t at logits / temperature, y_t the token sampled, |y| the
response's length with its end token, V the vocabulary, U the uniform distribution over it. An empty
response scores 0 (1 as a probability). With scorer='base' the distributions are those of the frozen base, which reads what the policy
wrote.
"""

from __future__ import annotations

import jax.numpy as jnp

from urlvr_jax.rewards.interface import RewardError, about, needs
from urlvr_jax.types import RewardInputs, length_mask, masked_mean, masked_sum, span_mean

SCORERS = ("policy", "base")


def _by_scorer(name: str):
    """What a reward over statistic `name` needs, by its option `scorer`."""

    def declared(scorer: str) -> tuple[str]:
        if scorer not in SCORERS:
            raise RewardError(f"scorer={scorer!r}: choose one of {list(SCORERS)}")
        return (name if scorer == "policy" else f"base_{name}",)

    return declared


def _scored(inputs: RewardInputs, name: str, scorer: str):
    """float32 `[B, T]` of statistic `name`."""
    return inputs.stats[name] if scorer == "policy" else inputs.derived[f"base_{name}"]


@about(
    family="certainty",
    formula="mean_t KL(U || p_t) + log V",
    norm="mean over tokens",
    range="[log V, inf)",
    papers="Intuitor, RLIF (2505.19590)",
    failure="gradual: certainty goes on rising after accuracy has turned",
    differs="Intuitor's TRL code reads the distributions after each token instead of those that sampled "
    "it, and no temperature; log V is left in by the released codes too, and cancels within a group",
)
@needs(_by_scorer("self_certainty"))
def self_certainty(inputs: RewardInputs, *, scorer="policy"):
    """Mean over tokens of KL(U || p) + log V. q uniform, sigma +1. Intuitor (RLIF)."""
    return inputs.per_group(masked_mean(_scored(inputs, "self_certainty", scorer), inputs.lengths))


@about(
    family="certainty",
    formula="-mean_t H(p_t)",
    norm="mean over tokens",
    range="[-log V, 0]",
    papers="RENT (2505.22660); EM-RL token (2505.15134), there a sum",
    failure="repetition: likely tokens again and again",
    differs="RENT's option base_format gives -7 to a response without an answer; the paper's released code "
    "drops the entropies before this reward reads them, so that all are 0",
)
@needs(_by_scorer("entropy"))
def token_level_entropy(inputs: RewardInputs, *, scorer="policy"):
    """Minus the mean token entropy. q = p_t, sigma -1. RENT, EM-RL (token)."""
    return inputs.per_group(-masked_mean(_scored(inputs, "entropy", scorer), inputs.lengths))


@about(
    family="certainty",
    formula="-sum_t H(p_t)",
    norm="none: shorter is better",
    range="(-inf, 0]",
    papers="EM-RL token (2505.15134)",
    failure="length collapse, before repetition can set in",
    differs="EM-RL, by its paper, has a leave-one-out baseline (advantage.name=rloo) and a KL term (kl.coef)",
)
@needs("entropy")
def token_level_entropy_sum(inputs: RewardInputs):
    """Minus the sum of token entropies: `token_level_entropy` without the division by |y|."""
    return inputs.per_group(-masked_sum(inputs.stats["entropy"], inputs.lengths))


@about(
    family="certainty",
    formula="mean_t log p_t(y_t)",
    norm="mean over tokens",
    range="(-inf, 0]",
    papers="EM-RL sequence (2505.15134), in the form of 2603.08660; cross-model perplexity (2603.25450) with scorer='base'",
    failure="repetition: likely tokens again and again",
    differs="EM-RL itself sums; the paper's released code divides by |y|, as here. Cross-model perplexity has a second model "
    "of another kind, here the frozen base",
)
@needs(_by_scorer("logp"))
def trajectory_level_entropy(inputs: RewardInputs, *, scorer="policy"):
    """Mean log-probability of the sampled tokens. q = the sampled token, sigma -1. EM-RL (sequence)."""
    return inputs.per_group(masked_mean(_scored(inputs, "logp", scorer), inputs.lengths))


@about(
    family="certainty",
    formula="sum_t log p_t(y_t) = log pi(y|x)",
    norm="none: shorter is better",
    range="(-inf, 0]",
    papers="EM-RL sequence (2505.15134)",
    failure="length collapse: an empty answer is the likeliest",
)
@needs("logp")
def trajectory_level_entropy_sum(inputs: RewardInputs):
    """Log-probability of the whole response: `trajectory_level_entropy` without the division by |y|."""
    return inputs.per_group(masked_sum(inputs.stats["logp"], inputs.lengths))


@about(
    family="certainty",
    formula="prod_t p_t(y_t) = pi(y|x)",
    norm="none: shorter is better",
    range="[0, 1]",
    papers="RLSC (2506.06395)",
    failure="length collapse; below e^-103 it is 0 in float32, and far below 1e-6 a group's advantages vanish",
    differs="RLSC, by its paper, adds a constant of about 0.1 to the weight of each response",
)
@needs("logp")
def probability(inputs: RewardInputs):
    """exp(sum of log-probabilities), the product itself. |I| = 1, psi = exp. RLSC.

    Known failure: below e^-103 it is 0 in float32, and far below 1e-6 a group's advantages vanish.
    """
    logp = inputs.stats["logp"]
    mask = length_mask(inputs.lengths, logp.shape[1])
    return inputs.per_group(jnp.exp(jnp.sum(logp, axis=1, where=mask)))


@about(
    family="certainty",
    formula="pi(y|x) / max_g pi(y_g|x)",
    norm="none: shorter is better",
    range="[0, 1], the likeliest of a group 1",
    papers="RLSC (2506.06395) in the log domain",
    failure="length collapse; where one response is far likelier than all others only it is told apart",
    differs="a group's common factor cancels in grpo's division by the standard deviation, so this is "
    "`probability` with advantages as exact arithmetic would have them",
)
@needs("logp")
def probability_relative(inputs: RewardInputs):
    """`probability` over the largest of its group, shifted before exp: it has a signal at any length."""
    logp = inputs.per_group(masked_sum(inputs.stats["logp"], inputs.lengths))
    return jnp.exp(logp - jnp.max(logp, axis=1, keepdims=True))


@about(
    family="certainty",
    formula="exp(mean_t log p_t(y_t)) = pi(y|x)^(1/|y|)",
    norm="geometric mean over tokens",
    range="[0, 1]",
    papers="RLSC (2506.06395) with the 1/|I| of the unified form; inverse perplexity",
    failure="repetition: likely tokens again and again",
)
@needs("logp")
def probability_geometric(inputs: RewardInputs):
    """Geometric mean of the sampled tokens' probabilities. q = the sampled token, sigma -1, psi = exp."""
    return inputs.per_group(jnp.exp(masked_mean(inputs.stats["logp"], inputs.lengths)))


@about(
    family="certainty",
    formula="mean over answer tokens of p_t(1st) - p_t(2nd); 0 without an answer",
    norm="mean over the answer's tokens",
    range="[0, 1]",
    papers="RLSF (2507.21931)",
    failure="the answer grows certain whatever precedes it; an answer in a tie is worth as little as none",
    differs="probabilities, not logits, of the two likeliest tokens, whichever was sampled; the paper does "
    "not say what a response without an answer earns, here the lowest value, 0",
)
@needs("top2_gap", "answer_span")
def probability_disparity(inputs: RewardInputs):
    """Mean gap between the two likeliest tokens' probabilities, over the answer's tokens. RLSF."""
    return inputs.per_group(span_mean(inputs.stats["top2_gap"], inputs.answer_span))


METHODS = (
    self_certainty,
    token_level_entropy,
    token_level_entropy_sum,
    trajectory_level_entropy,
    trajectory_level_entropy_sum,
    probability,
    probability_relative,
    probability_geometric,
    probability_disparity,
)
