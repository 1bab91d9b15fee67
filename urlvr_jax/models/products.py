"""Products that a CPU computes faster another way round; elsewhere they are plain products.

Each is measured: docs/performance.md. Nothing here changes what is computed, but for rounding.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from urlvr_jax.models.attention import wide
from urlvr_jax.runtime import sharding

# On a CPU logits of a large vocabulary stand [V, N]: the products of the head's gradients want them so.
LARGE_VOCABULARY = 4096
FEW = 64  # up to so many tokens a CPU multiplies faster with the vocabulary first
TURNED = 2048  # entries of a vocabulary transposed at once: they stay in the cache
FEW_ROWS = 128  # of a product on a CPU: see `for_few_rows`
LARGE_KERNEL = 2**17  # elements


def vocabulary_axis(tokens: int, vocab: int) -> int:
    """Of so many tokens' logits while they are scored: -1 in `[N, V]`, 0 in `[V, N]`."""
    return 0 if sharding.platform() == "cpu" and vocab >= max(tokens, LARGE_VOCABULARY) else -1


def turned(z):
    """`[V, N]` -> `[N, V]`. On a CPU a large one in a loop: else all that reads it transposes it again."""
    vocab, count = z.shape
    if sharding.platform() != "cpu" or sharding.devices() > 1 or vocab < LARGE_VOCABULARY:
        return z.T

    def body(i, out):
        start = jnp.minimum(i * TURNED, vocab - TURNED)
        part = jax.lax.dynamic_slice_in_dim(z, start, TURNED)
        return jax.lax.dynamic_update_slice_in_dim(out, part.T, start, axis=1)

    return jax.lax.fori_loop(0, -(-vocab // TURNED), body, jnp.zeros((count, vocab), z.dtype))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def product(x, kernel, split):
    """x `[B, C, inputs]` @ kernel `[inputs, outputs]` in x's dtype, with the gradients as plain products.

    The derived ones transpose a whole activation first: a quarter of an update's time on a CPU. `split`: see
    `sharding.SPLIT`; the kernel is gathered for each product and never kept so.
    """
    return x @ sharding.whole(kernel.astype(x.dtype), split)


def _product_backward(split, saved, dy):
    x, kernel = saved
    d_kernel = jnp.einsum("td,tf->df", x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1]))
    dx = jnp.einsum("bcf,df->bcd", dy, sharding.whole(kernel.astype(x.dtype), split))
    return dx, sharding.scattered(d_kernel, split).astype(kernel.dtype)


product.defvjp(lambda x, kernel, split: (product(x, kernel, split), (x, kernel)), _product_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def frozen_product(x, kernel, scale, split):
    """`product` by a kernel that is not trained; where it is int8, `scale` float32 `[outputs]` is that of its outputs.

    int8 is exact in every compute type, so the scale waits until after the product. Only the kernel as it is kept is
    saved for the backward pass.
    """
    x, whole = _cast(x, kernel, split)
    if scale is None:
        return x @ whole
    y = jnp.einsum("bcd,df->bcf", wide(x), wide(whole), preferred_element_type=jnp.float32)
    return (y * scale).astype(x.dtype)


def _cast(x, kernel, split):
    """Both in x's dtype. The cast waits for x: else XLA casts all kernels once, before the loop over micro-batches, and keeps them."""
    if kernel.dtype != x.dtype:
        x, kernel = jax.lax.optimization_barrier((x, kernel))
    return x, sharding.whole(kernel.astype(x.dtype), split)


def _frozen_backward(split, saved, dy):
    kernel, scale = saved
    scaled = dy if scale is None else (dy.astype(jnp.float32) * scale).astype(dy.dtype)
    scaled, whole = _cast(scaled, kernel, split)
    return jnp.einsum("bcf,df->bcd", scaled, whole), None, None


frozen_product.defvjp(
    lambda x, kernel, scale, split: (frozen_product(x, kernel, scale, split), (kernel, scale)),
    _frozen_backward,
)


class OutputsFirst(NamedTuple):
    """A kernel kept `[outputs, inputs]`, for few rows: see `for_few_rows`."""

    kernel: jax.Array


def product_outputs_first(x, kernel):
    """x `[B, C, inputs]` by kernel `[outputs, inputs]` -> `[B, C, outputs]`; it has no fast gradient."""
    y = jnp.einsum("oi,ni->on", kernel.astype(x.dtype), x.reshape(-1, x.shape[-1]))
    return jax.lax.optimization_barrier(y).T.reshape(*x.shape[:-1], -1)


def for_few_rows(params: dict, rows: int) -> dict:
    """The parameters with large kernels as `OutputsFirst`, where a CPU multiplies `rows` rows faster so.

    Smaller kernels gain little, and so the laboratory's recorded runs stay the same to the bit.
    """
    if sharding.platform() != "cpu" or sharding.devices() > 1 or rows > FEW_ROWS:
        return params
    return {name: OutputsFirst(x.T) if is_large_kernel(name, x) else x for name, x in params.items()}


def is_large_kernel(name: str, x) -> bool:
    return name.endswith(".kernel") and x.size >= LARGE_KERNEL
