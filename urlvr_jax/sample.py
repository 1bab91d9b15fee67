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
from typing import NamedTuple

import jax
import jax.numpy as jnp

from urlvr_jax import sharding
from urlvr_jax.models import transformer
from urlvr_jax.models.attention import KV, Segment
from urlvr_jax.models.transformer import Cache, side_by_side
from urlvr_jax.score import last_prompt_token, logits_at, prefill, prompt_segment, statistics_of
from urlvr_jax.types import STATISTICS

WIDEST_BLOCK = {"cpu": 64}  # columns of a block; elsewhere:
WIDEST_BLOCK_ELSEWHERE = 128
CDF_BLOCK = 256  # the inverse CDF searches blocks of this many tokens, then inside one block


def draw(p, uniform):
    """Inverse-CDF sample: probabilities `[B, V]`, one uniform a row `[B]` -> int32 `[B]`.

    Two levels keep the running sums short; a token of probability zero is never drawn.
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


def keep_nucleus(p, top_p):
    """Zero all but the smallest set of most likely tokens whose mass reaches `top_p`."""
    descending = -jnp.sort(-p, axis=-1)
    before = jnp.cumsum(descending, axis=-1) - descending
    smallest = jnp.min(jnp.where(before < top_p, descending, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(p >= smallest, p, 0.0)


def choose(z, uniform, top_p: float):
    """The next token int32 `[B]` from float32 logits `[B, V]`, already divided by T."""
    p = jax.nn.softmax(z, axis=-1)
    return draw(p if top_p >= 1 else keep_nucleus(p, top_p), uniform)


class Run(NamedTuple):
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
    widest = WIDEST_BLOCK.get(platform or sharding.platform(), WIDEST_BLOCK_ELSEWHERE)
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


def _decode_block(run: Run, slots: Slots, time, prompt, window, width: int):
    """Decode up to `width` columns of every slot. Returns (slots, the block's cache, its outputs `[S, w]`).

    time: the loop's column at the block's start.
    """
    model = transformer.bind(run.graph, run.params)
    head = transformer.head_table(run.params, model.config.real_vocab)
    count = slots.row.shape[0]
    out = {
        "tokens": jnp.zeros((count, width), jnp.int32),
        **{name: jnp.zeros((count, width), jnp.float32) for name in STATISTICS},
        "length": jnp.zeros(count, jnp.int32),
        "ended": jnp.zeros(count, bool),
    }
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
        z = logits_at(hidden[:, 0], head, run.temperature if run.temperature > 0 else 1.0)
        if run.temperature > 0:
            uniform = jax.vmap(lambda k, t: jax.random.uniform(jax.random.fold_in(k, t)))(slots.keys, age)
            token = choose(z, uniform, run.top_p)
        else:
            token = jnp.argmax(z, axis=-1).astype(jnp.int32)
        live = ~slots.ended
        column = {"tokens": token, **statistics_of(z, token)}
        stopped = live & jnp.isin(token, run.stop_ids)
        out = {
            name: jax.lax.dynamic_update_slice_in_dim(out[name], jnp.where(live, x, 0)[:, None], c, axis=1)
            for name, x in column.items()
        } | {"length": out["length"] + live, "ended": out["ended"] | stopped}
        slots = slots._replace(last=token, ended=slots.ended | stopped | (age + 1 >= slots.limit))
        return c + 1, slots, cache, out

    # Stop when the block is full, or when no row is alive.
    cache = jax.tree.map(sharding.split_rows, transformer.empty_cache(model.config, count, width))
    _, slots, cache, out = jax.lax.while_loop(
        lambda s: (s[0] < width) & ~jnp.all(s[1].ended), body, (jnp.int32(0), slots, cache, out)
    )
    return slots, cache, out


def _window(ring, block, time, size: int, width: int, born):
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


def _begin(run: Run, row, time) -> Slots:
    """Slots that begin these rows `[S]` at this column of the loop; row B is none."""
    known = jnp.minimum(row, run.rows - 1)
    p = known // run.group
    limit = jnp.where(row < run.rows, run.limits[known], 0)
    keys = jax.vmap(lambda r: jax.random.fold_in(run.key, r))(row)
    born = jnp.full(run.slots, time)
    return Slots(row, born, run.lengths[p] - 1, run.first[p], limit, limit == 0, keys)


def _prompts_of(run: Run, row) -> Segment:
    """The prompts of the slots' rows `[S]`: the group's own when all rows have slots, else copies."""
    if not run.refill:
        return prompt_segment(run.bank, run.lengths)
    p = jnp.minimum(row, run.rows - 1) // run.group
    of_queue = len(run.lengths) // run.queues
    local = p.reshape(run.queues, -1) - jnp.arange(run.queues)[:, None] * of_queue
    parts = lambda x: x.reshape(run.queues, of_queue, *x.shape[1:])
    take = lambda x: jax.vmap(lambda part, i: part[i])(parts(x), local).reshape(-1, *x.shape[1:])
    return prompt_segment(jax.tree.map(take, run.bank), run.lengths[p])


def _refill(run: Run, slots: Slots, taken, time):
    """The k-th free slot of a queue takes the queue's k-th waiting row. taken int32 `[queues]`."""
    free = slots.ended.reshape(run.queues, -1)
    index = taken[:, None] + jnp.cumsum(free, axis=1) - 1
    row = jnp.where(index < run.served, index + jnp.arange(run.queues)[:, None] * run.served, run.rows)
    fresh = _begin(run, row.reshape(-1).astype(jnp.int32), time)
    slots = Slots(*(jnp.where(slots.ended, new, old) for new, old in zip(fresh, slots, strict=True)))
    return slots, jnp.minimum(taken + jnp.sum(free, axis=1), run.served)


def _write(out, slots: Slots, block_out, column):
    """Put a block's outputs `[S, w]` where the rows that its slots began with stand."""
    target = jnp.where(slots.ended, len(out["length"]), slots.row)  # out of range: dropped
    put = {
        "length": lambda x, new: x.at[target].add(new, mode="drop"),
        "ended": lambda x, new: x.at[target].max(new, mode="drop"),
    }
    by_column = lambda x, new: x.at[target, column].set(new, mode="drop")
    return {name: put.get(name, by_column)(x, block_out[name]) for name, x in out.items()}


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
    run = Run(
        graph, transformer.for_few_rows(params, slots), prefill(model, prompt_tokens), prompt_lengths,
        last_prompt_token(prompt_tokens, prompt_lengths),
        jnp.full(rows, max_new_tokens, jnp.int32) if limits is None else limits,
        key, stop_ids, temperature, top_p, group, slots, queues,
    )  # fmt: skip
    row = jnp.arange(queues)[:, None] * run.served + jnp.arange(slots // queues)
    empty = transformer.empty_cache(model.config, slots, width)
    blank = lambda x: sharding.split_rows(jnp.zeros((max(1, blocks - 1), *x.shape), x.dtype), axis=1)
    state = {
        "block": jnp.int32(0),
        "taken": jnp.full(queues, slots // queues, jnp.int32),  # rows that a queue has given out
        "slots": jax.tree.map(constrain, _begin(run, row.reshape(-1).astype(jnp.int32), jnp.int32(0))),
        "ring": jax.tree.map(blank, empty),
        "out": {
            "tokens": jnp.zeros((rows, blocks, width), jnp.int32),
            **{name: jnp.zeros((rows, blocks, width), jnp.float32) for name in STATISTICS},
            "length": jnp.zeros(rows, jnp.int32),
            "ended": jnp.zeros(rows, bool),
        },
    }

    def body(s):
        time, before, ring = s["block"] * width, s["slots"], s["ring"]
        prompt = _prompts_of(run, before.row)
        age = jnp.where(before.ended, 0, time - before.born) // width  # in blocks: rows begin with them

        def with_window(size):
            def decode(ring, slots):
                window = _window(ring, s["block"], time, size, width, slots.born)
                return _decode_block(run, slots, time, prompt, window, width)

            return decode

        needed = jnp.searchsorted(jnp.array(sizes), jnp.max(age))
        after, cache, out = jax.lax.switch(needed, list(map(with_window, sizes)), ring, before)
        put = lambda r, x: jax.lax.dynamic_update_index_in_dim(r, x, s["block"] % r.shape[0], axis=0)
        taken = s["taken"]
        if run.refill:
            after, taken = _refill(run, after, taken, time + width)
        return {
            "block": s["block"] + 1,
            "taken": taken,
            "slots": after,
            "ring": jax.tree.map(put, ring, cache),
            "out": _write(s["out"], before, out, age),
        }

    waiting = lambda s: jnp.any(s["taken"] < run.served) if run.refill else False
    final = jax.lax.while_loop(lambda s: ~jnp.all(s["slots"].ended) | waiting(s), body, state)
    whole = lambda x: x.reshape(rows, -1)[:, :max_new_tokens] if x.ndim == 3 else x
    return {name: whole(x) for name, x in final["out"].items()} | {"blocks": final["block"]}
