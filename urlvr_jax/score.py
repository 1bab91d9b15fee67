"""Token statistics: from hidden states to log-probability, entropy, self-certainty, top-2 gap.

Let z be the logits that predict response token y, divided by the sampling temperature, in float32:

    logp            z_y - logsumexp(z)
    entropy         logsumexp(z) - sum_v p_v z_v
    self_certainty  logsumexp(z) - mean_v z_v = KL(U || p) + log V     (Intuitor; paper A.3)
    top2_gap        p_(1) - p_(2)

The same function serves the sampler, the scorer and the loss, so they cannot disagree.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from urlvr_jax.models import transformer
from urlvr_jax.models.transformer import KV, Segment, causal
from urlvr_jax.types import STATISTICS

# float32 logits held at once by the chunked head: on a CPU what its cache holds, elsewhere 512 MiB.
CHUNK_ELEMENTS = {"cpu": 2**22}
CHUNK_ELEMENTS_ELSEWHERE = 2**27


class Layout(NamedTuple):
    """Where the tokens of a batch stand while it is scored: `urlvr_jax/pack.py` makes them.

    A unit holds M prompts and J columns-wide rows; each row holds whole responses to these prompts, one
    after the other. `plain_layout` is the layout without packing: a unit a prompt, a row a response.
    """

    source: jax.Array  # int32 [U, J, C]: token b * T + t of the batch's [B, T], or -1
    prompts: jax.Array  # int32 [U, M]: prompt of the batch's [P], or -1


def plain_layout(prompts: int, group: int, width: int) -> Layout:
    source = jnp.arange(prompts * group * width, dtype=jnp.int32).reshape(prompts, group, width)
    return Layout(source, jnp.arange(prompts, dtype=jnp.int32)[:, None])


def logits_at(hidden, head, temperature):
    """float32 logits / temperature `[.., V]` from hidden `[.., D]` and head `[V, D]`."""
    z = jnp.einsum(
        "...d,vd->...v",
        hidden,
        head.astype(hidden.dtype),
        precision=jax.lax.Precision.HIGHEST,
        preferred_element_type=jnp.float32,
    )
    return z / temperature


def statistics_of(z, targets, names=STATISTICS):
    """The statistics `names` (see the module's head) of float32 logits `[.., V]` for tokens `[..]`."""
    top = jnp.max(z, axis=-1, keepdims=True)
    z = z - top
    log_total = jnp.log(jnp.sum(jnp.exp(z), axis=-1))
    is_target = jnp.arange(z.shape[-1]) == targets[..., None]

    def top2_gap():
        # Twice the largest logit: a gap of zero; otherwise the largest below it.
        below = jnp.max(z, axis=-1, where=z < 0, initial=-jnp.inf)
        alone = jnp.sum(z == 0, axis=-1) == 1
        return jnp.where(alone, jnp.exp(-log_total) - jnp.exp(below - log_total), 0.0)

    known = {
        "logp": lambda: jnp.sum(z, axis=-1, where=is_target) - log_total,
        "entropy": lambda: log_total - jnp.sum(jnp.exp(z - log_total[..., None]) * z, axis=-1),
        "self_certainty": lambda: log_total - jnp.mean(z, axis=-1),
        "top2_gap": top2_gap,
    }
    return {name: known[name]() for name in names}


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def token_statistics(hidden, head, targets, temperature, names=STATISTICS):
    """Statistics of every token, in chunks: `[tokens, V]` in float32 never exists whole.

    hidden `[..., D]`, head `[V, D]`, targets int32 `[...]` -> {name: float32 `[...]`}. Only `logp` has a
    gradient (nothing else is in any objective); it recomputes the logits, chunk by chunk.
    """
    stats = in_chunks(
        lambda h, y: statistics_of(logits_at(h, head, temperature), y, names), head, hidden, targets
    )
    return {name: x.reshape(targets.shape) for name, x in stats.items()}


def _statistics_forward(hidden, head, targets, temperature, names):
    return token_statistics(hidden, head, targets, temperature, names), (hidden, head, targets)


def _statistics_backward(temperature, names, residuals, cotangents):
    """With p = softmax(z): d logp / dz = onehot(y) - p, and z = head @ hidden / T."""
    hidden, head, targets = residuals
    vocabulary = jnp.arange(head.shape[0])

    def one(d_head, h, y, g):
        p = jax.nn.softmax(logits_at(h, head, temperature), axis=-1)
        dz = ((vocabulary == y[:, None]) - p) * (g / temperature)[:, None]
        dz = dz.astype(h.dtype)
        exact = dict(precision=jax.lax.Precision.HIGHEST, preferred_element_type=jnp.float32)
        d_head = d_head + jnp.einsum("cv,cd->vd", dz, h, **exact)
        return d_head, jnp.einsum("cv,vd->cd", dz, head.astype(h.dtype), **exact).astype(h.dtype)

    chunks = cut(head, hidden, targets, cotangents["logp"])
    d_head = jnp.zeros(head.shape, jnp.float32)
    if chunks[0].shape[0] == 1:
        d_head, d_hidden = one(d_head, *(x[0] for x in chunks))
    else:
        d_head, d_hidden = jax.lax.scan(lambda carry, x: one(carry, *x), d_head, chunks)
    d_hidden = d_hidden.reshape(-1, hidden.shape[-1])[: targets.size].reshape(hidden.shape)
    return d_hidden, d_head.astype(head.dtype), np.zeros(targets.shape, jax.dtypes.float0)


token_statistics.defvjp(_statistics_forward, _statistics_backward)


def cut(head, hidden, *per_token):
    """hidden `[..., D]` and `[...]` arrays -> `[chunks, chunk, ...]`, zeros at the end."""
    count = per_token[0].size
    elements = CHUNK_ELEMENTS.get(jax.default_backend(), CHUNK_ELEMENTS_ELSEWHERE)
    chunk = min(count, max(1, elements // head.shape[0]))
    chunks = -(-count // chunk)
    pad = lambda x: jnp.pad(x, ((0, chunks * chunk - count),) + ((0, 0),) * (x.ndim - 1))
    shape = lambda x: pad(x).reshape(chunks, chunk, *x.shape[1:])
    return tuple(map(shape, (hidden.reshape(count, -1), *(x.reshape(count) for x in per_token))))


def in_chunks(fn, head, hidden, targets):
    """{name: fn(hidden, targets) of all tokens, flat}, a chunk at a time."""
    h, y = cut(head, hidden, targets)
    out = jax.tree.map(lambda x: x[None], fn(h[0], y[0])) if len(h) == 1 else jax.lax.map(
        lambda args: fn(*args), (h, y)
    )
    return {name: x.reshape(-1)[: targets.size] for name, x in out.items()}


def prefill(model, prompt_tokens):
    """Keys and values of prompts `[P, L]`, each layer's `[P, K, H, L]`."""
    columns = jnp.broadcast_to(jnp.arange(prompt_tokens.shape[1]), prompt_tokens.shape)
    return model(prompt_tokens, columns)[1]


def prompt_segment(layers, lengths) -> Segment:
    """Every prompt token but the last, visible to its own group only. lengths int32 `[P]`."""
    valid = jnp.arange(layers[0].keys.shape[-1]) < lengths[:, None] - 1
    return Segment(layers, lambda columns: valid[:, None, None])


def side_by_side(layers, prompts: int):
    """Caches `[U * M, ...]` of `prompts` prompts a unit -> one segment a unit, `[U, ..., M * L]`."""

    def join(x, axis):
        x = jnp.moveaxis(x.reshape(-1, prompts, *x.shape[1:]), 1, axis)
        return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])

    return tuple(KV(join(kv.keys, 3), join(kv.values, 2)) for kv in layers)


def last_prompt_token(prompt_tokens, prompt_lengths):
    """The first input of a prompt's response segments: int32 `[P]`."""
    return jnp.take_along_axis(prompt_tokens, prompt_lengths[:, None] - 1, axis=1)[:, 0]


def score(graph, params, prompt_tokens, prompt_lengths, tokens, temperature, layout=None, names=STATISTICS):
    """Teacher-forced statistics of responses. tokens `[B, T]` -> {name: float32, like layout.source}.

    Without a layout the statistics are `[B, T]`. Where the source is -1, and in columns past a row's
    length, they have no meaning; the caller masks.
    """
    model = transformer.bind(graph, params)
    (prompts, prompt_width), (rows, width) = prompt_tokens.shape, tokens.shape
    if layout is None:
        plain = plain_layout(prompts, rows // prompts, width)
        stats = score(
            graph, params, prompt_tokens, prompt_lengths, tokens, temperature, plain, names
        )
        return {name: x.reshape(rows, width) for name, x in stats.items()}
    units, unit_rows, columns = layout.source.shape
    filled, source = layout.source >= 0, jnp.maximum(layout.source, 0)
    row, column = jnp.where(filled, source // width, -1), source % width
    of_prompt = source // width // (rows // prompts)  # [U, J, C]

    # The units' prompts, side by side; a response token sees those of its own prompt.
    there, chosen = layout.prompts >= 0, jnp.maximum(layout.prompts, 0).reshape(-1)
    layers = side_by_side(prefill(model, prompt_tokens[chosen]), layout.prompts.shape[1])
    seen = jnp.where(there.reshape(-1), prompt_lengths[chosen] - 1, 0)
    owner = jnp.where(jnp.arange(prompt_width) < seen[:, None], chosen[:, None], -1)
    owner = owner.reshape(units, 1, 1, -1)
    prompt = Segment(layers, lambda at: owner == of_prompt[:, :, at, None])

    # Each response sees its own earlier tokens.
    owner_row = row.reshape(-1, 1, columns)
    own = lambda at: causal(at, columns) & (owner_row[:, :, None, :] == owner_row[:, :, at, None])

    flat = tokens.reshape(-1)
    last = last_prompt_token(prompt_tokens, prompt_lengths)
    inputs = jnp.where(column == 0, last[of_prompt], flat[jnp.maximum(source - 1, 0)])
    positions = prompt_lengths[of_prompt] - 1 + column
    as_rows = lambda x: x.reshape(-1, columns)
    hidden, _ = model(as_rows(inputs), as_rows(positions), own, (prompt,))
    hidden = hidden.reshape(*source.shape, -1)
    return token_statistics(hidden, transformer.head_table(params), flat[source], temperature, names)


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
