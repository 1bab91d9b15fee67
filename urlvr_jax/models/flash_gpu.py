"""Attention of long rows on an NVIDIA GPU: Pallas kernels (Triton) that pass over the blocks no query sees.

What a query sees is a matter of ids: `flash_parts`. A program of the grid walks the list of the blocks that
meet its own, so the others cost nothing. Of the forward pass only the output and the logarithm of each
query's sum are kept; the backward pass makes the scores again, once for the queries' gradients and once for
the keys' and values' (FlashAttention 2, arXiv 2307.08691). One gradient stands around all parts: that of
calls joined by their log-sums would lack the log-sums' own.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jax.lax import div, fori_loop  # div: of what is never negative

from urlvr_jax.models.flash_parts import NN, NT, Part, blocks_that_meet, whole_blocks
from urlvr_jax.runtime import sharding

LARGEST = (
    128  # queries or keys of a block; rows are padded to a multiple of it, shorter ones to a power of two
)
SMALLEST = 16  # what a tensor core multiplies at once
WIDTHS = (16, 32, 64, 128)  # of heads: powers of two that leave room for the blocks in shared memory
LOW = -1e30  # below every score; -inf would make NaN of the difference of two
LOG2E = math.log2(math.e)  # a GPU has 2^x where it has no e^x: scores are multiplied by it


class Blocks(NamedTuple):
    """What a program works on at once."""

    queries: int
    keys: int
    warps: int
    stages: int  # blocks in flight from memory, one ahead of the other


# By bytes of an operand's element. Not tuned: there was no GPU; of heads of 128 they take up to 129 KiB of an
# H100's 227 and 97 of an A100's 163; on an H100 no register spills. Float32 is multiplied without tensor cores, in small blocks.
FORWARD = {2: Blocks(128, 64, 8, 3), 4: Blocks(32, 32, 8, 1)}
OF_QUERIES = {2: Blocks(128, 64, 8, 2), 4: Blocks(32, 32, 8, 1)}
OF_KEYS = {2: Blocks(64, 128, 8, 2), 4: Blocks(32, 32, 8, 1)}


def attend(q, parts, causal: tuple[bool, ...]):
    """Softmax attention over all parts together, like `attention.attend` -> `[B, N, C, H]`.

    q `[B, N, C, H]`, already divided by sqrt(H), H one of WIDTHS; head n reads key head n * K // N. A query
    that sees no key gives zero. Scores and sums are float32; float32 operands are multiplied as such, never
    as TF32.
    """
    columns = q.shape[2]
    q, parts = whole_blocks(q, parts, _block)
    return _attend(q, parts, causal)[:, :, :columns]


def _block(size: int) -> int:
    return min(LARGEST, max(SMALLEST, pl.next_power_of_2(size)))


def _sizes(table: dict[int, Blocks], q, part: Part) -> Blocks:
    blocks = table[q.dtype.itemsize]
    return blocks._replace(
        queries=min(blocks.queries, _block(q.shape[2])), keys=min(blocks.keys, _block(part.keys.shape[2]))
    )


def _visits(meet):
    """bool `[..., n]` -> int32 `[..., 1 + n]`: how many blocks meet, then which, in order; then the others."""
    places = jnp.argsort(~meet, axis=-1, stable=True)
    count = jnp.sum(meet, axis=-1, keepdims=True)
    return jnp.concatenate([count, places], axis=-1).astype(jnp.int32)


def _product(a, b, dims):
    """In float32, of float32 operands without rounding them to TF32."""
    return jax.lax.dot_general(
        a, b, dims, precision=jax.lax.Precision.HIGHEST, preferred_element_type=jnp.float32
    )


def _places(block, size: int):
    return block * size + jax.lax.iota(jnp.int32, size)


# ---- one block of queries against all keys: the output, and the gradient of the queries ---------


class Keys(NamedTuple):
    """References of one part, for one block of queries."""

    keys: object  # [S, H]
    values: object  # [S, H]
    key_ids: object  # [S]
    query_ids: object  # [queries]
    visits: object  # [1 + key blocks]: see `_visits`


def _walk(sizes, causal, refs, query_block, step, carry):
    """`step(carry, keys, values, visible [queries, keys])` for each block of each part."""
    for size, is_causal, part in zip(sizes, causal, refs, strict=True):
        query_ids = part.query_ids[...]

        def one(i, carry, part=part, size=size, is_causal=is_causal, query_ids=query_ids):
            at = part.visits[1 + i]
            block = pl.ds(at * size, size)
            visible = query_ids[:, None] == part.key_ids[block][None, :]
            if is_causal:
                queries = _places(query_block, query_ids.shape[0])
                visible &= _places(at, size)[None, :] <= queries[:, None]
            return step(carry, part.keys[block, :], part.values[block, :], visible)

        carry = fori_loop(0, part.visits[0], one, carry)
    return carry


def _forward_kernel(line, sizes, causal, *refs):
    (q, *refs, out, log_total) = refs
    q = q[...]

    def step(carry, keys, values, visible):
        sums, top, total = carry
        s = jnp.where(visible, _product(q, keys, NT) * LOG2E, LOW)
        new = jnp.maximum(top, jnp.max(s, axis=1))
        p = jnp.where(visible, jnp.exp2(s - new[:, None]), 0.0)
        shrink = jnp.exp2(top - new)
        sums = sums * shrink[:, None] + _product(p.astype(values.dtype), values, NN)
        return sums, new, total * shrink + jnp.sum(p, axis=1)

    start = (
        jnp.zeros(q.shape, jnp.float32),
        jnp.full(q.shape[:1], LOW, jnp.float32),
        jnp.zeros(q.shape[:1], jnp.float32),
    )
    at = _query_block(line, pl.program_id(0))
    sums, top, total = _walk(sizes, causal, _parts(refs), at, step, start)
    some = jnp.where(total == 0, 1.0, total)
    out[...] = (sums / some[:, None]).astype(out.dtype)
    log_total[...] = jnp.where(total == 0, 0.0, top + jnp.log(some) * LOG2E)


def _queries_kernel(line, sizes, causal, *refs):
    (q, do, log_total, delta, *refs, dq) = refs
    q, do, log_total, delta = (x[...] for x in (q, do, log_total, delta))

    def step(sums, keys, values, visible):
        s = _product(q, keys, NT) * LOG2E
        p = jnp.where(visible, jnp.exp2(s - log_total[:, None]), 0.0)
        ds = p * (_product(do, values, NT) - delta[:, None])
        return sums + _product(ds.astype(keys.dtype), keys, NN)

    start = jnp.zeros(q.shape, jnp.float32)
    at = _query_block(line, pl.program_id(0))
    dq[...] = _walk(sizes, causal, _parts(refs), at, step, start).astype(dq.dtype)


def _parts(refs) -> list[Keys]:
    return [Keys(*refs[i : i + 5]) for i in range(0, len(refs), 5)]


def _query_block(line: int, program):
    """Of the program of that number: the latest columns first, which see most and would else be waited for."""
    return line - 1 - program


def _over_keys(kernel, table, q, parts, causal, by_query, outputs):
    """Run a kernel of a block of queries. by_query, outputs: like q, or `[B, N, C]`."""
    rows, heads, columns, width = q.shape
    sizes = [_sizes(table, q, p) for p in parts]
    block = sizes[0].queries
    line = columns // block
    at = functools.partial(_query_block, line)
    of_query = pl.BlockSpec((None, None, block, width), lambda i, n, b: (b, n, at(i), 0))
    a_number = pl.BlockSpec((None, None, block), lambda i, n, b: (b, n, at(i)))
    query_id = pl.BlockSpec((None, block), lambda i, n, b: (b, at(i)))
    like = lambda x: a_number if x.ndim == 3 else of_query
    inputs = [q, *by_query]
    specs = [of_query, *map(like, by_query)]
    for part, size, is_causal in zip(parts, sizes, causal, strict=True):
        units, kv_heads, length, _ = part.keys.shape

        def key(i, n, b, units=units, kv_heads=kv_heads):
            return div(b, rows // units), div(n, heads // kv_heads), 0, 0

        visits = _visits(blocks_that_meet(part, is_causal, block, size.keys))
        of_keys = pl.BlockSpec((None, None, length, width), key)
        key_id = pl.BlockSpec((None, length), lambda i, n, b, key=key: key(i, n, b)[::2])
        listed = pl.BlockSpec((None, None, visits.shape[2]), lambda i, n, b: (b, at(i), 0))
        inputs += [part.keys, part.values, part.key_ids, part.query_ids, visits]
        specs += [of_keys, of_keys, key_id, query_id, listed]
    body = functools.partial(kernel, line, [size.keys for size in sizes], causal)
    grid = (line, heads, rows)
    return _run(body, kernel.__name__, grid, inputs, specs, outputs, list(map(like, outputs)), sizes[0])


# ---- one block of keys against all queries of the rows that share it: their gradients -----------


def _keys_kernel(block, causal, *refs):
    q, do, log_total, delta, query_ids, keys, values, key_ids, visits, dk, dv = refs
    shared, repeat, columns, _ = q.shape
    line = columns // block
    keys, values, key_ids = keys[...], values[...], key_ids[...]
    places = _places(pl.program_id(0), key_ids.shape[0])

    def one(i, head, carry):
        dk_sum, dv_sum = carry
        place = visits[1 + i]
        row, at = div(place, line), jax.lax.rem(place, line)
        span = pl.ds(at * block, block)
        queries, d_out = q[row, head, span, :], do[row, head, span, :]
        visible = key_ids[:, None] == query_ids[row, span][None, :]
        if causal:
            visible &= places[:, None] <= _places(at, block)[None, :]
        s = _product(keys, queries, NT) * LOG2E
        p = jnp.where(visible, jnp.exp2(s - log_total[row, head, span][None, :]), 0.0)
        dv_sum += _product(p.astype(d_out.dtype), d_out, NN)
        ds = p * (_product(values, d_out, NT) - delta[row, head, span][None, :])
        return dk_sum + _product(ds.astype(queries.dtype), queries, NN), dv_sum

    def of_head(head, carry):
        return fori_loop(0, visits[0], lambda i, carry: one(i, head, carry), carry)

    zeros = jnp.zeros(keys.shape, jnp.float32)
    dk_sum, dv_sum = fori_loop(0, repeat, of_head, (zeros, zeros))
    dk[...] = dk_sum.astype(dk.dtype)
    dv[...] = dv_sum.astype(dv.dtype)


def _over_queries(q, do, log_total, delta, part: Part, causal: bool):
    """Gradients of a part's keys and values."""
    rows, heads, columns, width = q.shape
    units, kv_heads, length, _ = part.keys.shape
    size = _sizes(OF_KEYS, q, part)
    line, blocks = columns // size.queries, length // size.keys
    shared = rows // units
    repeat = heads // kv_heads
    met = blocks_that_meet(part, causal, size.queries, size.keys)
    # [B, query blocks, key blocks] -> [U, key blocks, rows that share it x query blocks]
    visits = _visits(met.reshape(units, shared * line, blocks).swapaxes(1, 2))
    of_query = pl.BlockSpec((shared, repeat, columns, width), lambda j, k, u: (u, k, 0, 0))
    a_number = pl.BlockSpec((shared, repeat, columns), lambda j, k, u: (u, k, 0))
    query_id = pl.BlockSpec((shared, columns), lambda j, k, u: (u, 0))
    of_key = pl.BlockSpec((None, None, size.keys, width), lambda j, k, u: (u, k, j, 0))
    key_id = pl.BlockSpec((None, size.keys), lambda j, k, u: (u, j))
    listed = pl.BlockSpec((None, None, visits.shape[2]), lambda j, k, u: (u, j, 0))
    return _run(
        functools.partial(_keys_kernel, size.queries, causal),
        _keys_kernel.__name__,
        (blocks, kv_heads, units),
        [q, do, log_total, delta, part.query_ids, part.keys, part.values, part.key_ids, visits],
        [of_query, of_query, a_number, a_number, query_id, of_key, of_key, key_id, listed],
        [part.keys, part.values],
        [of_key, of_key],
        size,
    )


