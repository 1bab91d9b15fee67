"""Rollouts from pages: keys and values are held once, in pages that follow the rows' real lengths.

Each device serves its own rows, and none waits for another, unless `tensor` joins them. Its loop goes in
blocks of a page's columns: before a block every row that goes on takes a page, waiting rows take free slots,
and if the pool is empty the youngest rows are put back, to be decoded again to the same tokens; after it ended
rows give their pages back. All blocks are one program, whatever the lengths. Attention's kernels read pages
where they lie; plain products, on a CPU, gather a slot's.

Tokens are those of `sample.sample`: a function of (seed, stream, step, global row, token position).
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from urlvr_jax.models import transformer
from urlvr_jax.models.pool import Pool, Reach
from urlvr_jax.models.transformer import Cache, last_prompt_token, prefill
from urlvr_jax.rollout import pages as books_lib
from urlvr_jax.rollout.column import blank, draw_column
from urlvr_jax.rollout.paged_sizes import least_pages, most_pages, page_columns, pages_of
from urlvr_jax.rollout.pages import Pages
from urlvr_jax.rollout.slots import Fixed, Slots, begin, joined, outputs, write
from urlvr_jax.runtime import sharding


def sample(
    graph,
    params,
    prompt_tokens,
    prompt_lengths,
    key,
    stop_ids,
    *,
    group: int,
    slots: int,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    page: int,
    pages: int = 0,
    top_k: int = 0,
    limits=None,
):
    """Sample `group` responses a prompt, `slots` rows at a time, from `pages` pages a device.

    As `sample.sample`, and returns what it does; "blocks", and "put_back", how often a row was decoded again,
    have one entry a device `[R]`. page: columns of a page. pages: 0 is as many as can be used. ValueError where
    slots or prompts do not divide over the devices, or pages are fewer than one row and all prompts need.
    """
    prompts, width = prompt_tokens.shape
    rows, shards = prompts * group, sharding.row_shards()
    if not 0 < slots <= rows or slots % shards or prompts % shards:
        raise ValueError(
            f"{slots=}: give at most {rows} rows, a multiple of the {shards} shards of the batch, which"
            f" divide {prompts=}"
        )
    page = page_columns(page, max_new_tokens)
    sizes = (prompts // shards, width)
    least = least_pages(*sizes, max_new_tokens, page)
    pages = pages or most_pages(*sizes, slots // shards, max_new_tokens, page)
    if pages < least:
        raise ValueError(f"{pages=} of {page} columns: prompts and one row need {least}")
    limits = jnp.full(rows, max_new_tokens, jnp.int32) if limits is None else limits

    def alone(queue, params, tokens, lengths, key_data, stop_ids, limits):
        run = Fixed(
            graph, params, (), lengths, last_prompt_token(tokens, lengths), limits,
            jax.random.wrap_key_data(key_data), stop_ids, temperature, top_p, group, slots // shards, 1,
            top_k, queue * (rows // shards),
        )  # fmt: skip
        return _decode(run, tokens, pages, page, max_new_tokens)

    split = (False, True, True, False, False, True)
    key_data = jax.random.key_data(key)
    return sharding.on_its_rows(alone, split)(
        params, prompt_tokens, prompt_lengths, key_data, stop_ids, limits
    )


def _decode(run: Fixed, prompt_tokens, pages: int, page: int, max_new_tokens: int) -> dict:
    """All rows of one device."""
    blocks = pages_of(max_new_tokens, page)
    width = prompt_tokens.shape[1]
    books = books_lib.opened(pages, run.lengths, width, run.slots, max_new_tokens, page)
    pools = _with_prompts(run, prompt_tokens, books, page)
    none = jnp.full(run.slots, run.rows, jnp.int32)
    state = {
        "block": jnp.int32(0),
        "slots": begin(run, none, jnp.int32(0)),
        "books": books,
        "pools": pools,
        "waiting": run.limits > 0,
        "done": run.limits == 0,
        "put_back": jnp.int32(0),
        "out": outputs(run.rows, blocks, page),
    }

    def body(s):
        time = s["block"] * page
        slots, books, waiting, back = _give_out(run, s["slots"], s["books"], s["waiting"], time, page)
        length = s["out"]["length"].at[jnp.where(back, s["slots"].row, run.rows)].set(0, mode="drop")
        age = jnp.where(slots.ended, 0, (time - slots.born) // page)
        after, pools, out = _decode_block(run, slots, s["pools"], books, time, age, page)
        ended = ~slots.ended & after.ended
        done = s["done"].at[jnp.where(ended, slots.row, run.rows)].set(True, mode="drop")
        books = books_lib.give_back_rows(books, ended, age + 1)
        books = books_lib.give_back_prompts(books, jnp.all(done.reshape(-1, run.group), axis=1))
        return {
            "block": s["block"] + 1,
            "slots": after,
            "books": books,
            "pools": pools,
            "waiting": waiting,
            "done": done,
            "put_back": s["put_back"] + jnp.sum(back, dtype=jnp.int32),
            "out": write(s["out"] | {"length": length}, slots, out, age),
        }

    final = jax.lax.while_loop(lambda s: sharding.anywhere(~jnp.all(s["done"])), body, state)
    counts = {name: final[key][None] for name, key in (("blocks", "block"), ("put_back", "put_back"))}
    return joined(final["out"], max_new_tokens) | counts


def _with_prompts(run: Fixed, prompt_tokens, books: Pages, page: int) -> tuple[Pool, ...]:
    """Every layer's pool, with the prompts in their pages: a prompt ends where its last page does."""
    model = transformer.bind(run.graph, run.params)
    # A loop over the layers would hold the weights a second time, here where all of them are whole.
    model.config = dataclasses.replace(model.config, scan=False)
    most = books.prompts.shape[1]
    column = jnp.arange(most * page) - _start(run.lengths, page)[:, None]
    kept = (column >= 0) & (column < run.lengths[:, None] - 1)
    column = jnp.clip(column, 0, prompt_tokens.shape[1] - 1)
    # Which prompt's which page each page is, or the zeros behind them all: a TPU's compiler held pools twice that were
    # written into, and half the layers' twice where zeros were chosen after reading.
    none = books.prompts.size
    number = jnp.arange(none).reshape(books.prompts.shape)
    of_page = jnp.full(len(books.free) + 1, none).at[books.prompts].set(number).at[-1].set(none)

    def placed(kv):
        x = jnp.stack([kv.keys.swapaxes(2, 3), kv.values], axis=2)  # [P, K, 2, L, H]
        x = jnp.take_along_axis(x, column[:, None, None, :, None], axis=3)
        x = jnp.where(kept[:, None, None, :, None], x, 0)
        x = jnp.moveaxis(x.reshape(*x.shape[:3], most, page, x.shape[4]), 3, 1)
        x = x.reshape(-1, *x.shape[2:])
        return Pool(jnp.take(jnp.pad(x, ((0, 1), *[(0, 0)] * 4)), of_page, axis=0, mode="clip"))

    return tuple(map(placed, prefill(model, prompt_tokens)))


