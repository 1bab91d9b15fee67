"""Numbers that others wrote: of the right kind and within bounds, before anything is allocated by them."""

from __future__ import annotations

from urlvr_jax.errors import UserError


def whole(value, what: str, low: int, high: int, error: type[UserError]) -> int:
    """An integer within [low, high]; `error` says what it is instead."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise error(f"{what} = {value!r:.60} must be an integer from {low} to {high}")
    return value


def real(value, what: str, low: float, high: float, error: type[UserError]) -> float:
    """A finite number within [low, high]; `error` says what it is instead."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if (
        not number or not low <= value <= high
    ):  # neither holds for NaN, and an integer may be beyond any float
        raise error(f"{what} = {value!r:.60} must be a number from {low:g} to {high:g}")
    return float(value)
