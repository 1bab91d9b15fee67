"""The output head: hidden states to token statistics, a chunk of tokens at a time, with its own gradient.

Logits `[tokens, V]` in float32 never exist whole, neither forward nor backward.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from urlvr_jax.models.attention import wide
from urlvr_jax.models.products import vocabulary_axis
from urlvr_jax.runtime import sharding
from urlvr_jax.runtime.sharding import ByPlatform
from urlvr_jax.scoring.token_statistics import logits_at, statistics_of
from urlvr_jax.types import STATISTICS

# float32 logits the head works on at once, held up to three times: on a CPU little, elsewhere 512 MiB each.
CHUNK_ELEMENTS = ByPlatform(cpu=2**22, other=2**27)
ALIGNED = 128  # what the matrix units of a GPU or TPU take at once
# At most so many float32 logits of a micro-batch wait for the backward pass; more are made again there.
KEPT_ELEMENTS = ByPlatform(cpu=2**24, other=2**27)
# What `statistics_of` tells the backward pass of each token.
FOR_GRADIENT = ("top", "log_total", "others")


def token_statistics(hidden, head, targets, temperature, names=STATISTICS):
    """Statistics of every token: `[tokens, V]` in float32 never exists whole.

    hidden `[..., D]`, head `[V, D]`, targets int32 `[...]` -> {name: float32 `[...]`}. Only `logp` has a
    gradient (nothing else is in any objective).
    """
    flat = sharding.split_rows(hidden.reshape(-1, hidden.shape[-1]))
    stats = _statistics(flat, head, targets.reshape(-1), temperature, tuple(names))
    return {name: stats[name].reshape(targets.shape) for name in names}


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _statistics(hidden, head, targets, temperature, names):
    """`token_statistics` of hidden `[N, D]`, a chunk of tokens at a time."""
    return _in_chunks(hidden, head, targets, temperature, names, keep=False)


def _in_chunks(hidden, head, targets, temperature, names, keep: bool):
    """Statistics, those of FOR_GRADIENT, and if they are kept the `logits`, all tokens' at once."""
    shards = _shards(targets)
    count = len(targets) // shards
    chunk = count if keep else chunk_of(count, head.shape[0])
    axis = vocabulary_axis(chunk, head.shape[0])
    head = head.astype(hidden.dtype)  # once, not for every chunk
    head = sharding.whole(head, "vocabulary") if shards > 1 else head

    def one(h, y):
        z = logits_at(h, head, temperature, axis)
        return statistics_of(z, y, (*names, *FOR_GRADIENT), axis) | ({"logits": z} if keep else {})

    if chunk == count:
        return one(hidden, targets)
    chunks = -(-count // chunk)

    def split(x):
        """`[shards * count, ...]` -> `[chunks, shards * chunk, ...]`: every chunk has rows of every device."""
        x = x.reshape(shards, count, *x.shape[1:])
        x = jnp.pad(x, ((0, 0), (0, chunks * chunk - count)) + ((0, 0),) * (x.ndim - 2))
        x = x.reshape(shards, chunks, chunk, *x.shape[2:]).swapaxes(0, 1)
        return sharding.split_rows(x.reshape(chunks, shards * chunk, *x.shape[3:]), axis=1)

    def joined(x):
        x = x.reshape(chunks, shards, chunk, *x.shape[2:]).swapaxes(0, 1)
        x = x.reshape(shards, chunks * chunk, *x.shape[3:])[:, :count]
        return sharding.split_rows(x.reshape(shards * count, *x.shape[2:]))

    out = jax.lax.map(lambda args: one(*args), (split(hidden), split(targets)))
    return {name: joined(x) for name, x in out.items()}


def _shards(targets) -> int:
    """Devices over which tokens are split, 1 where they do not divide."""
    return 1 if len(targets) % sharding.row_shards() else sharding.row_shards()


def chunk_of(size: int, other: int, platform: str | None = None) -> int:
    """How many of an axis of `size` a device holds at once, given the other axis of the logits.

    Off the CPU in about equal parts, of a multiple of ALIGNED: a last part of few costs as much as the others,
    and tensor cores want rows that begin at multiples of 16 bytes.
    """
    most = min(size, max(1, CHUNK_ELEMENTS.of(platform) // other))
    if most == size or (platform or sharding.platform()) == "cpu":
        return most
    equal = -(-size // -(-size // most))
    return min(size, -(-equal // ALIGNED) * ALIGNED)


def _statistics_forward(hidden, head, targets, temperature, names):
    most = KEPT_ELEMENTS.of()
    keep = len(targets) // _shards(targets) * head.shape[0] <= most
    stats = _in_chunks(hidden, head, targets, temperature, names, keep)
    totals = [stats[name] for name in FOR_GRADIENT]
    return stats, (hidden, head, targets, totals, stats.pop("logits", None))


def _statistics_backward(temperature, names, saved, cotangents):
    """d logp / dz = onehot(y) - softmax(z), z = head @ hidden / T: a block of the vocabulary at a time.

    So each block of the head's gradient is one product over all tokens, written once.
    """
    hidden, head, targets, (top, log_total, others), kept = saved
    shards = _shards(targets)
    table = sharding.whole(head.astype(hidden.dtype), "vocabulary") if shards > 1 else head
    exact = dict(precision=jax.lax.Precision.HIGHEST, preferred_element_type=jnp.float32)
    axis = vocabulary_axis(len(targets) // shards, head.shape[0])
    nv = "vn" if axis == 0 else "nv"
    across = lambda x: jnp.expand_dims(x, axis)
    scale = across(cotangents["logp"] / temperature)

    def one(d_hidden, start, rows):
        """The block of the vocabulary that begins at `start`, whose head is `rows`."""
        rows = wide(rows.astype(hidden.dtype))
        z = kept
        if kept is None and axis == 0:
            z = jnp.einsum("vd,nd->vn", rows, wide(hidden), **exact) / temperature
        elif kept is None:
            z = jnp.einsum("nd,vd->nv", wide(hidden), rows, **exact) / temperature
        p = jnp.exp((z - across(top)) - across(log_total))  # logits and their total may be large: top first
        hit = jnp.expand_dims(start + jnp.arange(len(rows)), -1 - axis) == across(targets)
        dz = jnp.where(hit, across(others), -p) * scale
        dz = wide(dz.astype(hidden.dtype))
        d_rows = jnp.einsum(f"{nv},nd->vd", dz, wide(hidden), **exact).astype(head.dtype)
        d_rows = sharding.scattered(d_rows, "vocabulary")
        d_more = jnp.einsum(f"{nv},vd->nd", dz, rows, **exact)
        return sharding.split_rows(d_hidden + d_more), d_rows

    vocab = head.shape[0]
    block = chunk_of(vocab, len(targets) // shards)
    d_hidden = jnp.zeros(hidden.shape, jnp.float32)
    if block == vocab or kept is not None:
        d_hidden, d_head = one(d_hidden, 0, table)
    else:
        # Blocks are read from the head itself and written into one array: no copy of either beside it.
        def add(carry, start, rows):
            d_hidden, d_rows = one(carry[0], start, rows)
            return d_hidden, jax.lax.dynamic_update_slice_in_dim(carry[1], d_rows, start, axis=0)

        def body(i, carry):
            return add(carry, i * block, jax.lax.dynamic_slice_in_dim(table, i * block, block))

        carry = d_hidden, sharding.scattered(jnp.zeros(head.shape, head.dtype), "vocabulary")
        carry = jax.lax.fori_loop(0, vocab // block, body, carry)
        rest = vocab // block * block
        d_hidden, d_head = add(carry, rest, table[rest:]) if rest < vocab else carry
    return d_hidden.astype(hidden.dtype), d_head, np.zeros(targets.shape, jax.dtypes.float0)


_statistics.defvjp(_statistics_forward, _statistics_backward)