def _start(lengths, page: int):
    """Columns that a prompt leaves empty at the beginning of its first page, int32 `[P]`."""
    return -(lengths - 1) % page


def _give_out(run: Fixed, slots: Slots, books: Pages, waiting, time, page: int):
    """Before a block: rows are put back if they must be, others begin, and each has a page for the block.

    Returns (slots, books, waiting `[B]`, the slots whose rows were put back `[S]`).
    """
    live = ~slots.ended
    held = jnp.where(live, (time - slots.born) // page, 0)
    back = books_lib.to_put_back(books.count, live, held, slots.row)
    books = books_lib.give_back_rows(books, back, held)
    waiting = waiting.at[jnp.where(back, slots.row, run.rows)].set(True, mode="drop")
    live = live & ~back
    left = pages_of(slots.limit, page) - held
    room = books_lib.room_for(books.count, ~live, live, left, books.rows.shape[1])
    # The k-th free slot takes the k-th waiting row.
    rank = jnp.cumsum(~live) - 1
    first = jnp.nonzero(waiting, size=run.slots, fill_value=run.rows)[0].astype(jnp.int32)
    row = jnp.where(~live & (rank < room), first[jnp.clip(rank, 0)], run.rows)
    waiting = waiting.at[row].set(False, mode="drop")
    fresh = begin(run, row, time)
    slots = Slots(*(jnp.where(live, old, new) for new, old in zip(fresh, slots, strict=True)))
    live = ~slots.ended
    return slots, books_lib.take(books, live, (time - slots.born) // page), waiting, back


def _decode_block(run: Fixed, slots: Slots, pools, books: Pages, time, age, page: int):
    """Decode up to a page of columns of every slot. Returns (slots, pools, outputs `[S, page]`).

    age int32 `[S]`: the row's full pages.
    """
    model = transformer.bind(run.graph, run.params)
    head = transformer.head_table(run.params, model.config.real_vocab)
    none = len(books.free)
    live = ~slots.ended
    prompt = jnp.minimum(slots.row, run.rows - 1) // run.group
    before = pages_of(run.lengths[prompt] - 1, page)
    # The prompt's pages, then the row's own.
    place = jnp.arange(books.prompts.shape[1] + books.rows.shape[1])
    of = lambda ids, at: jnp.take_along_axis(ids, jnp.clip(at, 0, ids.shape[1] - 1), axis=1)
    at = jnp.broadcast_to(place, (run.slots, len(place)))
    table = jnp.where(
        at < before[:, None], of(books.prompts[prompt], at), of(books.rows, at - before[:, None])
    )
    table = jnp.clip(table, 0, none - 1)
    start = _start(run.lengths[prompt], page)
    end = (before + age) * page
    own = jnp.take_along_axis(books.rows, age[:, None], axis=1)[:, 0]
    own = jnp.where(live, own, none)

    def body(s):
        c, slots, pools, out = s
        stop = jnp.where(live, end + c + 1, start)
        hidden, pools = model(
            slots.last[:, None],
            (slots.start + time + c - slots.born)[:, None],
            (),
            cache=Cache(pools, Reach(table, start, stop, own, c)),
        )
        slots, out = draw_column(run, head, hidden[:, 0], slots, time + c - slots.born, out, c)
        return c + 1, slots, pools, out

    _, slots, pools, out = jax.lax.while_loop(
        lambda s: (s[0] < page) & sharding.anywhere(~jnp.all(s[1].ended)),
        body,
        (jnp.int32(0), slots, pools, blank(run.slots, page)),
    )
    return slots, pools, out
