"""The optimizer chain and the learning-rate schedule, from the configuration.

The learning rate counts optimizer updates, not steps. Clipping by the global norm happens in
`train_step.py`, where the norm is a metric anyway.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax


def schedule(optim, updates: int):
    """Learning rate as a function of the update's number, from `config.optim`."""
    if optim.schedule == "constant":
        after = optax.constant_schedule(optim.lr)
    else:
        after = optax.cosine_decay_schedule(optim.lr, max(1, updates - optim.warmup_updates))
    if optim.warmup_updates == 0:
        return after
    warmup = optax.linear_schedule(0.0, optim.lr, optim.warmup_updates)
    return optax.join_schedules([warmup, after], [optim.warmup_updates])


def in_float32(tree):
    """Every leaf in float32; float32 leaves as they are."""
    return jax.tree.map(lambda x: x.astype(jnp.float32), tree)


def optimizer(optim, updates: int) -> optax.GradientTransformation:
    """AdamW; decoupled weight decay on every parameter, as in verl.

    Moments and changes are float32 whatever the parameters are: in bfloat16 a decay of 0.999 rounds to none.
    """
    inner = optax.adamw(
        schedule(optim, updates),
        b1=optim.b1,
        b2=optim.b2,
        eps=optim.eps,
        weight_decay=optim.weight_decay,
    )
    return optax.GradientTransformation(
        lambda params: inner.init(in_float32(params)),
        lambda grads, state, params: inner.update(in_float32(grads), state, in_float32(params)),
    )
