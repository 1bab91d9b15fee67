"""Advantages: rewards `[P, G]` -> token advantages `[B, T]`, in float32.

`r` is the reward of a rollout, `k_t` its KL penalty at token t (zeros unless the KL term sits in
the reward), `s = r + sum_t k_t`. A group whose rewards are equal has advantage exactly 0 and stays
in every denominator.

    grpo          (s - mean) / (std + 1e-6), Bessel std          DeepSeekMath; verl's default
    dr_grpo       s - mean                                       Liu et al. 2025
    rloo          s - mean of the other rollouts                 Ahmadian et al. 2024
    reinforce_pp  r + sum_{u >= t} k_u, whitened over all tokens Hu 2025
    none          r itself: supervised mode

Tokens come from the sampler, whose products may round otherwise than the trainer's. `loss.sampler_correction` multiplies
advantages, and so the policy's losses, by truncated importance weights (Yao et al. 2025), d_t = log pi_t - log sampler_t:

    token         min(exp(d_t), cap)
    sequence      min(exp(sum_t d_t), cap), one a rollout
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from urlvr_jax.learning.objective import KL_ESTIMATORS
from urlvr_jax.types import deviations, grouped, length_mask, standardised

WHITEN_EPSILON = 1e-8


def grpo(scores):
    return standardised(scores, axis=1)


def dr_grpo(scores):
    return deviations(scores, axis=1)


def rloo(scores):
    group = scores.shape[1]
    return dr_grpo(scores) * (group / (group - 1))


def none(scores):
    return scores


GROUP_ESTIMATORS = {"grpo": grpo, "dr_grpo": dr_grpo, "rloo": rloo, "none": none}
ESTIMATORS = (*GROUP_ESTIMATORS, "reinforce_pp")


@functools.partial(jax.jit, static_argnums=0)
def token_advantages(name: str, rewards, kl_penalty, lengths):
    """rewards `[P, G]`, kl_penalty `[B, T]` (<= 0 pulls back), lengths int `[B]` -> `[B, T]`."""
    group = rewards.shape[1]
    mask = length_mask(lengths, kl_penalty.shape[1])
    penalty = jnp.where(mask, kl_penalty, 0.0)
    if name == "reinforce_pp":
        to_go = jnp.flip(jnp.cumsum(jnp.flip(penalty, 1), axis=1), 1)
        # Of rewards near 22 a small penalty would be rounded away; the mean takes the shift out again.
        returns = (rewards - rewards[:1, :1]).reshape(-1, 1) + to_go
        count = jnp.sum(mask).astype(jnp.float32)
        mean = jnp.sum(returns, where=mask) / count
        variance = jnp.sum((returns - mean) ** 2, where=mask) / jnp.maximum(count - 1, 1)
        return jnp.where(mask, (returns - mean) / jnp.sqrt(variance + WHITEN_EPSILON), 0.0)
    shifted = rewards if name == "none" else rewards - rewards[:, :1]  # as above
    scores = shifted + grouped(jnp.sum(penalty, axis=1), group)
    return jnp.where(mask, GROUP_ESTIMATORS[name](scores).reshape(-1, 1), 0.0)


def kl_penalty(c, logp, ref_logp, mask) -> np.ndarray | None:
    """`kl.place = reward`: minus coefficient times the estimator, `[B, T]`, zero past each row's end.

    None where no KL term sits in the reward. logp, ref_logp float32 `[B, T]`, mask bool `[B, T]`.
    """
    if not c.kl.coef or c.kl.place != "reward":
        return None
    distance = KL_ESTIMATORS[c.kl.estimator](jnp.asarray(logp - ref_logp))
    return np.where(mask, -c.kl.coef * np.asarray(distance), np.float32(0)).astype(np.float32)


def sampler_weights(c, logp, sampler_logp, mask) -> np.ndarray | None:
    """The weights of `loss.sampler_correction`, float32 `[B, T]`, 1 past each row's end; None where it is off.

    logp, of the trainer, and sampler_logp float32 `[B, T]`, mask bool `[B, T]`.
    """
    if c.loss.sampler_correction == "none":
        return None
    distance = np.where(mask, logp - sampler_logp, np.float32(0))
    if c.loss.sampler_correction == "sequence":
        distance = np.broadcast_to(distance.sum(axis=1, keepdims=True), mask.shape)
    bounded = np.minimum(distance, np.float32(np.log(c.loss.sampler_cap)))  # before exp: it cannot overflow
    return np.where(mask, np.exp(bounded), np.float32(1)).astype(np.float32)


def step_advantages(c, rewards, penalty, rollouts, weights=None) -> np.ndarray:
    """A step's token advantages float32 `[B, T]`; zero for rollouts that vote but are not trained.

    rewards `[P, G]`, penalty `[B, T]` or None. The baseline of a group is over its trained rollouts. weights: see
    `sampler_weights`.
    """
    shape, group = rollouts.tokens.shape, c.rollout.group
    kept = c.rollout.train_group or group
    penalty = np.zeros(shape, np.float32) if penalty is None else penalty
    trained = lambda x: grouped(x, group)[:, :kept].reshape(-1, *x.shape[1:])
    values = token_advantages(
        c.advantage.name, rewards[:, :kept], trained(penalty), trained(rollouts.lengths)
    )
    out = np.zeros((len(rewards), group, shape[1]), np.float32)
    out[:, :kept] = np.asarray(values).reshape(len(rewards), kept, -1)
    return out.reshape(shape) if weights is None else out.reshape(shape) * weights
