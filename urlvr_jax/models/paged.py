"""Attention of decoding to keys and values that lie in pages: one query a row, one kernel a layer.

A row's keys are those of its pages, one page after the other, from its `start` until before its `stop`: its
prompt's pages, which its group shares, and its own. A prompt ends with its last page, so that what it leaves
empty stands before `start`, and nothing is between a prompt and its response.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from urlvr_jax.models.attention import wide
from urlvr_jax.models.rope import Turn, rotate
from urlvr_jax.runtime import sharding


class Pool(NamedTuple):
    """Keys and values of one layer: every page of every row of a device, held once."""

    pages: jax.Array  # [pages, K, 2, page, H], keys then values


class Reach(NamedTuple):
    """Where each row's keys are, and where those of the column at hand go."""

    table: jax.Array  # int32 [S, M], ids of pages
    start: jax.Array  # int32 [S], the first key seen, counted over the pages of the table
    stop: jax.Array  # int32 [S], the key after the last one seen; `start` where a slot has no row
    page: jax.Array  # int32 [S], the page written; out of range: none
    column: jax.Array  # int32 scalar, in that page


def empty_pool(config, pages: int, page: int) -> Pool:
    shape = (pages, config.n_kv_heads, 2, page, config.head_dim)
    return Pool(jnp.zeros(shape, config.compute_dtype))


def takes_kernel(kernel: str, platform: str, width: int) -> bool:
    """Whether heads of this width are attended to by a kernel; elsewhere by plain products."""
    return kernel == "pallas" or (kernel == "auto" and platform != "cpu" and width in (64, 128, 256))


def write_and_attend(q, k, v, turn: Turn, pool: Pool, reach: Reach, kernel: str = "auto"):
    """One column: its keys and values join the pool, then its queries attend -> (`[S, N, H]`, Pool).

    q `[S, N, H]` and k `[S, K, H]`, not yet turned, v `[S, K, H]`. kernel: see `attention.attend_to`; "pallas" is
    interpreted on a CPU. A slot that sees no key gives zero.
    """

    def run(q, k, v, pages, cos, sin, table, start, stop, page, column):
        turned = lambda x: rotate(x[:, None], Turn(cos, sin))[:, 0]
        at = page, slice(None), slice(None), jnp.broadcast_to(column, page.shape)
        pages = pages.at[at].set(jnp.stack([turned(k), v], axis=2), mode="drop", unique_indices=True)
        where = table, start, stop
        if not takes_kernel(kernel, sharding.platform(), q.shape[-1]):
            return attend(turned(q), Pool(pages), *where), pages
        from urlvr_jax.models import paged_kernels  # imported late: Pallas takes a third of a second

        if sharding.platform() == "tpu":
            return paged_kernels.on_a_tpu(turned(q), Pool(pages), *where), pages
        # Queries and keys were cut from one array: put together again they are no copy.
        both = jnp.concatenate([q, k], axis=1)
        return paged_kernels.on_a_gpu(both, q.shape[1], Turn(cos, sin), Pool(pages), *where), pages

    split = (True, True, True, True, *[False] * (2 + len(Reach._fields)))
    run = sharding.over_heads(run, split, (True, True), k.shape[1])
    out, pages = run(q, k, v, pool.pages, *turn, *reach)
    return out, Pool(pages)


def attend(q, pool: Pool, table, start, stop):
    """By plain products, of q `[S, N, H]` -> `[S, N, H]`."""
    count, heads, width = q.shape
    _, kv_heads, _, page, _ = pool.pages.shape
    column = jnp.arange(table.shape[1] * page)
    seen = (column >= start[:, None]) & (column < stop[:, None])
    held = jnp.take(pool.pages, table, axis=0, mode="clip")  # [S, M, K, 2, page, H]
    held = held.transpose(3, 0, 2, 1, 4, 5).reshape(2, count, kv_heads, -1, width)
    keys, values = jnp.where(seen[:, None, :, None], held, 0)  # elsewhere anything may stand, NaN too
    queries = (q * (width**-0.5)).reshape(count, kv_heads, -1, width)
    z = jnp.matmul(wide(queries), wide(keys).swapaxes(2, 3), preferred_element_type=jnp.float32)
    z = jnp.where(seen[:, None, None], z, -jnp.inf)
    top = jnp.max(z, axis=-1, keepdims=True, initial=jnp.finfo(jnp.float32).min)
    p = jnp.exp(z - top)
    p = p / jnp.maximum(jnp.sum(p, axis=-1, keepdims=True), jnp.finfo(jnp.float32).tiny)
    out = jnp.matmul(p.astype(q.dtype), values)
    return out.reshape(count, heads, width)
