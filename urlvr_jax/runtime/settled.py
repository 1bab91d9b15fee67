"""A configuration on this process group's devices."""

from __future__ import annotations

import sys

import jax
import ml_collections

from urlvr_jax import devices, validation
from urlvr_jax.runtime import hosts
from urlvr_jax.runtime.terminal import say
from urlvr_jax.sinks import table as sinks


def here(c, *, trains: bool = True) -> ml_collections.ConfigDict:
    """The configuration on this process group's devices, checked; what was rounded is said on standard error."""
    count = jax.device_count()
    c, said = devices.settle(c, count, trains=trains)
    if said and hosts.is_writer():
        say("; ".join(said), stream=sys.stderr)
    validation.validate(c, count, jax.default_backend())
    if trains and hosts.is_writer():
        sinks.require(c.log.sinks)
    return c
