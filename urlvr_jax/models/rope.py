"""Rotary position embedding: plain, or stretched to longer contexts as `transformers` does it.

linear   every frequency divided by `factor`
llama3   long waves divided, short waves kept, in between interpolated       (Llama 3.1)
yarn     likewise with a ramp over the dimensions; cos and sin are scaled    (arXiv 2309.00071)
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from urlvr_jax.runtime import sharding


@dataclasses.dataclass(frozen=True)
class RopeScaling:
    kind: str  # "linear", "llama3" or "yarn"
    factor: float
    original_positions: int = 0  # llama3, yarn: the context before it was stretched
    low: float = 1.0  # llama3: low_freq_factor; yarn: beta_slow (turns within the original context)
    high: float = 1.0  # llama3: high_freq_factor; yarn: beta_fast
    truncate: bool = True  # yarn: the ramp begins and ends at whole dimensions
    attention_factor: float = 1.0  # yarn: on cos and sin, so squared on the attention's logits


class Turn(NamedTuple):
    """How far each pair of dimensions is turned at each position; the same in all heads and layers."""

    cos: jax.Array  # float32 [B, C, 1, H / 2]
    sin: jax.Array


def turn_of(positions, width: int, theta: float, scaling: RopeScaling | None = None) -> Turn:
    """The turn of positions int32 `[B, C]`, for heads of `width` H."""
    half = width // 2
    if scaling is None:
        frequency = theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    else:
        frequency = stretched(theta, half, scaling).astype(np.float32)

    def of(positions):
        angle = positions[..., None, None].astype(jnp.float32) * frequency
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        if scaling is not None:
            cos, sin = cos * scaling.attention_factor, sin * scaling.attention_factor
        return Turn(cos, sin)

    if sharding.platform() != "cpu":
        return of(positions)
    # A loop, because a CPU's compiler would compute it again for every head in each layer that uses it.
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), jax.lax.map(of, positions.T))


def rotate(x, turn: Turn):
    """x `[B, C, heads, H]` turned; halves layout, in float32 within."""
    a, b = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    out = [a * turn.cos - b * turn.sin, b * turn.cos + a * turn.sin]
    return jnp.concatenate(out, axis=-1).astype(x.dtype)


def stretched(theta: float, half: int, scaling: RopeScaling) -> np.ndarray:
    """Radians a position of each of the `half` pairs of dimensions, float64."""
    plain = theta ** (-np.arange(half) / half)
    if scaling.kind == "linear":
        return plain / scaling.factor
    keep = _kept(plain, theta, half, scaling)
    return keep * plain + (1 - keep) * plain / scaling.factor


def _kept(plain, theta: float, half: int, scaling: RopeScaling) -> np.ndarray:
    """Share of each plain frequency that stays as it was: 1 for the fast ones, 0 for the slow ones."""
    positions = scaling.original_positions
    if scaling.kind == "llama3":
        turns = positions * plain / (2 * math.pi)  # within the original context
        return np.clip((turns - scaling.low) / (scaling.high - scaling.low), 0, 1)
    # yarn: the (real-valued) dimension that makes so many turns within the original context
    at = lambda turns: half * math.log(positions / (turns * 2 * math.pi)) / math.log(theta)
    first, last = at(scaling.high), at(scaling.low)
    if scaling.truncate:
        first, last = math.floor(first), math.ceil(last)
    first = max(first, 0)
    last = min(last, 2 * half - 1)
    last = last + 0.001 if first == last else last
    return 1 - np.clip((np.arange(half) - first) / (last - first), 0, 1)
