"""The sinks there are. Nothing of them is imported here."""

from __future__ import annotations

import importlib.util

from urlvr_jax.config import ConfigError

# Name in `log.sinks` -> the module that tells it. The name is the package's, and of the extra in setup.py.
SINKS = {name: f"urlvr_jax.sinks.{name}" for name in ("tensorboard", "trackio", "wandb")}


def check(names) -> None:
    """ConfigError for a name that is none, or stands there twice."""
    names = tuple(names)
    for name in names:
        if not isinstance(name, str) or name not in SINKS:
            raise ConfigError(f"log.sinks = {names!r:.200}: {name!r:.60} is none of {sorted(SINKS)}")
    if len(set(names)) < len(names):
        raise ConfigError(f"log.sinks = {names!r:.200} names one twice: give each once")


def require(names) -> None:
    """ConfigError for a sink whose package is not installed."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise ConfigError(
                f"log.sinks = {tuple(names)!r}: the package {name!r} is not installed: pip install 'urlvr_jax[{name}]', "
                "or leave it out"
            )
