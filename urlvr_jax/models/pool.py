"""Pages of keys and values while decoding, and which of them a row sees. Axis letters: `urlvr_jax/types.py`."""

from __future__ import annotations

from typing import NamedTuple

import jax


class Pool(NamedTuple):
    """Keys and values of one layer: every page of every row of a device, held once, and a last one for nothing."""

    pages: jax.Array  # [pages, K, 2, page, H], keys then values


class Reach(NamedTuple):
    """Where each row's keys are, and where those of the column at hand go."""

    table: jax.Array  # int32 [S, M], ids of pages
    start: jax.Array  # int32 [S], the first key seen, counted over the pages of the table
    stop: jax.Array  # int32 [S], the key after the last one seen; `start` where a slot has no row
    page: jax.Array  # int32 [S], the page written; the pool's last one, which is nobody's, without a row
    column: jax.Array  # int32 scalar, in that page
