"""The unified form of the paper's appendix A.3, and the methods as instances of it.

    r(x, y) = psi( sigma / |I| * sum_{i in I} H(q_i, pi_i) ),    H(q, pi) = -sum_v q(v) log pi(v)

What i runs over, and so what pi_i and |I| are:

    tokens    the response's tokens: pi_i = p_i, |I| their number
    answer    the tokens that spell the answer, likewise; without any the sum is 0
    sequence  the response's tokens with |I| = 1: pi is the policy's distribution of whole responses
    vote      the answer as one symbol: |I| = 1. For q = sampled pi is the distribution of the group's
              answers; for q = majority it is the rollout's own answer, with all its mass

The anchor q: `uniform` over the vocabulary, `policy` = p_i itself, `sampled` = all mass on what was
sampled, `majority` = all mass on the majority's answer. psi: `identity`, `exp`, or `indicator` of the
group's maximum. In a vote a rollout without an answer has H = infinity.
"""

from __future__ import annotations

import functools

import jax.numpy as jnp

from urlvr_jax.answers.classes import majority_class
from urlvr_jax.rewards.ensemble import supporters
from urlvr_jax.rewards.interface import RewardError, about, needs
from urlvr_jax.types import RewardInputs, masked_mean, masked_sum, span_mean

ANCHORS = ("uniform", "policy", "sampled", "majority")
GRANULARITY = ("tokens", "answer", "sequence", "vote")
LINKS = ("identity", "exp", "indicator")
# H(q_t, p_t) of a token is this statistic, with this sign.
TOKEN_CROSS_ENTROPY = {"uniform": ("self_certainty", 1), "policy": ("entropy", 1), "sampled": ("logp", -1)}


def _reads(q, over, **_):
    """What `unified` needs for these options."""
    if over == "vote":
        return ("answers",)
    statistic = TOKEN_CROSS_ENTROPY.get(q, ("logp", -1))[0]
    return (statistic, "answer_span") if over == "answer" else (statistic,)


def _check(q, over, sigma, psi) -> None:
    for name, value, allowed in (
        ("q", q, ANCHORS), ("over", over, GRANULARITY), ("sigma", sigma, (-1, 1)), ("psi", psi, LINKS)
    ):  # fmt: skip
        if value not in allowed:
            raise RewardError(f"unified({name}={value!r}): choose one of {list(allowed)}")
    if over == "vote":
        if q not in ("sampled", "majority"):
            raise RewardError(
                f"unified(q={q!r}, over='vote') is the same for a whole group: q is sampled or majority"
            )
        if sigma != -1 or psi == "identity":
            raise RewardError(
                "unified(over='vote'): H is infinite without an answer; use sigma=-1 and psi='exp' or 'indicator'"
            )
    elif q == "majority":
        raise RewardError(
            f"unified(q='majority', over={over!r}): a majority is of answers, use over='vote'"
        )


def _vote_entropy(q: str, answers):
    """H(q, pi) of each rollout's answer as one symbol, float32 `[P, G]`; infinite without an answer."""
    if q == "majority":
        agrees = (answers == majority_class(answers, jnp)[:, None]) & (answers >= 0)
        return jnp.where(agrees, 0.0, jnp.inf)
    return -jnp.log(supporters(answers) / answers.shape[1])


@about(
    family="unified",
    formula="psi(sigma/|I| sum_{i in I} H(q_i, pi_i))",
    norm="by over: tokens and answer mean, sequence sum",
    range="by its options",
    papers="2603.08660, appendix A.3",
    failure="of the method that it is an instance of",
)
@needs(_reads)
def unified(inputs: RewardInputs, *, q="uniform", over="tokens", sigma=1, psi="identity"):
    """psi(sigma / |I| sum_i H(q_i, pi_i)). Options: q, over (the granularity I), sigma, psi; see the module."""
    _check(q, over, sigma, psi)
    if over == "vote":
        entropy = _vote_entropy(q, inputs.answers)
    else:
        name, sign = TOKEN_CROSS_ENTROPY[q]
        values = sign * inputs.stats[name]
        if over == "answer":
            entropy = inputs.per_group(span_mean(values, inputs.answer_span))
        else:
            reduce = masked_mean if over == "tokens" else masked_sum
            entropy = inputs.per_group(reduce(values, inputs.lengths))
    signed = sigma * entropy
    if psi == "exp":
        return jnp.exp(signed)
    if psi == "indicator":
        most = jnp.max(signed, axis=1, keepdims=True)
        return ((signed == most) & jnp.isfinite(signed)).astype(jnp.float32)
    return signed


def _instance(q, over, sigma, psi):
    return functools.partial(unified, q=q, over=over, sigma=sigma, psi=psi)


INSTANCES = {
    "self_certainty": _instance("uniform", "tokens", +1, "identity"),
    "token_level_entropy": _instance("policy", "tokens", -1, "identity"),
    "token_level_entropy_sum": _instance("policy", "sequence", -1, "identity"),
    "trajectory_level_entropy": _instance("sampled", "tokens", -1, "identity"),
    "trajectory_level_entropy_sum": _instance("sampled", "sequence", -1, "identity"),
    "probability": _instance("sampled", "sequence", -1, "exp"),
    "probability_geometric": _instance("sampled", "tokens", -1, "exp"),
    "majority_voting": _instance("majority", "vote", -1, "indicator"),
    "empo": _instance("sampled", "vote", -1, "exp"),
}

METHODS = (unified,)
