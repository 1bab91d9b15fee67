"""What the attention kernels of all platforms share: segments of keys, and which of their blocks count.

Every query and every key carries an id. A query sees the keys of its id, in a causal segment only those
up to its own column. Which blocks hold an id in common is worked out before a kernel runs, so that what is
masked as a whole is neither read nor computed: other prompts, other responses of a packed row, later
columns, padding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

NT = (((1,), (1,)), ((), ()))  # [m, h] x [n, h] -> [m, n]
TN = (((0,), (0,)), ((), ()))  # [h, m] x [h, n] -> [m, n]
NN = (((1,), (0,)), ((), ()))  # [m, h] x [h, n] -> [m, n]


class Part(NamedTuple):
    """One segment of keys. U divides B: B / U consecutive rows share keys. A negative id sees nothing."""

    keys: jax.Array  # [U, K, S, H]
    values: jax.Array  # [U, K, S, H]
    key_ids: jax.Array  # int32 [U, S]
    query_ids: jax.Array  # int32 [B, C]


def whole_blocks(q, parts, block: Callable[[int], int]):
    """q `[B, N, C, H]` and parts, padded so that block(C) divides C, and block(S) each S.

    Negative ids, and those of the padding, become such that never meet.
    """
    pad = lambda x, axis, value=0: jnp.pad(
        x,
        [(0, -x.shape[a] % block(x.shape[a]) if a == axis else 0) for a in range(x.ndim)],
        constant_values=value,
    )
    ids = lambda x, none: pad(jnp.where(x < 0, none, x), 1, none)  # -1 and -2 never meet
    return pad(q, 2), [
        Part(pad(p.keys, 2), pad(p.values, 2), ids(p.key_ids, -2), ids(p.query_ids, -1)) for p in parts
    ]


def blocks_that_meet(part: Part, causal: bool, query_block: int, key_block: int):
    """bool `[B, query blocks, key blocks]`: whether some query of a block may see some key of the other.

    Never false for a pair that does; exact where a block's key ids are neighbours.
    """
    units, rows = len(part.key_ids), len(part.query_ids)
    keys = part.key_ids.reshape(units, -1, key_block)
    low = jnp.min(keys, axis=2, where=keys >= 0, initial=np.iinfo(np.int32).max)
    high = jnp.max(keys, axis=2)
    low, high = (jnp.repeat(x, rows // units, axis=0)[:, None, None] for x in (low, high))
    queries = part.query_ids.reshape(rows, -1, query_block)[..., None]
    found = jnp.any((low <= queries) & (queries <= high), axis=2)
    if causal:
        last = (jnp.arange(found.shape[1]) + 1) * query_block - 1
        found &= jnp.arange(found.shape[2]) * key_block <= last[:, None]
    return found
