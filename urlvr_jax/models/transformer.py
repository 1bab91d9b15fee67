"""The policy: a decoder-only transformer (Qwen3 architecture) in Flax NNX.

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
from collections.abc import Callable
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
    real_vocab: int | None = None  # rows of the head that exist for sampling and statistics; None = all


class KV(NamedTuple):
    """Keys and values of one layer. Keys are [.., K, H, S]: decoding reads them along S."""

    keys: jax.Array  # [U, K, H, S]
    values: jax.Array  # [U, K, S, H]


class Segment(NamedTuple):
    """Keys outside the columns at hand. U divides B: B / U consecutive rows share the same keys."""

    layers: tuple[KV, ...]
    visible: Callable  # query columns int32 [c] -> bool, broadcastable to [U, B / U, c, S]


class Cache(NamedTuple):
    """The block of columns being decoded, written at one scalar index."""

    layers: tuple[KV, ...]  # [B, K, H, block]
    index: jax.Array  # int32 scalar, the column to write


def causal(columns, width: int):
    """The plain `visible` of a block of `width` columns: each sees itself and those before."""
    return (columns[:, None] >= jnp.arange(width))[None, None]


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


def rotate(x, positions, theta):
    """Rotary position embedding on `[B, C, heads, H]`, halves layout; angles in float32."""
    half = x.shape[-1] // 2
    frequency = theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angle = positions[..., None, None].astype(jnp.float32) * frequency  # [B, C, 1, H/2]
    cos, sin = jnp.cos(angle).astype(x.dtype), jnp.sin(angle).astype(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def wide(x):
    """An operand of a product that adds up in float32; CPUs have none for bfloat16 operands."""
    return x.astype(jnp.float32) if jax.default_backend() == "cpu" else x


def attend(q, segments):
    """Softmax attention in float32 over all segments together -> `[B, C, N, H]`.

    q `[B, C, N, H]`; segments: (KV with leading axis U, mask broadcastable to `[U, B / U, C, S]`).
    """
    rows, columns, n_heads, width = q.shape
    kv_heads = segments[0][0].keys.shape[1]
    repeat = n_heads // kv_heads
    q = (q * (width**-0.5)).reshape(rows, columns, kv_heads, repeat, width).transpose(0, 2, 3, 1, 4)

    def shared(x, kv):
        """`[B, K, R, C, .]` -> `[U, K, (B / U) R C, .]`: rows that share keys are one product's rows."""
        units = kv.keys.shape[0]
        x = x.reshape(units, -1, kv_heads, repeat, columns, x.shape[-1]).swapaxes(1, 2)
        return x.reshape(units, kv_heads, -1, x.shape[-1])

    def apart(x):
        """The way back."""
        x = x.reshape(x.shape[0], kv_heads, -1, repeat, columns, x.shape[-1]).swapaxes(1, 2)
        return x.reshape(rows, kv_heads, repeat, columns, -1)

    # Plain batched products of [M, H] by [H, S] and [M, S] by [S, H]: any other order of axes is up to
    # ten times slower on a CPU.
    logits = []
    for kv, mask in segments:
        z = jnp.matmul(wide(shared(q, kv)), wide(kv.keys), preferred_element_type=jnp.float32)
        mask = jnp.broadcast_to(mask, (kv.keys.shape[0], rows // kv.keys.shape[0], *mask.shape[2:]))
        logits.append(jnp.where(mask.reshape(rows, 1, 1, *mask.shape[2:]), apart(z), -jnp.inf))
    weights = jax.nn.softmax(jnp.concatenate(logits, axis=-1), axis=-1).astype(q.dtype)
    out, start = 0, 0
    for (kv, _), z in zip(segments, logits, strict=True):
        part = shared(weights[..., start : start + z.shape[-1]], kv)
        out = out + apart(jnp.matmul(part, kv.values))
        start += z.shape[-1]
    return out.transpose(0, 3, 1, 2, 4).reshape(rows, columns, n_heads, width)


def attend_in_blocks(q, segments):
    """`attend` over blocks of queries, each recomputed in the backward pass.

    segments: (KV, `visible`), see `Segment`.
    """
    columns = q.shape[1]
    masked = lambda at: [(kv, visible(at)) for kv, visible in segments]
    if columns <= QUERY_BLOCK:
        return attend(q, masked(jnp.arange(columns)))
    blocks = -(-columns // QUERY_BLOCK)
    q = jnp.pad(q, ((0, 0), (0, blocks * QUERY_BLOCK - columns), (0, 0), (0, 0)))
    q = jnp.moveaxis(q.reshape(q.shape[0], blocks, QUERY_BLOCK, *q.shape[2:]), 1, 0)
    # Padded queries repeat the last column, so that each sees some key.
    at = jnp.minimum(jnp.arange(blocks * QUERY_BLOCK), columns - 1).reshape(blocks, QUERY_BLOCK)
    block = jax.checkpoint(lambda args: attend(args[0], masked(args[1])))
    out = jnp.moveaxis(jax.lax.map(block, (q, at)), 0, 1)
    return out.reshape(out.shape[0], -1, *out.shape[3:])[:, :columns]


class Norm(nnx.Module):
    def __init__(self, width, config):
        self.scale = nnx.Param(jnp.ones(width, config.param_dtype))
        self.eps = config.norm_eps

    def __call__(self, x):
        x32 = x.astype(jnp.float32)
        x32 = x32 * jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + self.eps)
        return self.scale[...].astype(x.dtype) * x32.astype(x.dtype)


@jax.custom_vjp
def product(x, kernel):
    """x `[B, C, inputs]` @ kernel `[inputs, outputs]`, with the gradients as plain products.

    The derived ones transpose a whole activation first: a quarter of an update's time on a CPU.
    """
    return x @ kernel


def _product_backward(saved, dy):
    x, kernel = saved
    d_kernel = jnp.einsum("td,tf->df", x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1]))
    return jnp.einsum("bcf,df->bcd", dy, kernel), d_kernel


