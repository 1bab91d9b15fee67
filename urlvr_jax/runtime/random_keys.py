"""Random keys: every draw is a function of (seed, stream, step), and of row and position further down."""

from __future__ import annotations

import jax

STREAMS = {"rollout": 0, "reward": 1, "evaluate": 2, "generate": 3, "verify": 4}


def random_key(seed: int, stream: str, step: int):
    """The key of one (seed, stream, step); rows and positions are folded in further down."""
    key = jax.random.fold_in(jax.random.key(seed), STREAMS[stream])
    return jax.random.fold_in(key, step)
