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


def optimizer(optim, updates: int) -> optax.GradientTransformation:
    """AdamW; decoupled weight decay on every parameter, as in verl. Its moments and its changes are float32.

    In bfloat16 the second moment would never shrink: 0.999 of a number rounds to the number.
    """
    adamw = optax.adamw(
        schedule(optim, updates),
        b1=optim.b1,
        b2=optim.b2,
        eps=optim.eps,
        weight_decay=optim.weight_decay,
    )
    wide = lambda tree: jax.tree.map(lambda x: x.astype(jnp.float32), tree)
    return optax.GradientTransformation(
        lambda params: adamw.init(wide(params)),
        lambda grads, state, params: adamw.update(wide(grads), state, wide(params)),
    )
