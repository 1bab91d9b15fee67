"""The optimizer chain and the learning-rate schedule, from the configuration.

The learning rate counts optimizer updates, not steps. Clipping by the global norm happens in
`train_step.py`, where the norm is a metric anyway.
"""

from __future__ import annotations

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
    """AdamW; decoupled weight decay on every parameter, as in verl."""
    return optax.adamw(
        schedule(optim, updates),
        b1=optim.b1,
        b2=optim.b2,
        eps=optim.eps,
        weight_decay=optim.weight_decay,
    )
