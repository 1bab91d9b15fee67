"""The policy: one decoder-only transformer in Flax NNX, for Qwen2, Qwen3, Llama 3 and OLMo-2.

They differ in four places, each a field of `ModelConfig`: which projections have a bias, how queries and
keys are normalised, whether norms stand before or after the blocks, and the rotary frequencies.

One attention serves prefill, decoding and training. Each query attends to several segments of keys
under one softmax:

    prompts   computed once, shared by consecutive rows (a group)
    window    while decoding: columns written before the current block
    own       the row's own: a causal block while training, the block being written while decoding

A prompt segment holds all prompt tokens but the last; the last one is the first input of a response.
So hidden state t of a response always predicts response token t, while decoding and while training
alike. Axis letters: `urlvr_jax/types.py`.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from urlvr_jax.models.attention import KV, SameId, Segment, attend_to
from urlvr_jax.models.lora import LoRA
from urlvr_jax.models.paged import write_and_attend
from urlvr_jax.models.pool import Pool, Reach
from urlvr_jax.models.products import OutputsFirst, frozen_product, product, product_outputs_first
from urlvr_jax.models.rope import RopeScaling, rotate, turn_of
from urlvr_jax.runtime import sharding


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
    rope_scaling: RopeScaling | None = None
    attention_bias: str = ""  # projections with a bias: "", "qkv" (Qwen2) or "qkvo"
    mlp_bias: bool = False
    qk_norm: str = "head"  # "head": each head's width (Qwen3); "whole": all heads at once (OLMo-2); "none"
    norm_after: bool = False  # norms on what the blocks give, not on what they take (OLMo-2)
    max_positions: int = 0  # the context it was made for, 0 = not known; checked when a run is opened
    window: int = 0  # beyond so many positions some layers would not see; likewise
    param_dtype: str = "float32"
    compute_dtype: str = "float32"
    remat: bool = False  # recompute each layer in the backward pass
    real_vocab: int | None = None  # rows of the head that exist for sampling and statistics; None = all
    scan: bool = False  # layers as one loop where they do not decode: compiled once, weights held twice
    attention: str = "auto"  # auto, xla or pallas: `attention.attend_to`
    lora: LoRA | None = None  # adapters beside frozen kernels


class Cache(NamedTuple):
    """The block of columns being decoded, written at one scalar index; or pages, written where a `Reach` says."""

    layers: tuple[KV, ...] | tuple[Pool, ...]  # [B, K, H, block]
    index: jax.Array | Reach  # int32 scalar, the column to write


def empty_cache(config: ModelConfig, rows: int, width: int) -> tuple[KV, ...]:
    dtype = jnp.dtype(config.compute_dtype)
    kv = KV(
        jnp.zeros((rows, config.n_kv_heads, config.head_dim, width), dtype),
        jnp.zeros((rows, config.n_kv_heads, width, config.head_dim), dtype),
    )
    return (kv,) * config.n_layers


def side_by_side(layers) -> tuple[KV, ...]:
    """Caches `[n, U, ...]` of each layer -> `[U, ...]`, their n * S columns one after the other."""

    def join(x, axis):
        x = jnp.moveaxis(x, 0, axis)
        return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])

    return tuple(KV(join(kv.keys, 3), join(kv.values, 2)) for kv in layers)


def normalised(x, scale, eps: float):
    """x over the root of its last axis' mean square, times the scale; computed in float32."""
    x32 = x.astype(jnp.float32)
    x32 = x32 * jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + eps)
    return (scale.astype(jnp.float32) * x32).astype(x.dtype)


class Norm(nnx.Module):
    def __init__(self, width, config):
        self.scale = nnx.Param(jnp.ones(width, config.param_dtype))
        self.eps = config.norm_eps

    def __call__(self, x):
        return normalised(x, self.scale[...], self.eps)


class Linear(nnx.Module):
    def __init__(self, inputs, outputs, config, rngs, bias: bool = False, split="outputs"):
        init = jax.nn.initializers.normal(0.02)
        self.kernel = nnx.Param(init(rngs.params(), (inputs, outputs), config.param_dtype))
        self.bias = nnx.Param(jnp.zeros(outputs, config.param_dtype)) if bias else None
        self.split = split

    def __call__(self, x):
        kernel = self.kernel.get_value()
        if isinstance(kernel, OutputsFirst):
            y = product_outputs_first(x, kernel.kernel)
        else:
            y = product(x, kernel, self.split)
        return y if self.bias is None else y + self.bias[...].astype(x.dtype)


