"""One optimizer update: (state, batch) -> (state, metrics), pure, to be jitted by the engine.

The weights of all tokens are fixed over the WHOLE mini-batch before it is cut into micro-batches,
and a micro-batch returns sums. So neither packing nor the number of micro-batches can change the objective.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from urlvr_jax.errors import UserError
from urlvr_jax.learning import objective
from urlvr_jax.learning import optimizer as optimizer_lib
from urlvr_jax.models import lora
from urlvr_jax.runtime import sharding
from urlvr_jax.scoring.packing import Layout
from urlvr_jax.scoring.score import score
from urlvr_jax.types import Batch


class NonFiniteError(UserError):
    """Loss or gradient was not finite in several steps in a row; the message names the saved batch."""


class TrainState(NamedTuple):
    params: dict[str, jax.Array]
    opt_state: optax.OptState  # of what is trained: `lora.split`
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


def batch_loss(graph, params, batch: Batch, weights, layout: Layout, config: UpdateConfig):
    """Weighted loss of one micro-batch, and sums over its tokens. weights `[B, T]`, 0 where no token is."""
    stats = score(
        graph, params, batch.prompt_tokens, batch.prompt_lengths, batch.tokens, config.temperature, layout,
        names=("logp", "entropy"),
    )  # fmt: skip
    width = batch.tokens.shape[1]
    source = jnp.maximum(layout.source, 0)
    mask = (layout.source >= 0) & (source % width < batch.lengths[source // width])
    # Columns without meaning get the value 0, so nothing under the mask can overflow.
    take = lambda x: jnp.where(mask, x.reshape(-1)[source], 0.0)
    logp = jnp.where(mask, stats["logp"], 0.0)
    old = take(batch.old_logp)
    difference = jnp.abs(jax.lax.stop_gradient(logp) - old)
    losses, facts = objective.token_losses(
        logp,
        jax.lax.stop_gradient(logp) if config.on_policy else old,
        take(batch.ref_logp),
        take(batch.advantages),
        clip_low=config.clip_low,
        clip_high=config.clip_high,
        dual_clip=config.dual_clip,
        kl_in_loss=config.kl_in_loss,
    )
    loss = jnp.sum(losses * take(weights))
    per_token = {
        **facts,
        "actor/entropy": jax.lax.stop_gradient(stats["entropy"]),
        "actor/nll": -jax.lax.stop_gradient(logp),
        "actor/sampler_logp_diff": difference,
    }
    sums = {name: jnp.sum(x, where=mask) for name, x in per_token.items()}
    sums["tokens"] = jnp.sum(mask).astype(jnp.float32)
    return loss, (sums, jnp.max(difference))


def gradients(graph, params, batch: Batch, layouts: Layout, count, config: UpdateConfig):
    """Summed gradient over the first `count` micro-batches, the loss, token sums, largest difference.

    layouts: a `Layout` with a leading axis of micro-batches. Gradients, of what is trained, are added up in float32,
    whatever the parameters are.
    """
    trained, frozen = lora.split(params)
    weights = objective.token_weights(
        config.aggregation, batch.lengths, batch.tokens.shape[1], config.norm_length
    )
    loss_of = lambda trained, i: batch_loss(
        graph, {**trained, **frozen}, batch, weights, jax.tree.map(lambda x: x[i], layouts), config
    )
    grad = jax.value_and_grad(loss_of, has_aux=True)

    def one(i):
        value, grads = grad(trained, i)
        return value, sharding.like_weights(optimizer_lib.in_float32(grads))

    if layouts.source.shape[0] == 1:
        (loss, (sums, worst)), grads = one(0)
        return grads, loss, sums, worst
    # Of the loss alone: tracing a deep model's gradient takes several seconds, and once is enough.
    loss, (sums, worst) = jax.eval_shape(lambda i: loss_of(trained, i), 0)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, jnp.float32), (trained, loss, sums, worst))
    zeros = (sharding.like_weights(zeros[0]), *zeros[1:])

    def body(i, carry):
        (loss, (sums, worst)), grads = one(i)
        added = jax.tree.map(jnp.add, carry[:3], (grads, loss, sums))
        return (*added, jnp.maximum(carry[3], worst))

    return jax.lax.fori_loop(0, count, body, zeros)


def update(graph, optimizer, config: UpdateConfig, state: TrainState, batch: Batch, layouts: Layout, count):
    """One update. A non-finite loss or gradient leaves the state as it was and is counted."""
    trained, frozen = lora.split(state.params)
    grads, loss, sums, worst = gradients(graph, state.params, batch, layouts, count, config)
    norm = optax.tree.norm(grads)
    finite = jnp.isfinite(loss) & jnp.isfinite(norm)

    def move(grads, state):
        scale = jnp.minimum(1.0, config.clip_norm / jnp.maximum(norm, 1e-12))
        clipped = jax.tree.map(lambda g: g * scale.astype(g.dtype), grads)
        # optax takes powers of floats by counts, and adds float32 changes to bfloat16 weights.
        with jax.numpy_dtype_promotion("standard"):
            changes, opt_state = optimizer.update(clipped, state.opt_state, state.params)
            params = optax.apply_updates(state.params, changes)
        return TrainState(params, opt_state, state.updates + 1)

    # A branch, not a choice between arrays: for that the moments would be copied.
    state = jax.lax.cond(finite, move, lambda _, state: state, grads, state._replace(params=trained))
    state = state._replace(params={**state.params, **frozen})
    metrics = {
        "actor/loss": loss,
        "actor/grad_norm": norm,
        "actor/skipped_updates": 1.0 - finite.astype(jnp.float32),
        "actor/sampler_logp_diff_max": worst,
    }
    tokens = jnp.maximum(sums["tokens"], 1.0)
    columns = count * (layouts.source.size // len(layouts.source))
    metrics["perf/update_padding"] = 1.0 - sums["tokens"] / jnp.maximum(columns, 1).astype(jnp.float32)
    metrics |= {name: total / tokens for name, total in sums.items() if name != "tokens"}
    return state, metrics


class SkippedUpdates:
    """Counts steps in a row of which no update was applied; `most` of them end a run. updates: of a step."""

    def __init__(self, most: int, updates: int):
        self.most, self.updates = most, updates
        self.in_a_row = 0

    def too_many(self, metrics: dict[str, float]) -> bool:
        """To be asked once a step, with its metrics."""
        skipped = metrics["actor/skipped_updates"] == self.updates
        self.in_a_row = self.in_a_row + 1 if skipped else 0
        return self.in_a_row >= self.most

    def error(self, file) -> NonFiniteError:
        """What to raise; `file` holds the last batch."""
        return NonFiniteError(
            f"loss or gradient was not finite in {self.in_a_row} steps in a row; parameters "
            f"are as before them, the last batch is in {file}"
        )
