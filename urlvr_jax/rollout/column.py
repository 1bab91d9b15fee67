"""One decoded column of every slot: hidden states to tokens, their statistics, and which rows end."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from urlvr_jax.rollout.draw import choose
from urlvr_jax.scoring.token_statistics import logits_at, statistics_of
from urlvr_jax.types import STATISTICS


def blank(count: int, width: int) -> dict:
    """Outputs of `width` columns of `count` slots: tokens and statistics `[S, w]`, lengths and ends `[S]`."""
    return {
        "tokens": jnp.zeros((count, width), jnp.int32),
        **{name: jnp.zeros((count, width), jnp.float32) for name in STATISTICS},
        "length": jnp.zeros(count, jnp.int32),
        "ended": jnp.zeros(count, bool),
    }


def draw_column(run, head, hidden, slots, age, out, c):
    """Draw the next token of every slot from its hidden state `[S, D]` -> (slots, outputs with column `c`).

    age int32 `[S]`: the token's place in its response.
    """
    z = logits_at(hidden, head, run.temperature if run.temperature > 0 else 1.0)
    if run.temperature > 0:
        uniform = jax.vmap(lambda k, t: jax.random.uniform(jax.random.fold_in(k, t)))(slots.keys, age)
        token = choose(z, uniform, run.top_p, run.top_k)
    else:
        token = jnp.argmax(z, axis=-1).astype(jnp.int32)
    live = ~slots.ended
    column = {"tokens": token, **statistics_of(z, token)}
    stopped = live & jnp.isin(token, run.stop_ids)
    out = {
        name: jax.lax.dynamic_update_slice_in_dim(out[name], jnp.where(live, x, 0)[:, None], c, axis=1)
        for name, x in column.items()
    } | {"length": out["length"] + live.astype(jnp.int32), "ended": out["ended"] | stopped}
    ended = slots.ended | stopped | (age + 1 >= slots.limit)
    return slots._replace(last=token, ended=ended), out