class Adapted(Linear):
    """A frozen projection with an adapter beside it, if it is a target. Its parameters' values are `models/lora.py`'s."""

    def __init__(self, name, inputs, outputs, config, rngs, **options):
        super().__init__(inputs, outputs, config, rngs, **options)
        lora = config.lora
        short, target = lora.base == "int8", name in lora.targets
        if short:
            self.kernel = nnx.Param(jnp.zeros((inputs, outputs), jnp.int8))
        self.kernel_scale = nnx.Param(jnp.ones(outputs, jnp.float32)) if short else None
        self.lora_a = nnx.Param(jnp.zeros((inputs, lora.rank), jnp.float32)) if target else None
        self.lora_b = nnx.Param(jnp.zeros((lora.rank, outputs), jnp.float32)) if target else None
        self.scale = lora.scale

    def __call__(self, x):
        scale = None if self.kernel_scale is None else self.kernel_scale[...]
        y = frozen_product(x, self.kernel[...], scale, self.split)
        if self.lora_a is not None:
            inner = product(x, self.lora_a[...], f"{self.split}.a")
            y = y + self.scale * product(inner, self.lora_b[...], f"{self.split}.b")
        return y if self.bias is None else y + self.bias[...].astype(x.dtype)


def linear(name, inputs, outputs, config, rngs, **options) -> Linear:
    """The projection of that name, as `model.lora` wants it."""
    if config.lora is None:
        return Linear(inputs, outputs, config, rngs, **options)
    return Adapted(name, inputs, outputs, config, rngs, **options)


class Attention(nnx.Module):
    def __init__(self, config, rngs):
        queries, keys = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
        of = lambda name, *sizes, **options: linear(
            name, *sizes, config, rngs, bias=name in config.attention_bias, **options
        )
        self.q = of("q", config.d_model, queries)
        self.k = of("k", config.d_model, keys)
        self.v = of("v", config.d_model, keys)
        self.o = of("o", queries, config.d_model, split="inputs")
        if config.qk_norm != "none":
            whole = config.qk_norm == "whole"
            self.q_norm = Norm(queries if whole else config.head_dim, config)
            self.k_norm = Norm(keys if whole else config.head_dim, config)
        self.config = config

    def __call__(self, x, turn, visible, context, cache: KV | Pool | None, index):
        """visible: who sees this block's columns; context: (KV, visible) of the other segments.

        index: the cache's column to write; with a pool of pages the `Reach` of this column.
        """
        rows, columns, _ = x.shape
        config = self.config
        if isinstance(cache, Pool):
            out, pool = write_and_attend(*self._column(x), turn, cache, index, config.attention)
            return self.o(out.reshape(rows, 1, -1)), pool
        q, k = (rotate(y, turn) for y in self._queries_and_keys(x))
        own = KV(k.transpose(0, 2, 3, 1), self._heads(self.v(x)).transpose(0, 2, 1, 3))
        if cache is not None:
            own = KV(
                jax.lax.dynamic_update_slice_in_dim(cache.keys, own.keys, index, axis=3),
                jax.lax.dynamic_update_slice_in_dim(cache.values, own.values, index, axis=2),
            )
        out = attend_to(q, [*context, (own, visible)], self.config.attention)
        return self.o(out.reshape(rows, columns, -1)), own

    def _heads(self, y):
        return y.reshape(*y.shape[:-1], -1, self.config.head_dim)

    def _queries_and_keys(self, x):
        """Normalised, not yet turned: `[B, C, N, H]` and `[B, C, K, H]`."""
        q, k = self.q(x), self.k(x)
        if self.config.qk_norm == "whole":
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = self._heads(q), self._heads(k)
        return (self.q_norm(q), self.k_norm(k)) if self.config.qk_norm == "head" else (q, k)

    def _column(self, x):
        """Queries `[B, N, H]`, keys and values `[B, K, H]` of one column x `[B, 1, D]`, not yet turned.

        Where a device has all heads they come from one product and are one array: fewer kernels of a GPU.
        """
        config, parts = self.config, (self.q, self.k, self.v)
        if sharding.tensor_shards() > 1 or any(
            isinstance(p.kernel.get_value(), OutputsFirst) for p in parts
        ):
            q, k = self._queries_and_keys(x)
            return q[:, 0], k[:, 0], self._heads(self.v(x))[:, 0]
        y = product(x, jnp.concatenate([p.kernel[...] for p in parts], axis=1), "outputs")
        if self.q.bias is not None:
            y = y + jnp.concatenate([p.bias[...] for p in parts]).astype(x.dtype)
        queries, keys = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
        both, v = jnp.split(y[:, 0], [queries + keys], axis=-1)
        if config.qk_norm == "whole":
            q, k = jnp.split(both, [queries], axis=-1)
            both = jnp.concatenate([self.q_norm(q), self.k_norm(k)], axis=-1)
        both = self._heads(both)
        if config.qk_norm == "head":
            a_query = (jnp.arange(both.shape[1]) < config.n_heads)[:, None]
            scale = jnp.where(a_query, self.q_norm.scale[...], self.k_norm.scale[...])
            both = normalised(both, scale, config.norm_eps)
        both = jax.lax.optimization_barrier(both)
        return both[:, : config.n_heads], both[:, config.n_heads :], self._heads(v)


