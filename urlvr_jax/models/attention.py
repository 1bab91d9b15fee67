"""Attention over segments of keys: kernels for long rows on TPUs and GPUs, plain products elsewhere.

None holds the scores `[B, N, C, S]` whole. Axis letters: `urlvr_jax/types.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from urlvr_jax.models.flash_parts import Part
from urlvr_jax.runtime import sharding

QUERY_BLOCK = 512  # above this many queries attention runs in blocks, so [B, N, C, S] is never whole
GPU_WIDTHS = (64, 128)  # of heads, for which the GPU's kernel is made
PREFIXES = 4  # of a causal segment's columns: a block of queries computes the shortest that it sees


class KV(NamedTuple):
    """Keys and values of one layer. Keys are [.., K, H, S]: decoding reads them along S."""

    keys: jax.Array  # [U, K, H, S]
    values: jax.Array  # [U, K, S, H]


class Segment(NamedTuple):
    """Keys outside the columns at hand. U divides B: B / U consecutive rows share the same keys."""

    layers: tuple[KV, ...]
    visible: Callable  # query columns int32 [c] -> bool, broadcastable to [U, B / U, c, S]


def causal(columns, width: int):
    """The plain `visible` of a block of `width` columns: each sees itself and those before."""
    return (columns[:, None] >= jnp.arange(width))[None, None]


class SameId(NamedTuple):
    """A mask given as ids: a query sees the keys of its id; if causal, none of a later column.

    A negative id marks padding; what is computed there has no meaning.
    """

    queries: jax.Array  # int32 [B, C]
    keys: jax.Array  # int32 [U, S]
    causal: bool = False

    def __call__(self, at):
        keys = self.keys[:, None, None]
        same = keys == self.queries.reshape(len(keys), -1, self.queries.shape[1])[:, :, at, None]
        return causal(at, keys.shape[-1]) & same if self.causal else same


def wide(x):
    """An operand of a product that adds up in float32; CPUs have none for bfloat16 operands."""
    return x.astype(jnp.float32) if sharding.platform() == "cpu" else x


def attend(q, segments):
    """Softmax attention in float32 over all segments together -> `[B, C, N, H]`.

    q `[B, C, N, H]`; segments: (KV with leading axis U, mask broadcastable to `[U, B / U, C, S]`).
    """
    rows, columns, n_heads, width = q.shape
    kv_heads = segments[0][0].keys.shape[1]
    repeat = n_heads // kv_heads
    q = (q * (width**-0.5)).reshape(rows, columns, kv_heads, repeat, width).transpose(0, 2, 3, 1, 4)

    def shared(x, kv):
        """`[B, K, R, C, .]` -> `[U, K, (B / U) R C, .]`: rows that share keys are one product's rows."""
        units = kv.keys.shape[0]
        x = x.reshape(units, -1, kv_heads, repeat, columns, x.shape[-1]).swapaxes(1, 2)
        return x.reshape(units, kv_heads, -1, x.shape[-1])

    def apart(x):
        """The way back."""
        x = x.reshape(x.shape[0], kv_heads, -1, repeat, columns, x.shape[-1]).swapaxes(1, 2)
        return x.reshape(rows, kv_heads, repeat, columns, -1)

    # Plain batched products of [M, H] by [H, S] and [M, S] by [S, H]: any other order of axes is up to
    # ten times slower on a CPU.
    logits = []
    for kv, mask in segments:
        z = jnp.matmul(wide(shared(q, kv)), wide(kv.keys), preferred_element_type=jnp.float32)
        mask = jnp.broadcast_to(mask, (kv.keys.shape[0], rows // kv.keys.shape[0], *mask.shape[2:]))
        logits.append(jnp.where(mask.reshape(rows, 1, 1, *mask.shape[2:]), apart(z), -jnp.inf))
    weights = jax.nn.softmax(jnp.concatenate(logits, axis=-1), axis=-1).astype(q.dtype)
    out, start = 0, 0
    for (kv, _), z in zip(segments, logits, strict=True):
        part = shared(weights[..., start : start + z.shape[-1]], kv)
        out = out + apart(jnp.matmul(part, kv.values))
        start += z.shape[-1]
    return out.transpose(0, 3, 1, 2, 4).reshape(rows, columns, n_heads, width)


def attend_in_blocks(q, segments):
    """`attend` over blocks of queries, each recomputed in the backward pass.

    segments: (KV, `visible`), see `Segment`.
    """
    columns = q.shape[1]
    if columns <= QUERY_BLOCK:
        at = jnp.arange(columns)
        return attend(q, [(kv, visible(at)) for kv, visible in segments])
    blocks = -(-columns // QUERY_BLOCK)
    q = jnp.pad(q, ((0, 0), (0, blocks * QUERY_BLOCK - columns), (0, 0), (0, 0)))
    q = jnp.moveaxis(q.reshape(q.shape[0], blocks, QUERY_BLOCK, *q.shape[2:]), 1, 0)
    # Padded queries repeat the last column, so that each sees some key.
    at = jnp.minimum(jnp.arange(blocks * QUERY_BLOCK), columns - 1).reshape(blocks, QUERY_BLOCK)
    # At least two a run: a loop of one is no loop, and the scores of every layer would be held at once.
    each = max(2, -(-blocks // PREFIXES))
    starts = list(range(0, blocks, each))
    starts = starts[:-1] if blocks - starts[-1] == 1 else starts

    def run(first, stop):
        seen = [_until(*segment, stop * QUERY_BLOCK) for segment in segments]
        block = jax.checkpoint(lambda args: attend(args[0], [(kv, see(args[1])) for kv, see in seen]))
        return jax.lax.map(block, (q[first:stop], at[first:stop]))

    out = jnp.moveaxis(jnp.concatenate(list(map(run, starts, [*starts[1:], blocks]))), 0, 1)
    return out.reshape(out.shape[0], -1, *out.shape[3:])[:, :columns]


def _until(kv: KV, visible, stop: int):
    """The part of a segment that queries of columns before `stop` can see, where that is known."""
    if not (isinstance(visible, SameId) and visible.causal):
        return kv, visible
    seen = visible._replace(keys=visible.keys[:, :stop])
    return KV(kv.keys[..., :stop], kv.values[:, :, :stop]), seen


def fits_kernels(platform: str, width: int) -> bool:
    """Whether "auto" takes a kernel of this platform for heads of this width, for long rows and for pages."""
    return {"tpu": width % 64 == 0, "gpu": width in GPU_WIDTHS}.get(platform, False)


def takes_kernel(kernel: str, platform: str, columns: int, width: int) -> bool:
    """Whether queries `[B, columns, N, width]` go through `kernel_for`'s, where masks allow; see `attend_to`."""
    fits = fits_kernels(platform, width) and columns > QUERY_BLOCK
    return kernel == "pallas" or (kernel == "auto" and fits)


def kernel_for(platform: str) -> Callable:
    """`attend(q, parts, causal)` of the kernels made for a platform; on a CPU the TPU's, interpreted."""
    if platform == "gpu":  # imported late: Pallas takes a third of a second
        from urlvr_jax.models import flash_gpu as flash
    else:
        from urlvr_jax.models import flash
    return flash.attend


@jax.custom_vjp
def _emptied(x, filled):
    """x with zeros where `filled` is not. Its gradient there is zero already, and passes as it is."""
    return jnp.where(filled, x, 0)


_emptied.defvjp(
    lambda x, filled: (_emptied(x, filled), filled),
    lambda filled, dx: (dx, np.zeros(filled.shape, jax.dtypes.float0)),
)


def attend_to(q, segments, kernel: str = "auto"):
    """Attention of `q` `[B, C, N, H]` by the kernel that fits -> `[B, C, N, H]`. segments: (KV, `visible`).

    kernel: "xla", plain products; "pallas", `kernel_for` the platform wherever every mask is a `SameId`
    (prefill, scoring, the update; not decoding); "auto", the latter for more than QUERY_BLOCK queries, on a
    TPU with heads of a multiple of 64, on a GPU with heads of GPU_WIDTHS. Under such masks the output of a
    padding column is zero, and nothing that stands in one, NaN included, reaches another output or gradient.
    """
    if not all(isinstance(visible, SameId) for _, visible in segments):
        return attend_in_blocks(q, segments)
    # A weight of zero times NaN is NaN, in both passes: so what is in padding becomes zero before and after.
    filled = functools.reduce(jnp.logical_or, [visible.queries >= 0 for _, visible in segments])
    q = _emptied(q, filled[:, :, None, None])
    segments = [
        (KV(_emptied(kv.keys, there[:, None, None]), _emptied(kv.values, there[:, None, :, None])), visible)
        for kv, visible, there in ((kv, visible, visible.keys >= 0) for kv, visible in segments)
    ]
    if takes_kernel(kernel, sharding.platform(), q.shape[1], q.shape[3]):
        out = _by_kernel(q, segments)
    else:
        out = attend_in_blocks(q, segments)
    return jnp.where(filled[:, :, None, None], out, 0)


def _by_kernel(q, segments):
    """`attend` by the platform's kernel, on each device's own rows and heads."""
    parts = [Part(kv.keys.swapaxes(2, 3), kv.values, v.keys, v.queries) for kv, v in segments]
    kernel = kernel_for(sharding.platform())
    run = sharding.on_each_device(
        lambda q, parts: kernel(q, parts, tuple(v.causal for _, v in segments)),
        units=min(len(p.keys) for p in parts),
        heads=parts[0].keys.shape[1],
    )
    q = (q * (q.shape[3] ** -0.5)).swapaxes(1, 2)
    return run(q, parts).swapaxes(1, 2)
