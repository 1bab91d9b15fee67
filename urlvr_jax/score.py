"""Token statistics: from hidden states to log-probability, entropy, self-certainty, top-2 gap.

Let z be the logits that predict response token y, divided by the sampling temperature, in float32:

    logp            z_y - logsumexp(z)
    entropy         logsumexp(z) - sum_v p_v z_v
    self_certainty  logsumexp(z) - mean_v z_v = KL(U || p) + log V     (Intuitor; paper A.3)
    top2_gap        p_(1) - p_(2)

The same function serves the sampler, the scorer and the loss, so they cannot disagree.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from urlvr_jax.models import transformer
from urlvr_jax.models.transformer import PromptSegment

CHUNK_ELEMENTS = 2**24  # float32 logits held at once by the chunked head: 64 MiB


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


def statistics_of(z, targets):
    """Statistics (see the module's head) of float32 logits `[.., V]` for target tokens `[..]`."""
    z = z - jax.lax.stop_gradient(jnp.max(z, axis=-1, keepdims=True))
    log_total = jnp.log(jnp.sum(jnp.exp(z), axis=-1))
    p = jnp.exp(z - log_total[..., None])
    best = jnp.argmax(z, axis=-1)[..., None]
    runner_up = jnp.max(z, axis=-1, where=jnp.arange(z.shape[-1]) != best, initial=-jnp.inf)
    return {
        "logp": jnp.take_along_axis(z, targets[..., None], axis=-1)[..., 0] - log_total,
        "entropy": log_total - jnp.sum(p * z, axis=-1),
        "self_certainty": log_total - jnp.mean(z, axis=-1),
        "top2_gap": jnp.exp(-log_total) - jnp.exp(runner_up - log_total),
    }


def token_statistics(hidden, head, targets, temperature):
    """Statistics of every token, in chunks: `[tokens, V]` in float32 never exists whole.

    hidden `[B, T, D]`, head `[V, D]`, targets int32 `[B, T]` -> {name: float32 `[B, T]`}.
    """
    shape, width = targets.shape, hidden.shape[-1]
    count = targets.size
    chunk = max(1, CHUNK_ELEMENTS // head.shape[0])
    one = lambda h, y: statistics_of(logits_at(h, head, temperature), y)
    if count <= chunk:
        return one(hidden, targets)
    chunks = -(-count // chunk)
    pad = chunks * chunk - count
    h = jnp.pad(hidden.reshape(count, width), ((0, pad), (0, 0))).reshape(chunks, chunk, width)
    y = jnp.pad(targets.reshape(count), (0, pad)).reshape(chunks, chunk)
    out = jax.lax.map(jax.checkpoint(lambda args: one(*args)), (h, y))
    return {name: x.reshape(-1)[:count].reshape(shape) for name, x in out.items()}


def prefill(model, prompt_tokens, prompt_lengths) -> PromptSegment:
    """Keys and values of all prompt tokens but the last. tokens `[P, L]`, lengths `[P]`."""
    columns = jnp.broadcast_to(jnp.arange(prompt_tokens.shape[1]), prompt_tokens.shape)
    _, layers = model(prompt_tokens, columns)
    return PromptSegment(layers, prompt_lengths - 1)


def last_prompt_token(prompt_tokens, prompt_lengths, group: int):
    """The first input of each response segment: int32 `[B]`."""
    last = jnp.take_along_axis(prompt_tokens, prompt_lengths[:, None] - 1, axis=1)[:, 0]
    return jnp.repeat(last, group)


def score(graph, params, prompt_tokens, prompt_lengths, tokens, temperature):
    """Teacher-forced statistics of responses. tokens `[B, T]` -> {name: float32 `[B, T]`}.

    Columns past a row's length hold values without meaning; the caller masks by length.
    """
    model = transformer.bind(graph, params)
    group = tokens.shape[0] // prompt_tokens.shape[0]
    prompt = prefill(model, prompt_tokens, prompt_lengths)
    first = last_prompt_token(prompt_tokens, prompt_lengths, group)
    inputs = jnp.concatenate([first[:, None], tokens[:, :-1]], axis=1)
    start = jnp.repeat(prompt_lengths - 1, group)
    positions = start[:, None] + jnp.arange(tokens.shape[1])
    hidden, _ = model(inputs, positions, prompt)
    return token_statistics(hidden, transformer.head_table(params), tokens, temperature)