class FeedForward(nnx.Module):
    def __init__(self, config, rngs):
        of = lambda *sizes, **options: linear(*sizes, config, rngs, bias=config.mlp_bias, **options)
        self.gate = of("gate", config.d_model, config.d_ff)
        self.up = of("up", config.d_model, config.d_ff)
        self.down = of("down", config.d_ff, config.d_model, split="inputs")

    def __call__(self, x):
        return self.down(jax.nn.silu(self.gate(x)) * self.up(x))


class Layer(nnx.Module):
    def __init__(self, config, rngs):
        self.attention_norm = Norm(config.d_model, config)
        self.attention = Attention(config, rngs)
        self.feedforward_norm = Norm(config.d_model, config)
        self.feedforward = FeedForward(config, rngs)
        self.norm_after = config.norm_after

    def __call__(self, x, *args):
        if self.norm_after:
            out, kv = self.attention(x, *args)
            x = x + self.attention_norm(out)
            return x + self.feedforward_norm(self.feedforward(x)), kv
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

    def __call__(self, tokens, positions, visible=None, context=(), cache: Cache | None = None):
        """Hidden states after the final norm `[B, C, D]`, and each layer's keys and values.

        tokens, positions int32 `[B, C]`; context: `Segment`s. Without `cache` the columns attend to each
        other as `visible` says (default: causally); with it they are written at `cache.index`, and
        `visible` speaks of the cache's columns. With a cache of pages one column attends to what its `Reach` says.
        """
        x = jnp.take(self.embed[...], tokens, axis=0).astype(self.config.compute_dtype)
        x = sharding.split_rows(sharding.split_features(x) if cache is None else x)
        if visible is None:
            ids = jnp.zeros(tokens.shape, jnp.int32)
            visible = SameId(ids, ids, causal=True)
        config = self.config
        turn = turn_of(positions, config.head_dim, config.rope_theta, config.rope_scaling)
        if config.scan and cache is None:
            x, kvs = self._scanned(x, turn, visible, context)
            return self.final_norm(x), kvs
        kvs = []
        for i, layer in enumerate(self.layers):
            around = [(segment.layers[i], segment.visible) for segment in context]
            kv = None if cache is None else cache.layers[i]
            run = lambda x, layer=layer, around=around, kv=kv: layer(
                x, turn, visible, around, kv, None if cache is None else cache.index
            )
            x, kv = jax.checkpoint(run)(x) if config.remat and cache is None else run(x)
            x = sharding.split_rows(x)
            kvs.append(kv)
        return self.final_norm(x), tuple(kvs)

    def _scanned(self, x, turn, visible, context):
        """The layers as one loop over their stacked parameters and contexts."""
        graph, *_ = nnx.split(self.layers[0])
        stack = lambda trees: jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
        states = stack([nnx.split(layer)[1] for layer in self.layers])
        around = [stack(segment.layers) for segment in context]

        def body(x, at):
            state, kvs = at
            seen = [(kv, segment.visible) for kv, segment in zip(kvs, context, strict=True)]
            x, kv = nnx.merge(graph, state)(x, turn, visible, seen, None, None)
            return sharding.split_rows(x), kv

        body = jax.checkpoint(body) if self.config.remat else body
        x, kvs = jax.lax.scan(body, x, (states, around))
        return x, tuple(jax.tree.map(lambda y, i=i: y[i], kvs) for i in range(len(self.layers)))


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


def head_table(params, real_vocab: int | None = None) -> jax.Array:
    """The output table `[V, D]`, of which only the first `real_vocab` rows exist: the embedding when tied."""
    return params.get("head", params["embed"])[:real_vocab]


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
