"""Attention of long rows on a TPU: Pallas kernels that pass over the blocks no query sees.

What a query sees is a matter of ids: `flash_parts`. The library's splash attention knows one id a query
where a packed row needs two (its prompt's and its response's), and its blocks follow static masks only.

Scores are held transposed, `[keys, queries]`: what belongs to a query (maximum, sum, id) is then a row of
lanes. Of the forward pass only the output and the logarithm of each query's sum are kept (FlashAttention 2,
arXiv 2307.08691).
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jax.lax import div, rem  # of what is never negative; // would ask which TPU this is

from urlvr_jax.models.flash_parts import NT, TN, Part, blocks_that_meet, whole_blocks
from urlvr_jax.runtime import sharding

BLOCK = 512  # queries and keys at once; a shorter row is one block of a multiple of LANES
LANES = 128
LOW = -1e30  # below every score; -inf would make NaN of the difference of two


def attend(q, parts, causal: tuple[bool, ...]):
    """Softmax attention over all parts together, like `attention.attend` -> `[B, N, C, H]`.

    q `[B, N, C, H]`, already divided by sqrt(H); head n reads key head n * K // N. A query that sees no
    key gives zero. Scores and sums are float32, products take their operands as they come.
    """
    columns = q.shape[2]
    q, parts = whole_blocks(q, parts, _block)
    return _attend(q, parts, causal)[:, :, :columns]


def _block(size: int) -> int:
    return min(BLOCK, -(-size // LANES) * LANES)


def _meet(part: Part, causal: bool):
    return blocks_that_meet(part, causal, _block(part.query_ids.shape[1]), _block(part.key_ids.shape[1]))


def _fetch(meet):
    """bool `[..., steps]` -> int32, flat: the block to hold at each step.

    At a step without work it is one that is or will be held anyway, so nothing is read. Without any work
    block 0 is computed, all masked.
    """
    steps = jnp.arange(meet.shape[-1])
    held = jax.lax.cummax(jnp.where(meet, steps, -1), axis=meet.ndim - 1)
    first = jnp.argmax(meet, axis=-1, keepdims=True)
    return jnp.where(held < 0, first, held).astype(jnp.int32).reshape(-1)


def _scores(q, part: Part, causal: bool, query_block, key_block):
    """Scores float32 `[keys, queries]` of one block, and which of them count."""
    s = jax.lax.dot_general(part.keys[...], q, NT, preferred_element_type=jnp.float32)
    visible = part.key_ids[...] == part.query_ids[...]
    if causal:
        key = key_block * s.shape[0] + jax.lax.broadcasted_iota(jnp.int32, s.shape, 0)
        query = query_block * s.shape[1] + jax.lax.broadcasted_iota(jnp.int32, s.shape, 1)
        visible &= key <= query
    return s, visible


def _score_gradient(q, do, log_total, delta, part: Part, causal, query_block, key_block):
    """Weights and gradient of the scores `[keys, queries]`, of one block, for the backward pass."""
    s, visible = _scores(q, part, causal, query_block, key_block)
    p = jnp.where(visible, jnp.exp(s - log_total), 0.0)
    dp = jax.lax.dot_general(part.values[...], do, NT, preferred_element_type=jnp.float32)
    return p, p * (dp - delta)


# ---- one block of queries against all keys: the output, and the gradient of the queries ---------


def _forward_kernel(steps, causal, *refs):
    tables = refs[: len(steps)]
    (q, *refs) = refs[len(steps) :]
    parts = _parts(refs, len(steps))
    (out, log_total, top, total, sums) = refs[4 * len(steps) :]

    def start():
        top[...] = jnp.full_like(top, LOW)
        total[...] = jnp.zeros_like(total)
        sums[...] = jnp.zeros_like(sums)

    def add(part, causal, query_block, key_block):
        s, visible = _scores(q[...], part, causal, query_block, key_block)
        s = jnp.where(visible, s, LOW)
        new = jnp.maximum(top[...], jnp.max(s, axis=0, keepdims=True))
        p = jnp.where(visible, jnp.exp(s - new), 0.0)
        shrink = jnp.exp(top[...] - new)
        values = part.values[...]
        grown = jax.lax.dot_general(values, p.astype(values.dtype), TN, preferred_element_type=jnp.float32)
        top[...] = new
        total[...] = total[...] * shrink + jnp.sum(p, axis=0, keepdims=True)
        sums[...] = sums[...] * shrink + grown

    def end():
        some = jnp.where(total[...] == 0, 1.0, total[...])
        out[...] = (sums[...] / some).T.astype(out.dtype)
        log_total[...] = jnp.where(total[...] == 0, 0.0, top[...] + jnp.log(some))

    _walk(steps, causal, tables, parts, start, add, end)


def _queries_kernel(steps, causal, *refs):
    tables = refs[: len(steps)]
    (q, do, log_total, delta, *refs) = refs[len(steps) :]
    parts = _parts(refs, len(steps))
    (dq, sums) = refs[4 * len(steps) :]

    def start():
        sums[...] = jnp.zeros_like(sums)

    def add(part, *where):
        ds = _score_gradient(q[...], do[...], log_total[...], delta[...], part, *where)[1]
        keys = part.keys[...]
        sums[...] += jax.lax.dot_general(
            keys, ds.astype(keys.dtype), TN, preferred_element_type=jnp.float32
        )

    def end():
        dq[...] = sums[...].T.astype(dq.dtype)

    _walk(steps, causal, tables, parts, start, add, end)


def _parts(refs, count: int) -> list[Part]:
    return [Part(*refs[4 * i : 4 * i + 4]) for i in range(count)]


def _walk(steps, causal, tables, parts, start, add, end):
    """Grid (row, head, query block, step): the key blocks of one part after those of another."""
    row, query_block, step = pl.program_id(0), pl.program_id(2), pl.program_id(3)
    line = row * pl.num_programs(2) + query_block
    pl.when(step == 0)(start)
    first = 0
    for count, is_causal, table, part in zip(steps, causal, tables, parts, strict=True):
        key_block = step - first
        held = table[line * count + jnp.clip(key_block, 0, count - 1)]
        work = functools.partial(add, part, is_causal, query_block, key_block)
        pl.when(held == key_block)(work)
        first += count
    pl.when(step == first - 1)(end)


def _over_keys(kernel, q, parts, causal, by_query, outputs, scratch):
    """Run a kernel of a block of queries. by_query, outputs: like q, or `[B, N, 1, C]`."""
    rows, heads, columns, width = q.shape
    block = _block(columns)
    line = columns // block
    steps = tuple(p.keys.shape[2] // _block(p.keys.shape[2]) for p in parts)
    tables = [_fetch(_meet(p, c)) for p, c in zip(parts, causal, strict=True)]
    of_query = pl.BlockSpec((None, None, block, width), lambda b, n, i, s, *_: (b, n, i, 0))
    a_number = pl.BlockSpec((None, None, 1, block), lambda b, n, i, s, *_: (b, n, 0, i))
    like = lambda x: a_number if x.shape[2] == 1 else of_query
    inputs = [q, *by_query]
    specs = [of_query, *map(like, by_query)]
    first = 0
    for at, (part, count) in enumerate(zip(parts, steps, strict=True)):
        units, kv_heads, size, _ = part.keys.shape

        def held(b, i, s, tables, at=at, count=count, first=first):
            return tables[at][(b * line + i) * count + jnp.clip(s - first, 0, count - 1)]

        def key(b, n, i, s, *tables, held=held, units=units, kv_heads=kv_heads):
            return div(b, rows // units), div(n, heads // kv_heads), held(b, i, s, tables), 0

        def key_id(b, n, i, s, *tables, held=held, units=units):
            return div(b, rows // units), held(b, i, s, tables), 0

        of_key = pl.BlockSpec((None, None, _block(size), width), key)
        of_id = pl.BlockSpec((None, _block(size), 1), key_id)
        query_id = pl.BlockSpec((None, 1, block), lambda b, n, i, s, *_: (b, 0, i))
        inputs += [part.keys, part.values, part.key_ids[..., None], part.query_ids[:, None]]
        specs += [of_key, of_key, of_id, query_id]
        first += count
    grid = (rows, heads, line, sum(steps))
    body = functools.partial(kernel, steps, causal)
    return _run(body, grid, tables, inputs, specs, outputs, list(map(like, outputs)), scratch)


# ---- one block of keys against all queries of the rows that share it: their gradients -----------


def _keys_kernel(causal, order, *refs):
    table, q, do, log_total, delta, *refs = refs
    part = Part(*refs[:4])
    (dk, dv, dk_sum, dv_sum) = refs[4:]
    key_block, step = pl.program_id(2), pl.program_id(3)

    @pl.when(step == 0)
    def start():
        dk_sum[...] = jnp.zeros_like(dk_sum)
        dv_sum[...] = jnp.zeros_like(dv_sum)

    place, held, _, _, query_block = order(pl.program_id(0), pl.program_id(1), key_block, step, table)

    @pl.when(held == place)
    def add():
        p, ds = _score_gradient(
            q[...], do[...], log_total[...], delta[...], part, causal, query_block, key_block
        )
        product = functools.partial(jnp.dot, preferred_element_type=jnp.float32)
        dv_sum[...] += product(p.astype(do.dtype), do[...])
        dk_sum[...] += product(ds.astype(q.dtype), q[...])

    @pl.when(step == pl.num_programs(3) - 1)
    def end():
        dk[...] = dk_sum[...].astype(dk.dtype)
        dv[...] = dv_sum[...].astype(dv.dtype)


def _over_queries(q, do, log_total, delta, part: Part, causal: bool):
    """Gradients of a part's keys and values."""
    (rows, heads, columns, width) = q.shape
    (units, kv_heads, size, _) = part.keys.shape
    block = _block(columns)
    key_block = _block(part.keys.shape[2])
    line = columns // block
    blocks = size // key_block
    shared = rows // units
    repeat = heads // kv_heads
    # [B, query blocks, key blocks] -> [U, key blocks, rows that share it x query blocks]
    meet = _meet(part, causal).reshape(units, shared * line, blocks).swapaxes(1, 2)

    def order(u, k, key_block, step, table):
        """Step of the query head, row and block -> (place, place held, row, head, query block)."""
        head, place = div(step, shared * line), rem(step, shared * line)
        held = table[(u * blocks + key_block) * (shared * line) + place]
        return place, held, u * shared + div(held, line), k * repeat + head, rem(held, line)

    def query(u, k, j, s, table):
        return *order(u, k, j, s, table)[2:], 0

    def number(u, k, j, s, table):
        _, _, row, head, query_block = order(u, k, j, s, table)
        return row, head, 0, query_block

    def query_id(u, k, j, s, table):
        _, _, row, _, query_block = order(u, k, j, s, table)
        return row, 0, query_block

    of_query = pl.BlockSpec((None, None, block, width), query)
    a_number = pl.BlockSpec((None, None, 1, block), number)
    of_key = pl.BlockSpec((None, None, key_block, width), lambda u, k, j, s, _: (u, k, j, 0))
    of_id = pl.BlockSpec((None, key_block, 1), lambda u, k, j, s, _: (u, j, 0))
    specs = [of_query, of_query, a_number, a_number, of_key, of_key, of_id]
    inputs = [q, do, log_total, delta, part.keys, part.values, part.key_ids[..., None]]
    return _run(
        functools.partial(_keys_kernel, causal, order),
        (units, kv_heads, blocks, repeat * shared * line),
        [_fetch(meet)],
        [*inputs, part.query_ids[:, None]],
        [*specs, pl.BlockSpec((None, 1, block), query_id)],
        [part.keys, part.values],
        [of_key, of_key],
        [pltpu.VMEM((key_block, width), jnp.float32)] * 2,
    )


