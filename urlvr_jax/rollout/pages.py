"""Whose the pages of a device's pool are: given out and taken back inside a compiled loop.

A prompt's pages belong to its group until its last row has ended, a row's own to the slot that decodes it. A row
takes a page when it begins and whenever its last one is full.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from urlvr_jax.rollout.paged_sizes import pages_of, prompt_pages


class Pages(NamedTuple):
    """The pool's books. Ids of pages; N, their number, stands for none."""

    free: jax.Array  # int32 [N], the ids of which the first `count` are nobody's
    count: jax.Array  # int32 scalar
    prompts: jax.Array  # int32 [P, pages of the widest prompt]
    held: jax.Array  # bool [P], whether the prompt has its pages still
    rows: jax.Array  # int32 [S, pages of the longest row], valid for as many as the row has


def opened(total: int, lengths, width: int, slots: int, columns: int, page: int) -> Pages:
    """The books of a pool of `total` pages in which prompts of `lengths` `[P]` tokens (their last one is not kept)
    of at most `width` have theirs, and `slots` rows of at most `columns` have none yet."""
    needed = pages_of(lengths - 1, page)
    place = jnp.arange(prompt_pages(width, page))
    mine = place < needed[:, None]
    ids = jnp.where(mine, (jnp.cumsum(needed) - needed)[:, None] + place, total).astype(jnp.int32)
    taken = jnp.sum(needed)
    free = (jnp.arange(total, dtype=jnp.int32) + taken) % total
    none = jnp.full((slots, pages_of(columns, page)), total, jnp.int32)
    return Pages(free, (total - taken).astype(jnp.int32), ids, jnp.ones(len(lengths), bool), none)


def take(books: Pages, wanted, place) -> Pages:
    """A page to each slot that wants one, bool `[S]`, as the row's number `place` int32 `[S]`. There must be enough."""
    index = books.count - jnp.cumsum(wanted)
    page = books.free[jnp.clip(index, 0)]
    slot = jnp.where(wanted, jnp.arange(len(wanted)), len(wanted))
    rows = books.rows.at[slot, place].set(page, mode="drop")
    return books._replace(rows=rows, count=books.count - jnp.sum(wanted, dtype=jnp.int32))


def give_back(books: Pages, ids, mine) -> Pages:
    """Pages `ids` that are marked, bool of the same shape, belong to nobody again."""
    ids, mine = ids.reshape(-1), mine.reshape(-1)
    place = jnp.where(mine, books.count + jnp.cumsum(mine) - 1, len(books.free))
    free = books.free.at[place].set(ids, mode="drop")
    return books._replace(free=free, count=books.count + jnp.sum(mine, dtype=jnp.int32))


def give_back_rows(books: Pages, slots, held) -> Pages:
    """The pages of marked slots, bool `[S]`, whose rows hold so many, int32 `[S]`."""
    mine = slots[:, None] & (jnp.arange(books.rows.shape[1]) < held[:, None])
    return give_back(books, books.rows, mine)


def give_back_prompts(books: Pages, done) -> Pages:
    """The pages of prompts no row of which is still to come, bool `[P]`."""
    mine = (done & books.held)[:, None] & (books.prompts < len(books.free))
    return give_back(books, books.prompts, mine)._replace(held=books.held & ~done)


def to_put_back(count, live, held, row):
    """Which rows give up their pages so that each of the others gets one more: bool `[S]`.

    The youngest, of equals the last; so the oldest row always goes on. live bool, held (pages) and row int32 `[S]`.
    """
    order = jnp.lexsort((-row, jnp.where(live, held, jnp.iinfo(jnp.int32).max)))
    back = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(jnp.where(live, held, 0)[order])])
    others = jnp.sum(live) - jnp.arange(len(live) + 1)
    least = jnp.argmax(count + back >= others)
    return jnp.zeros(len(live), bool).at[order].set(jnp.arange(len(live)) < least) & live


def room_for(count, free_slots, live, left, page_limit: int):
    """How many rows may begin: so many that all have pages for two more each (or to their end); one if none runs.

    left int32 `[S]`: pages that a live row may still ask for.
    """
    promised = jnp.sum(jnp.where(live, jnp.minimum(left, 2), 0))
    room = (count - promised) // min(page_limit, 2)
    least = jnp.where(jnp.any(live), 0, jnp.minimum(count, 1))
    return jnp.clip(jnp.maximum(room, least), 0, jnp.sum(free_slots))
