"""Rewards: pure functions of `RewardInputs` -> float32 `[P, G]`. No label is within their reach.

Unified form (paper, appendix A.3): r = psi(sigma / |I| * sum_{i in I} H(q_i, pi_i)), H the cross
entropy, q the anchor distribution. To add one: write a function here or in a file of your own
(`--config.reward.fn=my_reward.py:my_reward`), say which token statistics it `@needs`, done.
Verifiers have a second argument, `Reference`; only they receive it.
"""

from __future__ import annotations

import importlib.util
import inspect
import pathlib

import jax
import jax.numpy as jnp

from urlvr_jax.types import STATISTICS, Reference, RewardInputs, length_mask, masked_mean


class RewardError(ValueError):
    """A reward that cannot be found, or that does not keep to its interface."""


def needs(*statistics: str):
    """Declare the token statistics a reward reads; the engine hands over just those."""
    unknown = sorted(set(statistics) - set(STATISTICS))
    if unknown:
        raise ValueError(f"unknown statistic {unknown}; available: {list(STATISTICS)}")

    def declare(fn):
        fn.needs = statistics
        return fn

    return declare


# ---- certainty ------------------------------------------------------------------------------


@needs("self_certainty")
def self_certainty(inputs: RewardInputs):
    """Mean over tokens of KL(U || p) + log V. q uniform, sigma +1. Intuitor (RLIF)."""
    return inputs.per_group(masked_mean(inputs.stats["self_certainty"], inputs.lengths))


@needs("entropy")
def token_level_entropy(inputs: RewardInputs):
    """Minus the mean token entropy. q = p_t, sigma -1. RENT, EM-RL (token)."""
    return inputs.per_group(-masked_mean(inputs.stats["entropy"], inputs.lengths))


@needs("logp")
def trajectory_level_entropy(inputs: RewardInputs):
    """Mean log-probability of the sampled tokens. q = the sampled token, sigma -1. EM-RL (sequence)."""
    return inputs.per_group(masked_mean(inputs.stats["logp"], inputs.lengths))


@needs("logp")
def probability(inputs: RewardInputs):
    """exp(sum of log-probabilities), the product itself. |I| = 1, psi = exp. RLSC.

    Known failure: below e^-103 it is 0 in float32, and far below 1e-6 a group's advantages vanish.
    """
    logp = inputs.stats["logp"]
    mask = length_mask(inputs.lengths, logp.shape[1])
    return inputs.per_group(jnp.exp(jnp.sum(logp, axis=1, where=mask)))


# ---- ensemble -------------------------------------------------------------------------------


def majority_answer(answers):
    """Most frequent class of each group int32 `[P]`; -1 where no rollout answered.

    answers int32 `[P, G]`, -1 none. Ties go to the smallest id, which is `answers.tie_order`.
    """
    group = answers.shape[1]
    votes = jnp.sum(answers[:, :, None] == jnp.arange(group), axis=1)  # [P, classes]
    return jnp.where(jnp.any(votes > 0, axis=1), jnp.argmax(votes, axis=1), -1)


def majority_voting(inputs: RewardInputs):
    """1 where the answer is the group's majority answer. TTRL, SRT. No answer never earns."""
    label = majority_answer(inputs.answers)[:, None]
    return ((inputs.answers == label) & (inputs.answers >= 0)).astype(jnp.float32)


# ---- controls -------------------------------------------------------------------------------


def ground_truth(inputs: RewardInputs, reference: Reference):
    """1 where the answer is the gold answer: the upper bound, not an unsupervised reward."""
    return (inputs.answers == reference.answers[:, None]).astype(jnp.float32)


def random(inputs: RewardInputs):
    """A fair coin: no signal."""
    return jax.random.bernoulli(inputs.key, 0.5, inputs.answers.shape).astype(jnp.float32)


def format(inputs: RewardInputs):
    """1 where any answer can be extracted, whatever it is."""
    return (inputs.answers >= 0).astype(jnp.float32)


def length(inputs: RewardInputs):
    """Response length over the longest allowed: longer is better, whatever it says."""
    return inputs.per_group(inputs.lengths / inputs.max_new_tokens).astype(jnp.float32)


def constant(inputs: RewardInputs):
    """1 for every row: supervised mode, where the corpus wrote the responses."""
    return jnp.ones(inputs.answers.shape, jnp.float32)


REWARDS = {
    fn.__name__: fn
    for fn in (
        self_certainty,
        token_level_entropy,
        trajectory_level_entropy,
        probability,
        majority_voting,
        ground_truth,
        random,
        format,
        length,
    )
}


def load(name: str, fn: str):
    """The configured reward: `fn` ("file.py:function") if given, else REWARDS[name]."""
    if not fn:
        if name not in REWARDS:
            raise RewardError(f"reward.name = {name!r} is unknown; available: {sorted(REWARDS)}")
        return REWARDS[name]
    path, _, attribute = fn.rpartition(":")
    if not path or not pathlib.Path(path).is_file():
        raise RewardError(f"reward.fn = {fn!r}: give an existing file and a function, 'my.py:my_reward'")
    spec = importlib.util.spec_from_file_location(pathlib.Path(path).stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not callable(getattr(module, attribute, None)):
        functions = [n for n, f in inspect.getmembers(module, inspect.isfunction)]
        raise RewardError(f"reward.fn = {fn!r}: {path} has no function {attribute!r}; it has {functions}")
    return getattr(module, attribute)


def is_verifier(fn) -> bool:
    """Whether a reward asks for the gold answers, by a second parameter named `reference`."""
    return "reference" in inspect.signature(fn).parameters


def compute(fn, inputs: RewardInputs, reference: Reference | None):
    """Call a reward; RewardError unless it returns `[P, G]`."""
    out = fn(inputs, reference) if is_verifier(fn) else fn(inputs)
    out = jnp.asarray(out, jnp.float32)
    if out.shape != inputs.answers.shape:
        raise RewardError(
            f"reward {fn.__name__!r} returned shape {out.shape}, expected [P, G] = "
            f"{inputs.answers.shape}; `inputs.per_group(x)` turns [B] into [P, G]"
        )
    return out