def _run(kernel, grid, tables, inputs, specs, outputs, out_specs, scratch):
    """The kernel, compiled for a TPU, and step by step by Pallas' interpreter elsewhere."""
    return pl.pallas_call(
        kernel,
        out_shape=[jax.ShapeDtypeStruct(x.shape, x.dtype) for x in outputs],
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=len(tables),
            grid=grid,
            in_specs=specs,
            out_specs=out_specs,
            scratch_shapes=scratch,
        ),
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "parallel", "parallel", "arbitrary")
        ),
        interpret=sharding.platform() != "tpu",
    )(*tables, *inputs)


# ---- both passes ----------------------------------------------------------------------------


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _attend(q, parts, causal):
    return _attend_forward(q, parts, causal)[0]


def _attend_forward(q, parts, causal):
    rows, heads, columns, width = q.shape
    block = _block(columns)
    row = pltpu.VMEM((1, block), jnp.float32)
    outputs = q, jax.ShapeDtypeStruct((rows, heads, 1, columns), jnp.float32)
    scratch = [row, row, pltpu.VMEM((width, block), jnp.float32)]
    out, log_total = _over_keys(_forward_kernel, q, parts, causal, (), outputs, scratch)
    return out, (q, parts, out, log_total)


def _attend_backward(causal, saved, do):
    q, parts, out, log_total = saved
    delta = jnp.sum(do.astype(jnp.float32) * out.astype(jnp.float32), axis=3)[:, :, None]
    scratch = [pltpu.VMEM((q.shape[3], _block(q.shape[2])), jnp.float32)]
    (dq,) = _over_keys(_queries_kernel, q, parts, causal, (do, log_total, delta), [q], scratch)
    nothing = lambda ids: np.zeros(ids.shape, jax.dtypes.float0)
    d_parts = [
        Part(*_over_queries(q, do, log_total, delta, p, c), nothing(p.key_ids), nothing(p.query_ids))
        for p, c in zip(parts, causal, strict=True)
    ]
    return dq, d_parts


_attend.defvjp(_attend_forward, _attend_backward)
