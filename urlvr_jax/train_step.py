"""One optimizer update: (state, batch) -> (state, metrics), pure, to be jitted by the engine.

The weights of all tokens are fixed over the WHOLE mini-batch before it is cut into micro-batches,
and a micro-batch returns sums. So the number of micro-batches cannot change the objective.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from urlvr_jax import objective
from urlvr_jax.score import score
from urlvr_jax.types import Batch, length_mask


class NonFiniteError(RuntimeError):
    """Loss or gradient was not finite in several steps in a row; the message names the saved batch."""


class TrainState(NamedTuple):
    params: dict[str, jax.Array]
    opt_state: optax.OptState
    updates: jax.Array  # int32, optimizer updates applied


@dataclasses.dataclass(frozen=True)
class UpdateConfig:
    """The static numbers of an update, taken from the experiment's configuration."""

    temperature: float
    clip_low: float
    clip_high: float
    dual_clip: float
    aggregation: str
    norm_length: int
    kl_in_loss: tuple[str, float] | None
    on_policy: bool  # one mini-batch, one epoch: the old policy is the current one
    clip_norm: float
    micro_rows: int  # rows whose activations exist at once


def micro_split(batch: Batch, weights, micro_rows: int):
    """Cut (batch, weights `[B, T]`) into micro-batches on a new leading axis; prompts keep their rows.

    `micro_rows` is a multiple of G (whole groups) or divides G (a prompt then occurs repeatedly).
    Micro-batch i of n takes prompts i, i + n, ...: so each holds rows of every device of the mesh.
    """
    prompts, rows = batch.prompt_tokens.shape[0], batch.tokens.shape[0]
    group, count = rows // prompts, rows // micro_rows

    def split(name, x):
        if micro_rows < group:
            if name.startswith("prompt_"):
                x = jnp.repeat(x, group // micro_rows, axis=0)
            return x.reshape(count, -1, *x.shape[1:])
        of_prompt = x.shape[0] // prompts  # rows of x a prompt has: 1 or G
        x = x.reshape(-1, count, of_prompt, *x.shape[1:]).swapaxes(0, 1)
        return x.reshape(count, -1, *x.shape[3:])

    fields = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
    return Batch(**{name: split(name, x) for name, x in fields.items()}), split("weights", weights)


def batch_loss(graph, params, batch: Batch, weights, config: UpdateConfig):
    """Weighted loss of one micro-batch, and sums over its tokens. weights `[B, T]`."""
    stats = score(
        graph, params, batch.prompt_tokens, batch.prompt_lengths, batch.tokens, config.temperature
    )
    mask = length_mask(batch.lengths, batch.tokens.shape[1])
    # Columns without meaning get the old value, so nothing under the mask can overflow.
    logp = jnp.where(mask, stats["logp"], 0.0)
    old = jnp.where(mask, batch.old_logp, 0.0)
    difference = jnp.abs(jax.lax.stop_gradient(logp) - old)
    losses, facts = objective.token_losses(
        logp,
        jax.lax.stop_gradient(logp) if config.on_policy else old,
        jnp.where(mask, batch.ref_logp, 0.0),
        batch.advantages,
        clip_low=config.clip_low,
        clip_high=config.clip_high,
        dual_clip=config.dual_clip,
        kl_in_loss=config.kl_in_loss,
    )
    loss = jnp.sum(losses * weights)
    per_token = {
        **facts,
        "actor/entropy": jax.lax.stop_gradient(stats["entropy"]),
        "actor/nll": -jax.lax.stop_gradient(logp),
        "actor/sampler_logp_diff": difference,
    }
    sums = {name: jnp.sum(x, where=mask) for name, x in per_token.items()}
    sums["tokens"] = jnp.sum(mask).astype(jnp.float32)
    return loss, (sums, jnp.max(difference))


def gradients(graph, params, batch: Batch, config: UpdateConfig):
    """Summed gradient over the micro-batches, the loss, token sums, largest sampler difference."""
    weights = objective.token_weights(
        config.aggregation, batch.lengths, batch.tokens.shape[1], config.norm_length
    )
    grad = jax.value_and_grad(batch_loss, argnums=1, has_aux=True)
    if config.micro_rows == batch.tokens.shape[0]:
        (loss, (sums, worst)), grads = grad(graph, params, batch, weights, config)
        return grads, loss, sums, worst
    parts = micro_split(batch, weights, config.micro_rows)
    one = lambda args: grad(graph, params, *args, config)
    (loss, (sums, worst)), grads = jax.eval_shape(one, jax.tree.map(lambda x: x[0], parts))
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), (grads, loss, sums, worst))

    def body(carry, args):
        (loss, (sums, worst)), grads = one(args)
        added = jax.tree.map(jnp.add, carry[:3], (grads, loss, sums))
        return (*added, jnp.maximum(carry[3], worst)), None

    return jax.lax.scan(body, zeros, parts)[0]


def update(graph, optimizer, config: UpdateConfig, state: TrainState, batch: Batch):
    """One update. A non-finite loss or gradient leaves the state as it was and is counted."""
    grads, loss, sums, worst = gradients(graph, state.params, batch, config)
    norm = optax.tree.norm(grads)
    finite = jnp.isfinite(loss) & jnp.isfinite(norm)
    scale = jnp.minimum(1.0, config.clip_norm / jnp.maximum(norm, 1e-12))
    clipped = jax.tree.map(lambda g: g * scale.astype(g.dtype), grads)
    changes, opt_state = optimizer.update(clipped, state.opt_state, state.params)
    moved = TrainState(optax.apply_updates(state.params, changes), opt_state, state.updates + 1)
    state = jax.tree.map(lambda new, old: jnp.where(finite, new, old), moved, state)
    metrics = {
        "actor/loss": loss,
        "actor/grad_norm": norm,
        "actor/skipped_updates": 1.0 - finite.astype(jnp.float32),
        "actor/sampler_logp_diff_max": worst,
    }
    tokens = jnp.maximum(sums["tokens"], 1.0)
    metrics |= {name: total / tokens for name, total in sums.items() if name != "tokens"}
    return state, metrics
