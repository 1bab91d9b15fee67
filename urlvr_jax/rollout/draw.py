"""From logits to the next token: inverse-CDF sampling, with top-k and a nucleus (top-p) or without."""

from __future__ import annotations

import jax
import jax.numpy as jnp

CDF_BLOCK = 256  # the inverse CDF searches blocks of this many tokens, then inside one block


def draw(p, uniform):
    """Inverse-CDF sample: probabilities `[B, V]`, one uniform a row `[B]` -> int32 `[B]`.

    Two levels keep the running sums short; a token of probability zero is never drawn. A uniform of
    `jax.random.uniform` is a multiple of 2^-23: a token below 1.2e-7 may lie between two of them, and then is not
    drawn at that position. More bits would change the tokens of every run.
    """
    rows, vocab = p.shape
    blocks = -(-vocab // CDF_BLOCK)
    p = jnp.pad(p, ((0, 0), (0, blocks * CDF_BLOCK - vocab))).reshape(rows, blocks, CDF_BLOCK)
    ends = jnp.cumsum(jnp.sum(p, axis=2), axis=1)  # [B, blocks]
    goal = uniform * ends[:, -1]
    # The mass test matters where a parallel scan's running sums are not quite monotone.
    block = jnp.argmax((ends > goal[:, None]) & (jnp.sum(p, axis=2) > 0), axis=1)
    before = jnp.where(block > 0, jnp.take_along_axis(ends, block[:, None] - 1, axis=1)[:, 0], 0.0)
    p = jnp.take_along_axis(p, block[:, None, None], axis=1)[:, 0]
    inside = jnp.cumsum(p, axis=1)
    # Rounding may leave the goal past the block's own sum; the last token with mass takes it.
    goal = jnp.minimum(goal - before, inside[:, -1] * (1 - 2**-23))
    token = jnp.argmax((inside > goal[:, None]) & (p > 0), axis=1)
    return (block * CDF_BLOCK + token).astype(jnp.int32)


def keep_most_likely(p, top_k: int):
    """Zero all but the `top_k` most likely tokens of `[B, V]`; of equals the first ids."""
    kept = jax.lax.top_k(p, min(top_k, p.shape[-1]))[0]
    return _from(p, kept[..., -1:], kept.shape[-1])


def keep_nucleus(p, top_p):
    """Zero all but the smallest set of most likely tokens whose mass reaches `top_p`; of equals the first ids."""
    descending = -jnp.sort(-p, axis=-1)
    kept = jnp.cumsum(descending, axis=-1) - descending < top_p
    last = jnp.min(jnp.where(kept, descending, jnp.inf), axis=-1, keepdims=True)
    return _from(p, last, jnp.sum(kept, axis=-1, keepdims=True))


def _from(p, last, count):
    """The `count` most likely tokens, the least likely of which has probability `last`."""
    room = count - jnp.sum(p > last, axis=-1, keepdims=True)
    equal = p == last
    return jnp.where((p > last) | (equal & (jnp.cumsum(equal, axis=-1) <= room)), p, 0.0)


def choose(z, uniform, top_p: float, top_k: int = 0):
    """The next token int32 `[B]` from float32 logits `[B, V]`, already divided by T.

    top_k: 0 for all; else the nucleus is of the probabilities of those that are left, as in transformers and vLLM.
    """
    p = jax.nn.softmax(z, axis=-1)
    if top_k:
        p = keep_most_likely(p, top_k)
        p = p / jnp.sum(p, axis=-1, keepdims=True)
    return draw(p if top_p >= 1 else keep_nucleus(p, top_p), uniform)
