"""A curve in one line of text."""

from __future__ import annotations

import math
from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(
    values: Sequence[float], width: int = 24, low: float | None = None, high: float | None = None
) -> str:
    """At most `width` letters, from the least value to the greatest, or from `low` to `high`; each the mean of its share
    of the values. What is not finite is a space.
    """
    count = min(width, len(values))
    parts = [values[len(values) * i // count : len(values) * (i + 1) // count] for i in range(count)]
    means = [sum(part) / len(part) for part in parts]
    known = [x for x in means if math.isfinite(x)]
    if not known:
        return " " * count
    low = min(known) if low is None else low
    span = (max(known) if high is None else high) - low
    level = lambda x: min(max(int((x - low) / span * len(BLOCKS)), 0), len(BLOCKS) - 1) if span > 0 else 3
    return "".join(BLOCKS[level(x)] if math.isfinite(x) else " " for x in means)
