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

from urlvr_jax import sharding
from urlvr_jax.models import transformer
from urlvr_jax.models.attention import SameId, Segment, wide
from urlvr_jax.models.transformer import side_by_side
from urlvr_jax.types import STATISTICS

# float32 logits the head works on at once, held up to three times: on a CPU little, elsewhere 512 MiB each.
CHUNK_ELEMENTS = {"cpu": 2**22}
CHUNK_ELEMENTS_ELSEWHERE = 2**27
# At most so many float32 logits of a micro-batch wait for the backward pass; more are made again there.
KEPT_ELEMENTS = {"cpu": 2**24}
KEPT_ELEMENTS_ELSEWHERE = 2**27
# On a CPU logits of a large vocabulary stand [V, N]: the products of the head's gradients want them so.
LARGE_VOCABULARY = 4096
FEW = 64  # up to so many tokens a CPU multiplies faster with the vocabulary first
TURNED = 2048  # entries of a vocabulary turned around at once: they stay in the cache


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


def vocabulary_axis(tokens: int, vocab: int) -> int:
    """Of so many tokens' logits while they are scored: -1 in `[N, V]`, 0 in `[V, N]`."""
    return 0 if sharding.platform() == "cpu" and vocab >= max(tokens, LARGE_VOCABULARY) else -1


def logits_at(hidden, head, temperature, axis: int = -1):
    """float32 logits / temperature from hidden `[N, D]` and head `[V, D]`; the vocabulary on `axis`."""
    exact = dict(precision=jax.lax.Precision.HIGHEST, preferred_element_type=jnp.float32)
    hidden, head = wide(hidden), wide(head.astype(hidden.dtype))
    if axis == 0 or hidden.shape[0] <= FEW:
        z = jax.lax.optimization_barrier(jnp.einsum("vd,nd->vn", head, hidden, **exact))
        z = z if axis == 0 else _turned(z)
    else:
        # Without the barrier the reductions below are fused into the product, at half its speed.
        z = jax.lax.optimization_barrier(jnp.einsum("nd,vd->nv", hidden, head, **exact))
    return z / temperature


