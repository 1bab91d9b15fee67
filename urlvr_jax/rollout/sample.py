"""Rollouts: every prompt is prefilled once; rows end, and others take their slots.

A slot decodes one row at a time. The loop goes in blocks of columns: within a block keys are written at
one scalar index; after it they join a ring of blocks, outputs go to their rows, and slots whose rows have
ended take the next rows. A block attends to the prompt, to a window of the ring just long enough for
the oldest row alive, and to itself: unused cache costs nothing.

With a slot for every row, the rows of a group share their prompt's keys; with fewer, a slot copies them.

Randomness is a function of (seed, stream, step, global row, token position): the caller folds the
first three into `key`, this file the last two. So a row's tokens depend neither on the slot it ran
in, nor on the host, nor on what the other rows did.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from urlvr_jax.models import products, transformer
from urlvr_jax.models.transformer import Cache, last_prompt_token, prefill
from urlvr_jax.rollout.column import blank, draw_column
from urlvr_jax.rollout.slots import (
    Fixed,
    Slots,
    begin,
    blocks_of,
    joined,
    outputs,
    prompts_of,
    refill,
    window_of,
    window_sizes,
    write,
)
from urlvr_jax.runtime import sharding


def _decode_block(run: Fixed, slots: Slots, time, prompt, window, width: int):
    """Decode up to `width` columns of every slot. Returns (slots, the block's cache, its outputs `[S, w]`).

    time: the loop's column at the block's start.
    """
    model = transformer.bind(run.graph, run.params)
    head = transformer.head_table(run.params, model.config.real_vocab)
    count = slots.row.shape[0]
    out = blank(count, width)
    columns = jnp.arange(width)

    def body(s):
        c, slots, cache, out = s
        age = time + c - slots.born
        hidden, cache = model(
            slots.last[:, None],
            (slots.start + age)[:, None],
            lambda _: (columns <= c)[None, None, None],
            (prompt, window) if window else (prompt,),
            Cache(cache, c),
        )
        slots, out = draw_column(run, head, hidden[:, 0], slots, age, out, c)
        return c + 1, slots, cache, out

    # Stop when the block is full, or when no row is alive.
    cache = jax.tree.map(sharding.split_rows, transformer.empty_cache(model.config, count, width))
    _, slots, cache, out = jax.lax.while_loop(
        lambda s: (s[0] < width) & ~jnp.all(s[1].ended), body, (jnp.int32(0), slots, cache, out)
    )
    return slots, cache, out


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
    block: int,
    top_k: int = 0,
    queues: int = 1,
    limits=None,
    constrain=lambda x: x,
):
    """Sample `group` responses a prompt, `slots` rows at a time.

    prompt_tokens int32 `[P, L]`, prompt_lengths int32 `[P]`, stop_ids int32 `[E]`.
    Returns {"tokens", each statistic: `[B, T]`; "length", "ended": `[B]`; "blocks": how many blocks ran}.
    Temperature 0 is greedy (statistics then at T = 1). `block`: about so many columns between refills (see
    `block_width`). `queues`: the number of devices that hold rows; each serves its own share of the prompts.
    `limits` int32 `[B]`: rows end at these lengths at the latest, 0 leaves a row out. `constrain` fixes the
    sharding of leading axes.
    """
    prompts, rows = prompt_tokens.shape[0], prompt_tokens.shape[0] * group
    if not 0 < slots <= rows or slots % queues or prompts % queues:
        raise ValueError(
            f"{slots=}: give at most {rows} rows, a multiple of {queues=} that divides {prompts=}"
        )
    blocks, width = blocks_of(max_new_tokens, block)
    sizes = window_sizes(blocks - 1)
    model = transformer.bind(graph, params)
    # A loop over the layers would hold the weights a second time, here where all of them are whole.
    model.config = dataclasses.replace(model.config, scan=False)
    run = Fixed(
        graph, products.for_few_rows(params, slots), prefill(model, prompt_tokens), prompt_lengths,
        last_prompt_token(prompt_tokens, prompt_lengths),
        jnp.full(rows, max_new_tokens, jnp.int32) if limits is None else limits,
        key, stop_ids, temperature, top_p, group, slots, queues, top_k,
    )  # fmt: skip
    row = jnp.arange(queues)[:, None] * run.served + jnp.arange(slots // queues)
    empty = transformer.empty_cache(model.config, slots, width)
    blank = lambda x: sharding.split_rows(jnp.zeros((max(1, blocks - 1), *x.shape), x.dtype), axis=1)
    state = {
        "block": jnp.int32(0),
        "taken": jnp.full(queues, slots // queues, jnp.int32),  # rows that a queue has given out
        "slots": jax.tree.map(constrain, begin(run, row.reshape(-1).astype(jnp.int32), jnp.int32(0))),
        "ring": jax.tree.map(blank, empty),
        "out": outputs(rows, blocks, width),
    }

    def body(s):
        time = s["block"] * width
        before = s["slots"]
        prompt = prompts_of(run, before.row)
        age = jnp.where(before.ended, 0, time - before.born) // width  # in blocks: rows begin with them

        def with_window(size):
            def decode(ring, slots):
                window = window_of(ring, s["block"], time, size, width, slots.born)
                return _decode_block(run, slots, time, prompt, window, width)

            return decode

        needed = jnp.searchsorted(jnp.array(sizes), jnp.max(age))
        after, cache, out = jax.lax.switch(needed, list(map(with_window, sizes)), s["ring"], before)
        put = lambda r, x: jax.lax.dynamic_update_index_in_dim(r, x, s["block"] % r.shape[0], axis=0)
        taken = s["taken"]
        if run.refill:
            after, taken = refill(run, after, taken, time + width)
        return {
            "block": s["block"] + 1,
            "taken": taken,
            "slots": after,
            "ring": jax.tree.map(put, s["ring"], cache),
            "out": write(s["out"], before, out, age),
        }

    waiting = lambda s: jnp.any(s["taken"] < run.served) if run.refill else False
    final = jax.lax.while_loop(lambda s: ~jnp.all(s["slots"].ended) | waiting(s), body, state)
    return joined(final["out"], max_new_tokens) | {"blocks": final["block"]}
