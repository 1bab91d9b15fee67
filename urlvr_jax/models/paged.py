"""Attention of decoding to keys and values that lie in pages: one query a row, one kernel a layer.

A row's keys are those of its pages, one page after the other, from its `start` until before its `stop`: its
prompt's pages, which its group shares, and its own. A prompt ends with its last page, so that what it leaves
empty stands before `start`, and nothing is between a prompt and its response.
"""

from __future__ import annotations

import jax.numpy as jnp

from urlvr_jax.models.attention import fits_kernels, wide
from urlvr_jax.models.pool import Pool, Reach
from urlvr_jax.models.rope import Turn, rotate
from urlvr_jax.runtime import sharding


def takes_kernel(kernel: str, platform: str, width: int) -> bool:
    """Whether heads of this width are attended to by a kernel; elsewhere by plain products."""
    return kernel == "pallas" or (kernel == "auto" and fits_kernels(platform, width))


def write_and_attend(q, k, v, turn: Turn, pool: Pool, reach: Reach, kernel: str = "auto"):
    """One column: its keys and values join the pool, then its queries attend -> (`[S, N, H]`, Pool).

    q `[S, N, H]` and k `[S, K, H]`, not yet turned, v `[S, K, H]`. kernel: see `attention.attend_to`; "pallas" is
    interpreted on a CPU. A slot that sees no key gives zero.
    """

    def run(q, k, v, pages, cos, sin, *reach):
        reach = Reach(*reach)
        turned = lambda x: rotate(x[:, None], Turn(cos, sin))[:, 0]
        new = jnp.stack([turned(k), v], axis=2)
        if not takes_kernel(kernel, sharding.platform(), q.shape[-1]):
            pool = write(Pool(pages), new, reach)
            return attend(turned(q), pool, reach), pool.pages
        from urlvr_jax.models import paged_kernels  # imported late: Pallas takes a third of a second

        if sharding.platform() == "tpu":
            out, pool = paged_kernels.write_and_attend_on_a_tpu(turned(q), new, Pool(pages), reach)
            return out, pool.pages
        pool = write(Pool(pages), new, reach)
        # Queries and keys were cut from one array: put together again they are no copy.
        both = jnp.concatenate([q, k], axis=1)
        return paged_kernels.attend_on_a_gpu(both, q.shape[1], Turn(cos, sin), pool, reach), pool.pages

    split = (True, True, True, True, *[False] * (2 + len(Reach._fields)))
    run = sharding.over_heads(run, split, (True, True), k.shape[1])
    out, pages = run(q, k, v, pool.pages, *turn, *reach)
    return out, Pool(pages)


def write(pool: Pool, new, reach: Reach) -> Pool:
    """The pool with keys and values `[S, K, 2, H]` of the column at hand; slots without a row write nothing."""
    nowhere = len(pool.pages) + jnp.arange(len(new))  # out of range, and no two the same
    page = jnp.where(reach.page < len(pool.pages) - 1, reach.page, nowhere)
    at = page, slice(None), slice(None), jnp.broadcast_to(reach.column, page.shape)
    return Pool(pool.pages.at[at].set(new, mode="drop", unique_indices=True))


def attend(q, pool: Pool, reach: Reach):
    """By plain products, of q `[S, N, H]`, turned -> `[S, N, H]`."""
    table, start, stop = reach.table, reach.start, reach.stop
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
