"""Teacher-forced scoring: responses that exist already, to the statistics of each of their tokens."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from urlvr_jax.models import transformer
from urlvr_jax.models.attention import SameId, Segment
from urlvr_jax.models.transformer import last_prompt_token, prefill, side_by_side
from urlvr_jax.scoring.head import token_statistics
from urlvr_jax.scoring.packing import Layout, plain_layout
from urlvr_jax.scoring.token_statistics import logits_at
from urlvr_jax.types import STATISTICS


@functools.partial(jax.jit, static_argnums=0)
def whole_logits(graph, params, tokens):
    """float32 logits `[B, C, V]` of whole sequences int32 `[B, C]`: to compare models on a few tokens."""
    hidden, _ = transformer.bind(graph, params)(
        tokens, jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    )
    logits = logits_at(hidden.reshape(-1, hidden.shape[-1]), transformer.head_table(params), 1.0)
    return logits.reshape(*tokens.shape, -1)


def score(graph, params, prompt_tokens, prompt_lengths, tokens, temperature, layout=None, names=STATISTICS):
    """Teacher-forced statistics of responses. tokens `[B, T]` -> {name: float32, like layout.source}.

    Without a layout the statistics are `[B, T]`. Where the source is -1, and in columns past a row's
    length, they have no meaning; the caller masks.
    """
    prompt_tokens, prompt_lengths, tokens = map(jnp.asarray, (prompt_tokens, prompt_lengths, tokens))
    model = transformer.bind(graph, params)
    (prompts, prompt_width), (rows, width) = prompt_tokens.shape, tokens.shape
    if layout is None:
        plain = plain_layout(prompts, rows // prompts, width)
        stats = score(graph, params, prompt_tokens, prompt_lengths, tokens, temperature, plain, names)
        return {name: x.reshape(rows, width) for name, x in stats.items()}
    units, unit_rows, columns = layout.source.shape
    filled = layout.source >= 0
    source = jnp.maximum(layout.source, 0)
    column = source % width
    of_prompt = source // width // (rows // prompts)  # [U, J, C]
    ids = lambda x: jnp.where(filled, x, -1).reshape(-1, columns)

    # The units' prompts, side by side; a response token sees those of its own prompt.
    there = layout.prompts >= 0
    chosen = jnp.maximum(layout.prompts, 0).reshape(-1)
    by_place = lambda x: x.reshape(units, -1, *x.shape[1:]).swapaxes(0, 1)  # [M, U, ...]
    layers = side_by_side(jax.tree.map(by_place, prefill(model, prompt_tokens[chosen])))
    seen = jnp.where(there.reshape(-1), prompt_lengths[chosen] - 1, 0)
    owner = jnp.where(jnp.arange(prompt_width) < seen[:, None], chosen[:, None], -1)
    prompt = Segment(layers, SameId(ids(of_prompt), owner.reshape(units, -1)))

    # Each response sees its own earlier tokens: those that began at the same column.
    start = ids(jnp.arange(columns) - column)
    own = SameId(start, start, causal=True)

    flat = tokens.reshape(-1)
    last = last_prompt_token(prompt_tokens, prompt_lengths)
    inputs = jnp.where(column == 0, last[of_prompt], flat[jnp.maximum(source - 1, 0)])
    positions = prompt_lengths[of_prompt] - 1 + column
    as_rows = lambda x: x.reshape(-1, columns)
    hidden, _ = model(as_rows(inputs), as_rows(positions), own, (prompt,))
    hidden = hidden.reshape(*source.shape, -1)
    head = transformer.head_table(params, model.config.real_vocab)
    return token_statistics(hidden, head, flat[source], temperature, names)


def score_all(graph, params, prompt_tokens, prompt_lengths, tokens, layouts: Layout, count, temperature):
    """Statistics `[B, T]` of packed responses, a micro-batch of `layouts` at a time; 0 where none stand."""
    empty = {name: jnp.zeros(tokens.size, jnp.float32) for name in STATISTICS}

    def body(i, out):
        layout = jax.tree.map(lambda x: x[i], layouts)
        stats = score(graph, params, prompt_tokens, prompt_lengths, tokens, temperature, layout)
        target = jnp.where(layout.source >= 0, layout.source, tokens.size)  # out of range: dropped
        return {name: x.at[target].set(stats[name], mode="drop") for name, x in out.items()}

    out = jax.lax.fori_loop(0, count, body, empty)
    return {name: x.reshape(tokens.shape) for name, x in out.items()}
