"""The objective: clipped policy gradient and KL terms, a token at a time, and how tokens add up.

    log_ratio = log pi(y_t) - log pi_old(y_t), clamped to +-20;  ratio = exp(log_ratio)
    loss_t    = max(-A ratio, -A clip(ratio, 1 - low, 1 + high)); where A < 0 at most -A dual_clip

Off by default: the KL term (the paper trains without one) and any entropy bonus (there is none).
With one mini-batch and one epoch the old policy is the current one: the ratio is 1, clipping never
acts and the gradient is -A grad log pi.

KL estimators of d = log pi - log ref on sampled tokens, and what their gradient is in the loss:

    k1  d              no pull at all (expected gradient 0): refused in the loss, right in the reward: `kl_penalty` in advantages.py
    k2  d^2 / 2        the gradient of KL(pi || ref)
    k3  e^-d + d - 1   the gradient of KL(ref || pi) on policy; verl's `low_var_kl`, the paper's choice
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from urlvr_jax.types import length_mask

LOG_RATIO_CLAMP = 20.0
KL_CLAMP = 10.0

KL_ESTIMATORS = {
    "k1": lambda d: d,
    "k2": lambda d: 0.5 * d * d,
    # verl clamps the exponent and the value; the gradient is zero outside.
    "k3": lambda d: jnp.clip(
        jnp.exp(jnp.clip(-d, -LOG_RATIO_CLAMP, LOG_RATIO_CLAMP)) + d - 1, -KL_CLAMP, KL_CLAMP
    ),
}


def can_move(c, advantages) -> bool:
    """Whether an update with these advantages, an array of the host, can move the policy: else its gradient is exactly 0."""
    kl_in_loss = c.kl.coef > 0 and c.kl.place == "loss"
    return kl_in_loss or c.optim.weight_decay > 0 or bool(advantages.any())


AGGREGATIONS = ("token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm")


def token_weights(name: str, lengths, width: int, norm_length: int):
    """Weights `[B, T]` such that the loss is sum(weights * loss_t). lengths int `[B]`, of ALL rows.

    token-mean               every token of the batch weighs the same (global, not per micro-batch)
    seq-mean-token-mean      every row weighs the same, its tokens share that weight
    seq-mean-token-sum       sum over tokens, mean over rows
    seq-mean-token-sum-norm  the same divided by the constant `norm_length` (Dr. GRPO, as in TRL; verl's, not
                             divided by rows, is so many times larger)
    Rows are the non-empty ones.
    """
    mask = length_mask(lengths, width).astype(jnp.float32)
    rows = jnp.maximum(jnp.sum(lengths > 0), 1).astype(jnp.float32)
    tokens = jnp.maximum(lengths, 1).astype(jnp.float32)[:, None]
    return {
        "token-mean": lambda: mask / jnp.maximum(jnp.sum(mask), 1.0),
        "seq-mean-token-mean": lambda: mask / tokens / rows,
        "seq-mean-token-sum": lambda: mask / rows,
        "seq-mean-token-sum-norm": lambda: mask / rows / norm_length,
    }[name]()


def token_losses(logp, old_logp, ref_logp, advantages, *, clip_low, clip_high, dual_clip, kl_in_loss):
    """Loss of each token `[B, T]` and facts about it, each `[B, T]`.

    `kl_in_loss` is None or (estimator, coefficient).
    """
    log_ratio = jnp.clip(logp - old_logp, -LOG_RATIO_CLAMP, LOG_RATIO_CLAMP)
    ratio = jnp.exp(log_ratio)
    plain = -advantages * ratio
    clipped = -advantages * jnp.clip(ratio, 1 - clip_low, 1 + clip_high)
    loss = jnp.maximum(plain, clipped)
    lower = (advantages < 0) & (loss > -advantages * dual_clip)
    loss = jnp.where(lower, -advantages * dual_clip, loss)
    facts = {
        "actor/pg_clipfrac": (clipped > plain).astype(jnp.float32),
        "actor/pg_clipfrac_lower": lower.astype(jnp.float32),
        "actor/ppo_kl": -log_ratio,
    }
    if kl_in_loss is not None:
        estimator, coefficient = kl_in_loss
        kl = KL_ESTIMATORS[estimator](logp - ref_logp)
        facts["actor/kl"] = kl
        loss = loss + coefficient * kl
    return loss, jax.lax.stop_gradient(facts)
