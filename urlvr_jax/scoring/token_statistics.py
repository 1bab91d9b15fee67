"""Token statistics: log-probability, entropy, self-certainty and top-2 gap of logits.

Let z be the logits that predict response token y, divided by the sampling temperature, in float32:

    logp            z_y - logsumexp(z)
    entropy         logsumexp(z) - sum_v p_v z_v
    self_certainty  logsumexp(z) - mean_v z_v = KL(U || p) + log V     (Intuitor; paper A.3)
    top2_gap        p_(1) - p_(2)

The same functions serve the sampler, the scorer and the loss, so they cannot disagree.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from urlvr_jax.models.attention import wide
from urlvr_jax.models.products import FEW, turned
from urlvr_jax.types import STATISTICS


def logits_at(hidden, head, temperature, axis: int = -1):
    """float32 logits / temperature from hidden `[N, D]` and head `[V, D]`; the vocabulary on `axis`."""
    exact = dict(precision=jax.lax.Precision.HIGHEST, preferred_element_type=jnp.float32)
    hidden, head = wide(hidden), wide(head.astype(hidden.dtype))
    if axis == 0 or hidden.shape[0] <= FEW:
        z = jax.lax.optimization_barrier(jnp.einsum("vd,nd->vn", head, hidden, **exact))
        z = z if axis == 0 else turned(z)
    else:
        # Without the barrier the reductions below are fused into the product, at half its speed.
        z = jax.lax.optimization_barrier(jnp.einsum("nd,vd->nv", hidden, head, **exact))
    return z / temperature


def statistics_of(z, targets, names=STATISTICS, axis: int = -1):
    """Statistics of float32 logits `[N, V]` for tokens int32 `[N]` -> {name: float32 `[N]`}.

    names: of STATISTICS and of what the gradient needs: `top` max(z), `log_total` logsumexp(z) - max(z), `others`
    1 - p_y. With axis 0 the logits are `[V, N]`.
    """
    across = lambda x: jnp.expand_dims(x, axis)
    top = jnp.max(z, axis=axis)
    e = jnp.exp(z - across(top))
    total = jnp.sum(e, axis=axis)
    log_total = jnp.log(total)  # of the shifted logits
    chosen = jnp.take_along_axis(z, across(targets), axis).squeeze(axis) - top

    def top2_gap():
        # The largest logit more than once: a gap of zero; otherwise to the largest below it.
        below = jnp.max(z, axis=axis, where=z < across(top), initial=-jnp.inf)
        alone = jnp.sum(z == across(top), axis=axis, dtype=jnp.float32) == 1
        return jnp.where(alone, (1 - jnp.exp(below - top)) / total, 0.0)

    known = {
        "logp": lambda: chosen - log_total,
        "entropy": lambda: log_total - jnp.sum(e * (z - across(top)), axis=axis) / total,
        "self_certainty": lambda: log_total - jnp.mean(z - across(top), axis=axis),
        "top2_gap": top2_gap,
        "top": lambda: top,
        "log_total": lambda: log_total,
        # Not 1 - exp(logp): of a nearly certain token that rounds twice more.
        "others": lambda: (total - jnp.exp(chosen)) / total,
    }
    return {name: known[name]() for name in names}
