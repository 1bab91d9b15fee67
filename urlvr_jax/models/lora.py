"""LoRA: adapters of low rank beside frozen kernels, y = x W + (alpha / rank) (x A) B, as in PEFT.

A policy's parameters stay one dictionary. Beside `layers.0.attention.q.kernel` stand its `lora_a` `[inputs, rank]` and
`lora_b` `[rank, outputs]`, both float32; a kernel in int8 has a `kernel_scale`, float32 `[outputs]`. Names alone tell
what is trained: the adapters where there are any, else everything.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from urlvr_jax.config import ConfigError

TARGETS = ("q", "k", "v", "o", "gate", "up", "down")  # the projections of a layer: PEFT's "all-linear"
BASES = ("param_dtype", "int8")  # how the frozen kernels are kept
A, B, SCALE = "lora_a", "lora_b", "kernel_scale"
LARGEST = 127  # of int8, both ways: the code -128 is not used


@dataclasses.dataclass(frozen=True)
class LoRA:
    """What adapters a model has."""

    rank: int
    alpha: float
    targets: tuple[str, ...] = TARGETS
    base: str = "param_dtype"

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


def of(settings) -> LoRA | None:
    """Of the section `model.lora`; None where its rank is 0."""
    s = settings
    return LoRA(s.rank, s.alpha, tuple(s.targets), s.base) if s.rank else None


def check(config) -> None:
    """ConfigError where a model's configuration has a target with a side below the rank."""
    if config.lora is None:
        return
    heads, keys = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    outputs = {"q": heads, "k": keys, "v": keys, "o": heads}  # the other side, of o its inputs
    narrow = {t: min(config.d_model, outputs.get(t, config.d_ff)) for t in config.lora.targets}
    target = min(narrow, key=narrow.get)
    if config.lora.rank > narrow[target]:
        raise ConfigError(
            f"model.lora.rank = {config.lora.rank} exceeds {narrow[target]}, the narrower side of {target!r} in this model: "
            f"choose {narrow[target]} or less, or leave {target!r} out of model.lora.targets"
        )


def plain(config):
    """A model's configuration without adapters: of its base, or of what they are merged into."""
    return dataclasses.replace(config, lora=None) if config.lora else config


# ---- what is trained -------------------------------------------------------------------------


def split(params: dict) -> tuple[dict, dict]:
    """(trained, frozen) of parameters, or of anything under their names."""
    trained = {n: x for n, x in params.items() if n.endswith((f".{A}", f".{B}"))}
    if not trained:
        return params, {}
    return trained, {n: x for n, x in params.items() if n not in trained}


def without(params: dict) -> dict:
    """Anything under the names of the plain model's parameters."""
    return {n: x for n, x in params.items() if not n.endswith((f".{A}", f".{B}", f".{SCALE}"))}


def trained(params: dict) -> dict:
    """The adapters, or everything where there are none."""
    return split(params)[0]


def initialise(shapes: dict, seed: int) -> dict[str, jax.Array]:
    """Fresh adapters of a model with these shapes, a function of the seed alone.

    A is uniform within 1 / sqrt(inputs), which is PEFT's Kaiming; B is 0, so the policy begins as its base.
    """
    key, out = jax.random.key(seed), {}
    for i, (name, shape) in enumerate(sorted(trained(shapes).items())):
        if name.endswith(f".{A}"):
            bound = shape.shape[0] ** -0.5
            draw = jax.random.fold_in(key, i)
            out[name] = jax.random.uniform(draw, shape.shape, jnp.float32, -bound, bound)
        else:
            out[name] = jnp.zeros(shape.shape, jnp.float32)
    return out


# ---- the kernels -----------------------------------------------------------------------------


def quantised(kernel) -> tuple[jax.Array, jax.Array]:
    """A kernel `[inputs, outputs]` in int8, and its outputs' scales float32 `[outputs]`; symmetric, to nearest."""
    wide = kernel.astype(jnp.float32)
    scale = jnp.max(jnp.abs(wide), axis=0) / LARGEST
    scale = jnp.where(scale > 0, scale, 1.0)
    return jnp.round(wide / scale).astype(jnp.int8), scale


def merged(params: dict, lora: LoRA, dtype) -> dict:
    """Parameters of the plain model in `dtype`: W + (alpha / rank) A B in float32, rounded once."""
    out = {}
    for name, x in split(params)[1].items():
        stem, _, last = name.rpartition(".")
        if last == SCALE:
            continue
        wide = x.astype(jnp.float32)
        if f"{stem}.{SCALE}" in params and last == "kernel":
            wide = wide * params[f"{stem}.{SCALE}"]
        if f"{stem}.{A}" in params and last == "kernel":
            product = jnp.matmul(
                params[f"{stem}.{A}"], params[f"{stem}.{B}"], precision=jax.lax.Precision.HIGHEST
            )
            wide = wide + lora.scale * product
        out[name] = wide.astype(dtype)
    return out
