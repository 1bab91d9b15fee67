"""`paged.attend` as kernels: a page is read where it lies, and only if its row sees a key of it.

On a GPU by Pallas' Triton: a program for each slot, key head and share of the pages, the shares joined by
their sums. On a TPU a step of the grid for each slot and page, all heads at once, the next page fetched
meanwhile, and the newest column written by the same kernel. Elsewhere either is interpreted. The library's kernels for pages begin at each row's first
key, so they would need a copy of a prompt's last page for every row.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from urlvr_jax.models.pool import Pool, Reach
from urlvr_jax.models.rope import Turn
from urlvr_jax.runtime import sharding

LOW = -1e30  # below every score; -inf would make NaN of the difference of two
LEAST = 16  # rows of a GPU's product: the queries that share a key head
PROGRAMS = 512  # of a GPU, about, four for each of its cores: fewer slots and heads share their pages out
TILE = 8  # rows of a TPU's tile; so many queries share a key head, padded
LANES = 128
TAIL = 16  # columns of a page that a TPU writes back for one: the rows of a tile of bfloat16


def _exact(x):
    """The precision of a product of these operands: float32 ones are not to be rounded."""
    return jax.lax.Precision.HIGHEST if x.dtype == jnp.float32 else None


# ---- GPU --------------------------------------------------------------------------------------


def _gpu_kernel(share: int, table, start, stop, q, cos, sin, pool, out, *of_split):
    """Pages `share * i` to `share * (i + 1)` of one slot and key head.

    The result; or with `of_split`, the sums, and into these their greatest score and their total.
    """
    split = pl.program_id(2)
    page, width = pool.shape[2:]
    first, last = start[0], stop[0]
    line = jnp.minimum(jnp.arange(LEAST), out.shape[0] - 1)  # the last query again, where there are fewer
    lower, upper = pl.ds(0, width // 2), pl.ds(width // 2, width // 2)
    of_head = pl.program_id(1) * out.shape[0] + line
    a, b = (q[of_head, half].astype(jnp.float32) for half in (lower, upper))
    turned = a * cos[...] - b * sin[...], b * cos[...] + a * sin[...]
    a, b = (x.astype(q.dtype) * jnp.asarray(width**-0.5, q.dtype) for x in turned)
    product = functools.partial(plgpu.dot, precision=_exact(a))

    def add(j, carry):
        top, total, sums = carry
        at = table[j]
        column = j * page + jnp.arange(page)
        seen = (column >= first) & (column < last)
        s = product(a, pool[at, 0, :, lower], trans_b=True) + product(
            b, pool[at, 0, :, upper], trans_b=True
        )
        s = jnp.where(seen[None], s.astype(jnp.float32), LOW)
        new = jnp.maximum(top, jnp.max(s, axis=1))
        p = jnp.where(seen[None], jnp.exp(s - new[:, None]), 0.0)
        shrink = jnp.exp(top - new)
        v = jnp.where(seen[:, None], pool[at, 1], 0)
        grown = product(p.astype(v.dtype), v)
        return new, total * shrink + jnp.sum(p, axis=1), sums * shrink[:, None] + grown

    begin = jnp.maximum(split * share, jax.lax.div(first, page))
    end = jnp.minimum((split + 1) * share, jax.lax.div(last + page - 1, page))
    empty = (
        jnp.full(LEAST, LOW, jnp.float32),
        jnp.zeros(LEAST, jnp.float32),
        jnp.zeros((LEAST, width), jnp.float32),
    )
    top, total, sums = jax.lax.fori_loop(begin, jnp.where(last > first, end, begin), add, empty)
    if of_split:
        for ref, x in zip((out, *of_split), (sums, top, total), strict=True):
            ref[line] = x
    else:
        out[line] = (sums / _positive(total)[:, None]).astype(out.dtype)


def _positive(total):
    """The divisor of sums; a slot that sees nothing has sums of zero."""
    return jnp.maximum(total, jnp.finfo(jnp.float32).tiny)


def attend_on_a_gpu(queries, heads: int, turn: Turn, pool: Pool, reach: Reach):
    """As `paged.attend`. queries `[S, N and more, H]`, not yet turned, of which the first N = `heads` are meant."""
    table, start, stop, *_ = reach
    count, _, width = queries.shape
    pages, kv_heads, _, page, _ = pool.pages.shape
    rows = heads // kv_heads
    splits = max(1, min(table.shape[1] // 2, PROGRAMS // (count * kv_heads)))
    share = -(-table.shape[1] // splits)
    a_slot = lambda *shape: pl.BlockSpec((None, *shape), lambda s, k, i: (s,) + (0,) * len(shape))
    a_head = pl.BlockSpec((None, None, rows, width), lambda s, k, i: (s, k, 0, 0))
    a_part = lambda *shape: pl.BlockSpec(
        (None, None, None, *shape), lambda s, k, i: (i, s, k) + (0,) * len(shape)
    )
    part = lambda *shape: jax.ShapeDtypeStruct((splits, count, kv_heads, *shape), jnp.float32)
    outputs, specs = [jax.ShapeDtypeStruct((count, kv_heads, rows, width), queries.dtype)], [a_head]
    if splits > 1:
        shapes = (rows, width), (rows,), (rows,)
        outputs, specs = [part(*shape) for shape in shapes], [a_part(*shape) for shape in shapes]
    out, *of_split = pl.pallas_call(
        functools.partial(_gpu_kernel, share),
        grid=(count, kv_heads, splits),
        in_specs=[
            a_slot(table.shape[1]),
            a_slot(1),
            a_slot(1),
            a_slot(*queries.shape[1:]),
            a_slot(width // 2),
            a_slot(width // 2),
            pl.BlockSpec((pages, None, 2, page, width), lambda s, k, i: (0, k, 0, 0, 0)),
        ],
        out_specs=specs,
        out_shape=outputs,
        compiler_params=plgpu.CompilerParams(num_warps=4, num_stages=2),
        interpret=sharding.platform() != "gpu",
        name="paged_attention",
    )(table, start[:, None], stop[:, None], queries, *(x[:, 0, 0] for x in turn), pool.pages)
    if of_split:
        top, total = of_split
        weight = jnp.exp(top - jnp.max(top, axis=0))
        out = jnp.sum(out * weight[..., None], axis=0)
        out = out / _positive(jnp.sum(total * weight, axis=0))[..., None]
    return out.reshape(count, heads, width).astype(queries.dtype)


# ---- TPU --------------------------------------------------------------------------------------


def _tpu_kernel(table, start, stop, own, column, q, new, pool, out, tail, top, total, sums):
    """Grid (slot, page): all heads of one page. The newest key and value are not in the page yet."""
    slot, j = pl.program_id(0), pl.program_id(1)
    kv_heads, _, page, width = pool.shape
    rows = q.shape[0] // kv_heads
    first, last = start[slot], stop[slot]

    @pl.when(j == 0)
    def begin():
        top[...] = jnp.full_like(top, LOW)
        total[...] = jnp.zeros_like(total)
        sums[...] = jnp.zeros_like(sums)
        tail[...] = jnp.zeros_like(tail)

    def filled(k: int, part: int, key):
        """Keys (part 0) or values (1) of a head, with the newest, for places `key`: zero where the slot sees none."""
        seen = (key >= first) & (key < last)
        x = jnp.where(key == last - 1, new[k, pl.ds(part, 1), :], pool[k, part])
        return jnp.where(seen, x, 0)

    @pl.when(((j + 1) * page > first) & (j * page < last))
    def add():
        product = functools.partial(
            jax.lax.dot_general, preferred_element_type=jnp.float32, precision=_exact(q)
        )
        of = lambda k: slice(k * rows, (k + 1) * rows)
        every = range(kv_heads)
        key = j * page + jax.lax.broadcasted_iota(jnp.int32, (page, width), 0)
        s = [product(q[of(k)], filled(k, 0, key), (((1,), (1,)), ((), ()))) for k in every]
        s = jnp.concatenate(s, axis=0)
        place = j * page + jax.lax.broadcasted_iota(jnp.int32, s.shape, 1)
        seen = (place >= first) & (place < last)
        new_top = jnp.maximum(top[:, :1], jnp.max(jnp.where(seen, s, LOW), axis=1, keepdims=True))
        p = jnp.where(seen, jnp.exp(s - new_top), 0.0)
        shrink = jnp.exp(top[:, :1] - new_top)
        grown = [
            product(p[of(k)].astype(pool.dtype), filled(k, 1, key), (((1,), (0,)), ((), ()))) for k in every
        ]
        sums[...] = sums[...] * shrink + jnp.concatenate(grown, axis=0)
        total[...] = jnp.broadcast_to(
            total[:, :1] * shrink + jnp.sum(p, axis=1, keepdims=True), total.shape
        )
        top[...] = jnp.broadcast_to(new_top, top.shape)

    @pl.when((j * page < last) & (last <= (j + 1) * page) & (first < last))
    def write():
        """The columns around the newest go back to where they lie."""
        begin = pl.multiple_of(column[0] - jax.lax.rem(column[0], TAIL), TAIL)
        at = begin + jax.lax.broadcasted_iota(jnp.int32, (TAIL, width), 0)
        for k in range(kv_heads):
            for part in range(2):
                there = pool[k, part, pl.ds(begin, TAIL), :]
                tail[k, part] = jnp.where(at == column[0], new[k, pl.ds(part, 1), :], there)

    @pl.when(j == pl.num_programs(1) - 1)
    def end():
        out[...] = (sums[...] / _positive(total[:, :1])).astype(out.dtype)


def write_and_attend_on_a_tpu(q, new, pool: Pool, reach: Reach):
    """`paged.write`, `paged.attend` of q `[S, N, H]`, turned, in one pass, and in place.

    XLA would lay the pool out otherwise to write one column of it, and copy it there and back.
    """
    from jax.experimental.pallas import tpu as pltpu

    count, heads, width = q.shape
    _, kv_heads, _, page, _ = pool.pages.shape
    queries = (q * (width**-0.5)).reshape(count, kv_heads, -1, width)
    queries = jnp.pad(queries, ((0, 0), (0, 0), (0, -queries.shape[2] % TILE), (0, 0)))
    rows = math.prod(queries.shape[1:3])
    most = reach.table.shape[1]

    def held(s, j, table, start, stop, own, column):
        """The page of step j; before and after those that the slot sees, one that is held anyway."""
        least = jax.lax.div(start[s], page)
        last = jnp.maximum(least, jax.lax.div(stop[s] - 1, page))
        return table[s * most + jnp.clip(j, least, jnp.minimum(last, most - 1))], 0, 0, 0, 0

    def written(s, j, table, start, stop, own, column):
        return own[s], 0, 0, jax.lax.div(column[0], TAIL), 0

    a_slot = pl.BlockSpec((None, rows, width), lambda s, j, *_: (s, 0, 0))
    scalars = (reach.table.reshape(-1), reach.start, reach.stop, reach.page, reach.column.reshape(1))
    out, pages = pl.pallas_call(
        _tpu_kernel,
        out_shape=[
            jax.ShapeDtypeStruct((count, rows, width), q.dtype),
            jax.ShapeDtypeStruct(pool.pages.shape, pool.pages.dtype),
        ],
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=len(scalars),
            grid=(count, most),
            in_specs=[
                a_slot,
                pl.BlockSpec((None, kv_heads, 2, width), lambda s, j, *_: (s, 0, 0, 0)),
                pl.BlockSpec((None, kv_heads, 2, page, width), held),
            ],
            out_specs=[a_slot, pl.BlockSpec((None, kv_heads, 2, TAIL, width), written)],
            scratch_shapes=[
                pltpu.VMEM((rows, LANES), jnp.float32),
                pltpu.VMEM((rows, LANES), jnp.float32),
                pltpu.VMEM((rows, width), jnp.float32),
            ],
        ),
        input_output_aliases={len(scalars) + 2: 1},
        compiler_params=pltpu.CompilerParams(dimension_semantics=("arbitrary", "arbitrary")),
        interpret=sharding.platform() != "tpu",
        name="paged_attention",
    )(*scalars, queries.reshape(count, rows, width), new, pool.pages)
    out = out.reshape(count, kv_heads, -1, width)[:, :, : heads // kv_heads].reshape(q.shape)
    return out, Pool(pages)