product.defvjp(lambda x, kernel: (x @ kernel, (x, kernel)), _product_backward)


class Linear(nnx.Module):
    def __init__(self, inputs, outputs, config, rngs):
        init = jax.nn.initializers.normal(0.02)
        self.kernel = nnx.Param(init(rngs.params(), (inputs, outputs), config.param_dtype))

    def __call__(self, x):
        return product(x, self.kernel[...].astype(x.dtype))


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

    def __call__(self, x, positions, visible, context, cache: KV | None, index):
        """visible: who sees this block's columns; context: (KV, visible) of the other segments."""
        rows, columns, _ = x.shape
        heads = lambda y: y.reshape(rows, columns, -1, self.config.head_dim)
        q = rotate(self.q_norm(heads(self.q(x))), positions, self.config.rope_theta)
        k = rotate(self.k_norm(heads(self.k(x))), positions, self.config.rope_theta)
        own = KV(k.transpose(0, 2, 3, 1), heads(self.v(x)).transpose(0, 2, 1, 3))
        if cache is not None:
            own = KV(
                jax.lax.dynamic_update_slice_in_dim(cache.keys, own.keys, index, axis=3),
                jax.lax.dynamic_update_slice_in_dim(cache.values, own.values, index, axis=2),
            )
        out = attend_in_blocks(q, [*context, (own, visible)])
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

    def __call__(self, tokens, positions, visible=None, context=(), cache: Cache | None = None):
        """Hidden states after the final norm `[B, C, D]`, and each layer's keys and values.

        tokens, positions int32 `[B, C]`; context: `Segment`s. Without `cache` the columns attend to each
        other as `visible` says (default: causally); with it they are written at `cache.index`, and
        `visible` speaks of the cache's columns.
        """
        x = jnp.take(self.embed[...], tokens, axis=0).astype(self.config.compute_dtype)
        visible = visible or (lambda columns: causal(columns, tokens.shape[1]))
        kvs = []
        for i, layer in enumerate(self.layers):
            around = [(segment.layers[i], segment.visible) for segment in context]
            kv = None if cache is None else cache.layers[i]
            run = lambda x, layer=layer, around=around, kv=kv: layer(
                x, positions, visible, around, kv, None if cache is None else cache.index
            )
            x, kv = jax.checkpoint(run)(x) if self.config.remat and cache is None else run(x)
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


def head_table(params, real_vocab: int | None = None) -> jax.Array:
    """The output table `[V, D]`, of which only the first `real_vocab` rows exist: the embedding when tied."""
    return params.get("head", params["embed"])[:real_vocab]
