"""Slots of a rollout: how many columns a block has, which rows are decoded, and what each one sees.

A slot decodes one row at a time, a block of columns at a time. Written blocks join a ring; a block attends to
its prompt, to a window of the ring, and to itself.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from urlvr_jax.models.attention import KV, Segment
from urlvr_jax.models.transformer import prompt_segment, side_by_side
from urlvr_jax.runtime.sharding import ByPlatform
from urlvr_jax.types import STATISTICS

WIDEST_BLOCK = ByPlatform(cpu=64, other=128)  # columns of a block


class Fixed(NamedTuple):
    """What stays the same during a rollout."""

    graph: object
    params: dict
    bank: tuple[KV, ...]  # every prompt's keys and values [P, ...]
    lengths: jax.Array  # int32 [P], of the prompts
    first: jax.Array  # int32 [P], a response's first input
    limits: jax.Array  # int32 [B], greatest lengths
    key: jax.Array
    stop_ids: jax.Array
    temperature: float
    top_p: float
    group: int
    slots: int
    queues: int
    top_k: int
    first_row: jax.Array | int = 0  # the global row that is row 0 here

    @property
    def rows(self) -> int:
        return len(self.limits)

    @property
    def refill(self) -> bool:
        return self.slots < self.rows

    @property
    def served(self) -> int:
        """Rows a queue has to serve."""
        return self.rows // self.queues


class Slots(NamedTuple):
    """What each slot is doing. [S] = `[queues, S / queues]` flattened; a queue serves its own slots."""

    row: jax.Array  # int32 [S], the row decoded, B = none
    born: jax.Array  # int32 [S], the loop's column at which the row began
    start: jax.Array  # int32 [S], position of its first input
    last: jax.Array  # int32 [S], the next input
    limit: jax.Array  # int32 [S], the row's greatest length
    ended: jax.Array  # bool [S]
    keys: jax.Array  # random keys [S]


def block_width(max_new_tokens: int, refill: bool, platform: str | None = None) -> int:
    """Columns of a block. Slots refill after each block, so where they do it is a part of a long row."""
    widest = WIDEST_BLOCK.of(platform)
    return min(widest, max(8, max_new_tokens // 4)) if refill else widest


def blocks_of(max_new_tokens: int, block: int) -> tuple[int, int]:
    """How many blocks a full row has, and their columns, given about how many these should be."""
    blocks = -(-max_new_tokens // block)
    return blocks, -(-max_new_tokens // blocks)


def window_sizes(blocks: int) -> list[int]:
    """Blocks of past cache that a compiled block loop may attend to: 0, 1, 2, 3, 4, 6, 8, 12, ..."""
    sizes = [0]
    while sizes[-1] < blocks:
        sizes.append(min(blocks, max(sizes[-1] + 1, 2 * sizes[-2] if len(sizes) > 4 else 0)))
    return sizes


def window_of(ring, block, time, size: int, width: int, born):
    """The last `size` blocks of the ring as one segment; a row sees the columns since it began."""
    if size == 0:
        return None
    blocks = ring[0].keys.shape[0]
    newest_first = block - 1 - jnp.arange(size)
    pick = lambda x: jnp.take(x, newest_first % blocks, axis=0, mode="clip")
    layers = side_by_side(jax.tree.map(pick, ring))
    written = (newest_first[:, None] * width + jnp.arange(width)).reshape(-1)
    seen = written >= born[:, None]  # [S, W]
    return Segment(layers, lambda _: seen[:, None, None])


def begin(run: Fixed, row, time) -> Slots:
    """Slots that begin these rows `[S]` at this column of the loop; row B is none."""
    known = jnp.minimum(row, run.rows - 1)
    p = known // run.group
    limit = jnp.where(row < run.rows, run.limits[known], 0)
    keys = jax.vmap(lambda r: jax.random.fold_in(run.key, run.first_row + r))(row)
    born = jnp.full(run.slots, time)
    return Slots(row, born, run.lengths[p] - 1, run.first[p], limit, limit == 0, keys)


def prompts_of(run: Fixed, row) -> Segment:
    """The prompts of the slots' rows `[S]`: the group's own when all rows have slots, else copies."""
    if not run.refill:
        return prompt_segment(run.bank, run.lengths)
    p = jnp.minimum(row, run.rows - 1) // run.group
    of_queue = len(run.lengths) // run.queues
    local = p.reshape(run.queues, -1) - jnp.arange(run.queues)[:, None] * of_queue
    parts = lambda x: x.reshape(run.queues, of_queue, *x.shape[1:])
    take = lambda x: jax.vmap(lambda part, i: part[i])(parts(x), local).reshape(-1, *x.shape[1:])
    return prompt_segment(jax.tree.map(take, run.bank), run.lengths[p])


def refill(run: Fixed, slots: Slots, taken, time):
    """The k-th free slot of a queue takes the queue's k-th waiting row. taken int32 `[queues]`."""
    free = slots.ended.reshape(run.queues, -1)
    index = taken[:, None] + jnp.cumsum(free, axis=1) - 1
    row = jnp.where(index < run.served, index + jnp.arange(run.queues)[:, None] * run.served, run.rows)
    fresh = begin(run, row.reshape(-1).astype(jnp.int32), time)
    slots = Slots(*(jnp.where(slots.ended, new, old) for new, old in zip(fresh, slots, strict=True)))
    return slots, jnp.minimum(taken + jnp.sum(free, axis=1), run.served)


def outputs(rows: int, blocks: int, width: int) -> dict:
    """Of every row, block by block: tokens and statistics `[B, blocks, w]`, lengths and ends `[B]`."""
    return {
        "tokens": jnp.zeros((rows, blocks, width), jnp.int32),
        **{name: jnp.zeros((rows, blocks, width), jnp.float32) for name in STATISTICS},
        "length": jnp.zeros(rows, jnp.int32),
        "ended": jnp.zeros(rows, bool),
    }


def joined(out: dict, columns: int) -> dict:
    """The blocks of `outputs` one after the other, `[B, columns]`."""
    whole = lambda x: x.reshape(len(x), -1)[:, :columns] if x.ndim == 3 else x
    return {name: whole(x) for name, x in out.items()}


def write(out, slots: Slots, block_out, column):
    """Put a block's outputs `[S, w]` where the rows that its slots began with stand."""
    target = jnp.where(slots.ended, len(out["length"]), slots.row)  # out of range: dropped
    put = {
        "length": lambda x, new: x.at[target].add(new, mode="drop"),
        "ended": lambda x, new: x.at[target].max(new, mode="drop"),
    }
    by_column = lambda x, new: x.at[target, column].set(new, mode="drop")
    return {name: put.get(name, by_column)(x, block_out[name]) for name, x in out.items()}