def _run(kernel, name: str, grid, inputs, specs, outputs, out_specs, size: Blocks):
    """The kernel, compiled for a GPU, and step by step by Pallas' interpreter elsewhere."""
    return pl.pallas_call(
        kernel,
        name=f"attention{name}",
        grid=grid,
        in_specs=specs,
        out_specs=out_specs,
        out_shape=[jax.ShapeDtypeStruct(x.shape, x.dtype) for x in outputs],
        compiler_params=triton.CompilerParams(num_warps=size.warps, num_stages=size.stages),
        interpret=sharding.platform() != "gpu",
    )(*inputs)


# ---- both passes ----------------------------------------------------------------------------


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _attend(q, parts, causal):
    return _attend_forward(q, parts, causal)[0]


def _attend_forward(q, parts, causal):
    outputs = q, jax.ShapeDtypeStruct(q.shape[:3], jnp.float32)
    out, log_total = _over_keys(_forward_kernel, FORWARD, q, parts, causal, (), outputs)
    return out, (q, parts, out, log_total)


def _attend_backward(causal, saved, do):
    q, parts, out, log_total = saved
    delta = jnp.sum(do.astype(jnp.float32) * out.astype(jnp.float32), axis=3)
    (dq,) = _over_keys(_queries_kernel, OF_QUERIES, q, parts, causal, (do, log_total, delta), [q])
    nothing = lambda ids: np.zeros(ids.shape, jax.dtypes.float0)
    d_parts = [
        Part(*_over_queries(q, do, log_total, delta, p, c), nothing(p.key_ids), nothing(p.query_ids))
        for p, c in zip(parts, causal, strict=True)
    ]
    return dq, d_parts


_attend.defvjp(_attend_forward, _attend_backward)
