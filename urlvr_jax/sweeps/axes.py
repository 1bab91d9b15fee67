"""`--over KEY=VALUES`: the values of a key, and the product of several."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import NamedTuple

from urlvr_jax import config as config_lib
from urlvr_jax.config import ConfigError
from urlvr_jax.measure import drawing
from urlvr_jax.verbs import names, overrides

SEED = "seed"


class Axis(NamedTuple):
    """A key, and the values that it is given."""

    key: str
    values: tuple[object, ...]


def parse(texts: Sequence[str], typed: dict[str, object]) -> tuple[Axis, ...]:
    """The axes of --over's values; ConfigError with key, value and remedy.

    typed: the keys given by --config.KEY, which no axis may have too. Values stand between commas, those of a key that
    holds several between semicolons; of a whole number A:B is A to B - 1.
    """
    axes: dict[str, Axis] = {}
    known = config_lib.flat(config_lib.default())
    for text in texts:
        key, equals, given = text.partition("=")
        if key not in known:
            meant = [name for name in names.meant(key) if name in known]
            hint = f"did you mean --over {meant[0]}={given or 'VALUES'}?" if meant else f"give {EXAMPLE}"
            raise ConfigError(f"--over {text}: {key!r} is no key: {hint}")
        if not equals or not given.strip():
            example = f"--over {key}={overrides.example(key)}"
            raise ConfigError(f"--over {text} has no values: give them after =, for example {example}")
        if key in axes:
            raise ConfigError(f"--over {key} is given twice: give all its values at once")
        if key in typed:
            raise ConfigError(f"--over {text} and --config.{key}={typed[key]}: give one of the two")
        axes[key] = Axis(key, _values(key, given))
    if not axes:
        raise ConfigError(f"--over is missing: give a key and its values, for example {EXAMPLE}")
    return tuple(axes.values())


EXAMPLE = "--over optim.lr=1e-5,3e-5 --over seed=0:3"


def _values(key: str, text: str) -> tuple[object, ...]:
    """Read by the type of the key's default."""
    default = config_lib.value_of(config_lib.default(), key)
    several = isinstance(default, tuple)
    try:
        parts = overrides.items(text, ";" if several else ",")
    except ValueError as error:
        raise ConfigError(f"--over {key}={text:.100} is {error}") from None
    whole = isinstance(default, int) and not isinstance(default, bool)
    values = []
    for part in parts:
        found = re.fullmatch(r"(-?\d+):(-?\d+)", part) if whole else None
        if found and int(found[1]) >= int(found[2]):
            raise ConfigError(f"--over {key}={text:.100}: {part} has no values: A:B is A to B - 1")
        if found and int(found[2]) - int(found[1]) > MOST:
            raise ConfigError(f"--over {key}={text:.100}: {part} are more than {MOST} values")
        values += range(int(found[1]), int(found[2])) if found else [_read(key, part)]
    twice = next((value for i, value in enumerate(values) if value in values[:i]), None)
    if twice is not None:
        raise ConfigError(f"--over {key}={text:.100}: {twice} stands there twice: give each value once")
    if not values:
        raise ConfigError(
            f"--over {key}={text:.100} has no values: give for example {overrides.example(key)}"
        )
    return tuple(values)


MOST = 10_000  # runs of a sweep


def _read(key: str, part: str) -> object:
    try:
        return overrides.read(key, part)
    except ConfigError as error:
        raise ConfigError(str(error).replace(f"--config.{key}=", f"--over {key}=")) from None


def product(axes: Sequence[Axis]) -> list[dict[str, object]]:
    """{key: value} of every combination; the last axis changes first. ConfigError for too many."""
    count = 1
    for axis in axes:
        count *= len(axis.values)
    if count > MOST:
        raise ConfigError(f"--over: {count} combinations are more than {MOST}: give fewer values")
    keys = [axis.key for axis in axes]
    return [dict(zip(keys, values, strict=True)) for values in itertools.product(*(a.values for a in axes))]


def text(values: dict[str, object]) -> str:
    """Of a combination, as it is typed: optim.lr=1e-5 seed=0."""
    return " ".join(f"{key}={typed(value)}" for key, value in values.items())


def typed(value: object) -> str:
    """A value as one types it."""
    if isinstance(value, tuple | list):
        return ",".join(map(str, value)) or "()"
    return drawing.number(value)


def json_values(values: dict[str, object]) -> dict[str, object]:
    """As JSON has them: tuples as lists."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
