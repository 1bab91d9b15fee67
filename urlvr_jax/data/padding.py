"""Rows of token ids to arrays: padded on the right, to a bucket or to the longest."""

from __future__ import annotations

import numpy as np


def bucket(width: int, buckets) -> int:
    """The narrowest bucket that holds `width`: a function of the current batch alone."""
    return next(b for b in buckets if b >= width)


def padded(rows, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Token ids of n rows, none longer than `width` -> int32 `[n, width]` and lengths int32 `[n]`."""
    tokens = np.zeros((len(rows), width), np.int32)
    for line, row in zip(tokens, rows, strict=True):
        line[: len(row)] = row
    return tokens, np.array([len(row) for row in rows], np.int32)
