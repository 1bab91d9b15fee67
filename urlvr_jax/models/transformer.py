"""The policy: a decoder-only transformer (Qwen3 architecture) in Flax NNX.

One attention serves prefill, decoding and training. Its keys come in two segments:

    prompt    `[P, K, H, L]`, computed once a prompt and shared by the rows of its group
    response  `[B, K, H, T]`, the row's own: a causal block, or a cache written at one scalar index

The prompt segment holds all prompt tokens but the last; the last one is the first input of the
response segment. So hidden state t of a response always predicts response token t, while decoding
and while training alike. Axis letters: `urlvr_jax/types.py`.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

QUERY_BLOCK = 512  # above this many queries attention runs in blocks, so [B, N, T, S] is never whole


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    vocab_size: int
    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    d_ff: int
    rope_theta: float
    norm_eps: float
    tied_head: bool
    param_dtype: str = "float32"
    compute_dtype: str = "float32"
    remat: bool = False  # recompute each layer in the backward pass


class KV(NamedTuple):
    """Keys and values of one layer. Keys are [.., K, H, S]: decoding reads them along S."""

    keys: jax.Array  # [B or P, K, H, S]
    values: jax.Array  # [B or P, K, S, H]


class PromptSegment(NamedTuple):
    layers: tuple[KV, ...]  # keys [P, K, H, L]
    lengths: jax.Array  # int32 [P], valid key columns of each prompt


class ResponseCache(NamedTuple):
    layers: tuple[KV, ...]  # keys [B, K, H, T]
    index: jax.Array  # int32 scalar, the column to write


def empty_cache(config: ModelConfig, rows: int, width: int) -> tuple[KV, ...]:
    dtype = jnp.dtype(config.compute_dtype)
    kv = KV(
        jnp.zeros((rows, config.n_kv_heads, config.head_dim, width), dtype),
        jnp.zeros((rows, config.n_kv_heads, width, config.head_dim), dtype),
    )
    return (kv,) * config.n_layers


def rotate(x, positions, theta):
    """Rotary position embedding on `[B, C, heads, H]`, halves layout; angles in float32."""
    half = x.shape[-1] // 2
    frequency = theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angle = positions[..., None, None].astype(jnp.float32) * frequency  # [B, C, 1, H/2]
    cos, sin = jnp.cos(angle).astype(x.dtype), jnp.sin(angle).astype(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def attend(q, own: KV, own_mask, prompt: KV | None, prompt_mask):
    """Softmax attention in float32 over the two segments -> `[B, C, N, H]`.

    q `[B, C, N, H]`; own_mask bool `[C, S]`; prompt_mask bool `[P, L]`.
    """
    rows, columns, n_heads, width = q.shape
    kv_heads, repeat = own.keys.shape[1], n_heads // own.keys.shape[1]
    q = q.reshape(rows, columns, kv_heads, repeat, width) * (width**-0.5)
    logits = jnp.einsum("bckrh,bkhs->bkrcs", q, own.keys, preferred_element_type=jnp.float32)
    logits = jnp.where(own_mask, logits, -jnp.inf)
    if prompt is None:
        weights = jax.nn.softmax(logits, axis=-1).astype(q.dtype)
        out = jnp.einsum("bkrcs,bksh->bckrh", weights, own.values)
        return out.reshape(rows, columns, n_heads, width)
    # A group shares its prompt's keys: one product a prompt, with the group's queries as rows.
    prompts = prompt.keys.shape[0]
    grouped_q = q.reshape(prompts, rows // prompts, columns, kv_heads, repeat, width)
    shared = jnp.einsum("pgckrh,pkhl->pgkrcl", grouped_q, prompt.keys, preferred_element_type=jnp.float32)
    shared = jnp.where(prompt_mask[:, None, None, None, None, :], shared, -jnp.inf)
    shared = shared.reshape(rows, kv_heads, repeat, columns, -1)
    weights = jax.nn.softmax(jnp.concatenate([shared, logits], axis=-1), axis=-1).astype(q.dtype)
    split = shared.shape[-1]
    out = jnp.einsum("bkrcs,bksh->bckrh", weights[..., split:], own.values)
    from_prompt = jnp.einsum(
        "pgkrcl,pklh->pgckrh",
        weights[..., :split].reshape(prompts, rows // prompts, kv_heads, repeat, columns, split),
        prompt.values,
    )
    return (out + from_prompt.reshape(out.shape)).reshape(rows, columns, n_heads, width)


def attend_in_blocks(q, own: KV, prompt: KV | None, prompt_mask):
    """Causal `attend` over blocks of queries, each recomputed in the backward pass."""
    columns = q.shape[1]
    causal = jnp.arange(columns)[:, None] >= jnp.arange(columns)[None, :]
    if columns <= QUERY_BLOCK:
        return attend(q, own, causal, prompt, prompt_mask)
    blocks = -(-columns // QUERY_BLOCK)
    padding = blocks * QUERY_BLOCK - columns
    q = jnp.pad(q, ((0, 0), (0, padding), (0, 0), (0, 0)))
    causal = jnp.pad(causal, ((0, padding), (0, 0)), constant_values=True)
    q = jnp.moveaxis(q.reshape(q.shape[0], blocks, QUERY_BLOCK, *q.shape[2:]), 1, 0)
    block = jax.checkpoint(lambda args: attend(args[0], own, args[1], prompt, prompt_mask))
    out = jax.lax.map(block, (q, causal.reshape(blocks, QUERY_BLOCK, columns)))
    out = jnp.moveaxis(out, 0, 1)
    return out.reshape(out.shape[0], -1, *out.shape[3:])[:, :columns]


class Norm(nnx.Module):
    def __init__(self, width, config):
        self.scale = nnx.Param(jnp.ones(width, config.param_dtype))
        self.eps = config.norm_eps

    def __call__(self, x):
        x32 = x.astype(jnp.float32)
        x32 = x32 * jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + self.eps)
        return self.scale[...].astype(x.dtype) * x32.astype(x.dtype)


class Linear(nnx.Module):
    def __init__(self, inputs, outputs, config, rngs):
        init = jax.nn.initializers.normal(0.02)
        self.kernel = nnx.Param(init(rngs.params(), (inputs, outputs), config.param_dtype))

    def __call__(self, x):
        return x @ self.kernel[...].astype(x.dtype)


class Attention(nnx.Module):
    def __init__(self, config, rngs):
        queries, keys = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
        self.q = Linear(config.d_model, queries, config, rngs)
        self.k = Linear(config.d_model, keys, config, rngs)
        self.v = Linear(config.d_model, keys, config, rngs)
        self.o = Linear(queries, config.d_model, config, rngs)
        self.q_norm = Norm(config.head_dim, config)
        self.k_norm = Norm(config.head_dim, config)
        self.config = config

    def __call__(self, x, positions, prompt: KV | None, prompt_mask, cache: KV | None, index):
        rows, columns, _ = x.shape
        heads = lambda y: y.reshape(rows, columns, -1, self.config.head_dim)
        q = rotate(self.q_norm(heads(self.q(x))), positions, self.config.rope_theta)
        k = rotate(self.k_norm(heads(self.k(x))), positions, self.config.rope_theta)
        own = KV(k.transpose(0, 2, 3, 1), heads(self.v(x)).transpose(0, 2, 1, 3))
        if cache is None:
            out = attend_in_blocks(q, own, prompt, prompt_mask)
        else:
            own = KV(
                jax.lax.dynamic_update_slice_in_dim(cache.keys, own.keys, index, axis=3),
                jax.lax.dynamic_update_slice_in_dim(cache.values, own.values, index, axis=2),
            )
            written = (jnp.arange(own.keys.shape[3]) <= index)[None, :]
            out = attend(q, own, written, prompt, prompt_mask)
        return self.o(out.reshape(rows, columns, -1)), own


class FeedForward(nnx.Module):
    def __init__(self, config, rngs):
        self.gate = Linear(config.d_model, config.d_ff, config, rngs)
        self.up = Linear(config.d_model, config.d_ff, config, rngs)
        self.down = Linear(config.d_ff, config.d_model, config, rngs)

    def __call__(self, x):
        return self.down(jax.nn.silu(self.gate(x)) * self.up(x))


class Layer(nnx.Module):
    def __init__(self, config, rngs):
        self.attention_norm = Norm(config.d_model, config)
        self.attention = Attention(config, rngs)
        self.feedforward_norm = Norm(config.d_model, config)
        self.feedforward = FeedForward(config, rngs)

    def __call__(self, x, *args):
        out, kv = self.attention(self.attention_norm(x), *args)
        x = x + out
        return x + self.feedforward(self.feedforward_norm(x)), kv


class Transformer(nnx.Module):
    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        init = jax.nn.initializers.normal(0.02)
        shape = (config.vocab_size, config.d_model)
        self.embed = nnx.Param(init(rngs.params(), shape, config.param_dtype))
        self.layers = nnx.List([Layer(config, rngs) for _ in range(config.n_layers)])
        self.final_norm = Norm(config.d_model, config)
        if not config.tied_head:
            self.head = nnx.Param(init(rngs.params(), shape, config.param_dtype))
        self.config = config

    def __call__(
        self,
        tokens,
        positions,
        prompt: PromptSegment | None = None,
        cache: ResponseCache | None = None,
    ):
        """Hidden states after the final norm `[B, C, D]`, and each layer's keys and values.

        tokens, positions int32 `[B, C]`. Without `cache` the columns attend causally to each
        other; with it they are written at `cache.index` and attend to all columns up to there.
        """
        x = jnp.take(self.embed[...], tokens, axis=0).astype(self.config.compute_dtype)
        mask = None
        if prompt is not None:
            mask = jnp.arange(prompt.layers[0].keys.shape[3]) < prompt.lengths[:, None]  # [P, L]
        kvs = []
        for i, layer in enumerate(self.layers):
            call = jax.checkpoint(layer) if self.config.remat and cache is None else layer
            x, kv = call(
                x,
                positions,
                None if prompt is None else prompt.layers[i],
                mask,
                None if cache is None else cache.layers[i],
                None if cache is None else cache.index,
            )
            kvs.append(kv)
        return self.final_norm(x), tuple(kvs)


# ---- plain parameter trees: {"layers.0.attention.q.kernel": array} --------------------------


def _parameters(state) -> dict:
    return {".".join(map(str, path)): leaf.get_value() for path, leaf in nnx.to_flat_state(state)}


def structure(config: ModelConfig):
    """The module's static half, and its parameters as `ShapeDtypeStruct`s."""
    graph, state = nnx.split(nnx.eval_shape(lambda: Transformer(config, nnx.Rngs(0))))
    return graph, _parameters(state)


def initialise(config: ModelConfig, seed: int) -> dict[str, jax.Array]:
    """Random parameters (normal, 0.02; norms one), a function of the seed alone."""
    return _parameters(nnx.split(Transformer(config, nnx.Rngs(seed)))[1])


def bind(graph, params: dict[str, jax.Array]) -> Transformer:
    """The module with these parameters, inside or outside a trace."""
    as_path = lambda name: tuple(int(s) if s.isdigit() else s for s in name.split("."))
    return nnx.merge(graph, nnx.from_flat_state([(as_path(k), nnx.Param(v)) for k, v in params.items()]))


def head_table(params) -> jax.Array:
    """The output table `[V, D]`: the embedding when tied."""
    return params.get("head", params["embed"])