def _turned(z):
    """`[V, N]` -> `[N, V]`. On a CPU a large one in a loop: else all that reads it turns it around again."""
    vocab, count = z.shape
    if sharding.platform() != "cpu" or sharding.devices() > 1 or vocab < LARGE_VOCABULARY:
        return z.T

    def body(i, out):
        start = jnp.minimum(i * TURNED, vocab - TURNED)
        part = jax.lax.dynamic_slice_in_dim(z, start, TURNED)
        return jax.lax.dynamic_update_slice_in_dim(out, part.T, start, axis=1)

    return jax.lax.fori_loop(0, -(-vocab // TURNED), body, jnp.zeros((count, vocab), z.dtype))


def statistics_of(z, targets, names=STATISTICS, axis: int = -1):
    """Statistics (see the module's head) of float32 logits `[N, V]` for tokens `[N]`, and `log_total`.

    log_total is logsumexp(z). With axis 0 the logits are `[V, N]`.
    """
    across = lambda x: jnp.expand_dims(x, axis)
    top = jnp.max(z, axis=axis)
    e = jnp.exp(z - across(top))
    total = jnp.sum(e, axis=axis)
    log_total = jnp.log(total)  # of the shifted logits

    def top2_gap():
        # The largest logit more than once: a gap of zero; otherwise to the largest below it.
        below = jnp.max(z, axis=axis, where=z < across(top), initial=-jnp.inf)
        alone = jnp.sum(z == across(top), axis=axis, dtype=jnp.float32) == 1
        return jnp.where(alone, (1 - jnp.exp(below - top)) / total, 0.0)

    known = {
        "logp": lambda: jnp.take_along_axis(z, across(targets), axis).squeeze(axis) - top - log_total,
        "entropy": lambda: log_total - jnp.sum(e * (z - across(top)), axis=axis) / total,
        "self_certainty": lambda: log_total - jnp.mean(z - across(top), axis=axis),
        "top2_gap": top2_gap,
        "log_total": lambda: top + log_total,
    }
    return {name: known[name]() for name in names}


def token_statistics(hidden, head, targets, temperature, names=STATISTICS):
    """Statistics of every token: `[tokens, V]` in float32 never exists whole.

    hidden `[..., D]`, head `[V, D]`, targets int32 `[...]` -> {name: float32 `[...]`}. Only `logp` has a
    gradient (nothing else is in any objective).
    """
    flat = sharding.split_rows(hidden.reshape(-1, hidden.shape[-1]))
    stats = _statistics(flat, head, targets.reshape(-1), temperature, tuple(names))
    return {name: stats[name].reshape(targets.shape) for name in names}


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _statistics(hidden, head, targets, temperature, names):
    """`token_statistics` of hidden `[N, D]`, a chunk of tokens at a time."""
    return _in_chunks(hidden, head, targets, temperature, names, keep=False)


def _in_chunks(hidden, head, targets, temperature, names, keep: bool):
    """Statistics, `log_total`, and if they are kept the `logits`, all tokens' at once."""
    shards = _shards(targets)
    count = len(targets) // shards
    chunk = count if keep else _chunk(head.shape[0], count)
    axis = vocabulary_axis(chunk, head.shape[0])
    head = sharding.whole(head.astype(hidden.dtype), "vocabulary") if shards > 1 else head

    def one(h, y):
        z = logits_at(h, head, temperature, axis)
        return statistics_of(z, y, (*names, "log_total"), axis) | ({"logits": z} if keep else {})

    if chunk == count:
        return one(hidden, targets)
    chunks = -(-count // chunk)

    def split(x):
        """`[shards * count, ...]` -> `[chunks, shards * chunk, ...]`: every chunk has rows of every device."""
        x = x.reshape(shards, count, *x.shape[1:])
        x = jnp.pad(x, ((0, 0), (0, chunks * chunk - count)) + ((0, 0),) * (x.ndim - 2))
        x = x.reshape(shards, chunks, chunk, *x.shape[2:]).swapaxes(0, 1)
        return sharding.split_rows(x.reshape(chunks, shards * chunk, *x.shape[3:]), axis=1)

    def joined(x):
        x = x.reshape(chunks, shards, chunk, *x.shape[2:]).swapaxes(0, 1)
        x = x.reshape(shards, chunks * chunk, *x.shape[3:])[:, :count]
        return sharding.split_rows(x.reshape(shards * count, *x.shape[2:]))

    out = jax.lax.map(lambda args: one(*args), (split(hidden), split(targets)))
    return {name: joined(x) for name, x in out.items()}


def _shards(targets) -> int:
    """Devices over which tokens are split, 1 where they do not divide."""
    return 1 if len(targets) % sharding.row_shards() else sharding.row_shards()


def _chunk(vocab: int, tokens: int) -> int:
    """How many of one axis a device holds at once, given the length of the other; at most `tokens`."""
    return min(tokens, max(1, chunk_elements(sharding.platform()) // vocab))


def chunk_elements(platform: str) -> int:
    return CHUNK_ELEMENTS.get(platform, CHUNK_ELEMENTS_ELSEWHERE)


def kept_elements(platform: str) -> int:
    return KEPT_ELEMENTS.get(platform, KEPT_ELEMENTS_ELSEWHERE)


def _statistics_forward(hidden, head, targets, temperature, names):
    most = kept_elements(sharding.platform())
    keep = len(targets) // _shards(targets) * head.shape[0] <= most
    stats = _in_chunks(hidden, head, targets, temperature, names, keep)
    return stats, (hidden, head, targets, stats["log_total"], stats.pop("logits", None))


def _statistics_backward(temperature, names, saved, cotangents):
    """d logp / dz = onehot(y) - softmax(z), z = head @ hidden / T: a block of the vocabulary at a time.

    So each block of the head's gradient is one product over all tokens, written once.
    """
    hidden, head, targets, log_total, kept = saved
    shards = _shards(targets)
    table = sharding.whole(head.astype(hidden.dtype), "vocabulary") if shards > 1 else head
    exact = dict(precision=jax.lax.Precision.HIGHEST, preferred_element_type=jnp.float32)
    axis = vocabulary_axis(len(targets) // shards, head.shape[0])
    nv, across = ("vn" if axis == 0 else "nv"), lambda x: jnp.expand_dims(x, axis)
    scale = across(cotangents["logp"] / temperature)

    def one(d_hidden, start, rows):
        """Of the vocabulary's entries start, ..., whose head is `rows`."""
        rows = wide(rows.astype(hidden.dtype))
        z = kept
        if kept is None and axis == 0:
            z = jnp.einsum("vd,nd->vn", rows, wide(hidden), **exact) / temperature
        elif kept is None:
            z = jnp.einsum("nd,vd->nv", wide(hidden), rows, **exact) / temperature
        hit = jnp.expand_dims(start + jnp.arange(len(rows)), -1 - axis) == across(targets)
        dz = wide(((hit - jnp.exp(z - across(log_total))) * scale).astype(hidden.dtype))
        d_rows = jnp.einsum(f"{nv},nd->vd", dz, wide(hidden), **exact).astype(head.dtype)
        d_rows = sharding.scattered(d_rows, "vocabulary")
        d_more = jnp.einsum(f"{nv},vd->nd", dz, rows, **exact)
        return sharding.split_rows(d_hidden + d_more), d_rows

    vocab = head.shape[0]
    block, d_hidden = _chunk(len(targets) // shards, vocab), jnp.zeros(hidden.shape, jnp.float32)
    if block == vocab or kept is not None:
        d_hidden, d_head = one(d_hidden, 0, table)
    else:
        # Blocks are read from the head itself and written into one array: no copy of either beside it.
        def add(carry, start, rows):
            d_hidden, d_rows = one(carry[0], start, rows)
            return d_hidden, jax.lax.dynamic_update_slice_in_dim(carry[1], d_rows, start, axis=0)

        def body(i, carry):
            return add(carry, i * block, jax.lax.dynamic_slice_in_dim(table, i * block, block))

        carry = d_hidden, sharding.scattered(jnp.zeros(head.shape, head.dtype), "vocabulary")
        carry = jax.lax.fori_loop(0, vocab // block, body, carry)
        rest = vocab // block * block
        d_hidden, d_head = add(carry, rest, table[rest:]) if rest < vocab else carry
    return d_hidden.astype(hidden.dtype), d_head, np.zeros(targets.shape, jax.dtypes.float0)


_statistics.defvjp(_statistics_forward, _statistics_backward)


@functools.partial(jax.jit, static_argnums=0)
def whole_logits(graph, params, tokens):
    """float32 logits `[B, C, V]` of whole sequences int32 `[B, C]`: to compare models on a few tokens."""
    hidden, _ = transformer.bind(graph, params)(
        tokens, jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    )
    logits = logits_at(hidden.reshape(-1, hidden.shape[-1]), transformer.head_table(params), 1.0)
    return logits.reshape(*tokens.shape, -1)


def prefill(model, prompt_tokens):
    """Keys and values of prompts `[P, L]`, each layer's `[P, K, H, L]`."""
    columns = jnp.broadcast_to(jnp.arange(prompt_tokens.shape[1]), prompt_tokens.shape)
    return model(prompt_tokens, columns)[1]


def prompt_segment(layers, lengths) -> Segment:
    """Every prompt token but the last, visible to its own group only. lengths int32 `[P]`."""
    valid = jnp.arange(layers[0].keys.shape[-1]) < lengths[:, None] - 1
    return Segment(layers, lambda columns: valid[:, None, None])


def last_prompt_token(prompt_tokens, prompt_lengths):
    """The first input of a prompt's response segments: int32 `[P]`."""
    return jnp.take_along_axis(prompt_tokens, prompt_lengths[:, None] - 1, axis=1)[:, 0]


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
    filled, source = layout.source >= 0, jnp.maximum(layout.source, 0)
    column, of_prompt = source % width, source // width // (rows // prompts)  # [U, J, C]
    ids = lambda x: jnp.where(filled, x, -1).reshape(-1, columns)

    # The units' prompts, side by side; a response token sees those of its own prompt.
    there, chosen = layout.prompts >= 0, jnp.maximum(layout.prompts, 0).reshape(-1)
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
