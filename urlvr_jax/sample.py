"""Rollouts: every prompt is prefilled once, its cache shared by the rows of its group.

Randomness is a function of (seed, stream, step, global row, token position): the caller folds the
first three into `key`, this file the last two. So a row's tokens depend neither on the slot it ran
in, nor on the host, nor on what the other rows did.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from urlvr_jax.models import transformer
from urlvr_jax.models.transformer import ResponseCache
from urlvr_jax.score import last_prompt_token, logits_at, prefill, statistics_of
from urlvr_jax.types import STATISTICS

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


def _decode(graph, params, prompt, first, start, row_keys, stop_ids, width, temperature, top_p):
    """Decode rows until all have ended or `width` columns are written."""
    model = transformer.bind(graph, params)
    head = transformer.head_table(params)
    rows = first.shape[0]
    empty = {
        "tokens": jnp.zeros((rows, width), jnp.int32),
        **{name: jnp.zeros((rows, width), jnp.float32) for name in STATISTICS},
    }
    state = {
        "t": jnp.int32(0),
        "last": first,
        "length": jnp.zeros(rows, jnp.int32),
        "ended": jnp.zeros(rows, bool),
        "cache": transformer.empty_cache(model.config, rows, width),
        "out": empty,
    }

    def body(s):
        t = s["t"]
        hidden, cache = model(
            s["last"][:, None], (start + t)[:, None], prompt, ResponseCache(s["cache"], t)
        )
        z = logits_at(hidden[:, 0], head, temperature if temperature > 0 else 1.0)
        if temperature > 0:
            uniform = jax.vmap(lambda k: jax.random.uniform(jax.random.fold_in(k, t)))(row_keys)
            token = choose(z, uniform, top_p)
        else:
            token = jnp.argmax(z, axis=-1).astype(jnp.int32)
        column = {"tokens": token, **statistics_of(z, token)}
        live = ~s["ended"]
        out = {
            name: jax.lax.dynamic_update_slice_in_dim(
                s["out"][name], jnp.where(live, column[name], 0)[:, None], t, axis=1
            )
            for name in s["out"]
        }
        return {
            "t": t + 1,
            "last": token,
            "length": s["length"] + live,
            "ended": s["ended"] | jnp.isin(token, stop_ids),
            "cache": cache,
            "out": out,
        }

    # Stop when the columns are full, or when no row is alive.
    final = jax.lax.while_loop(lambda s: (s["t"] < width) & ~jnp.all(s["ended"]), body, state)
    return {**final["out"], "length": final["length"], "ended": final["ended"]}


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
    constrain=lambda x: x,
):
    """Sample `group` responses a prompt, `slots` rows at a time.

    prompt_tokens int32 `[P, L]`, prompt_lengths int32 `[P]`, stop_ids int32 `[E]`.
    Returns {"tokens", each statistic: `[B, T]`; "length", "ended": `[B]`}. Temperature 0 is greedy
    (statistics then at T = 1). `constrain` fixes the sharding of the rows in flight.
    """
    prompts = prompt_tokens.shape[0]
    if not (slots % group == 0 and prompts % (slots // group) == 0) and group % slots:
        raise ValueError(
            f"{slots=} must divide {group=}, or be a multiple that divides {prompts * group} rows"
        )
    at_once, rows_each = max(1, min(slots, prompts * group) // group), min(slots, group)
    prompts_chunks, group_chunks = prompts // at_once, group // rows_each
    row_key = jax.vmap(lambda row: jax.random.fold_in(key, row))

    def some_prompts(args):
        chunk, tokens, lengths = args
        tokens, lengths = constrain(tokens), constrain(lengths)
        prompt = prefill(transformer.bind(graph, params), tokens, lengths)
        first = last_prompt_token(tokens, lengths, rows_each)
        start = jnp.repeat(lengths - 1, rows_each)

        def some_rows(part):
            p = chunk * at_once + jnp.arange(at_once)
            rows = p[:, None] * group + part * rows_each + jnp.arange(rows_each)
            keys = constrain(row_key(rows.reshape(-1)))
            return _decode(
                graph, params, prompt, first, start, keys, stop_ids, max_new_tokens, temperature,
                top_p,
            )  # fmt: skip

        out = jax.lax.map(some_rows, jnp.arange(group_chunks))  # [group_chunks, rows, ...]
        order = lambda x: jnp.moveaxis(x.reshape(group_chunks, at_once, rows_each, *x.shape[2:]), 0, 1)
        return jax.tree.map(lambda x: order(x).reshape(-1, *x.shape[2:]), out)

    split = lambda x: x.reshape(prompts_chunks, at_once, *x.shape[1:])
    out = jax.lax.map(
        some_prompts, (jnp.arange(prompts_chunks), split(prompt_tokens), split(prompt_lengths))
    )
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), out)
