"""From characters to tokens: which tokens of a response spell its answer."""

from __future__ import annotations

import bisect
import os

import numpy as np


def answer_mask(tokenizer, rows, texts, spans, width: int) -> np.ndarray:
    """bool `[B, width]`: tokens with a character of their row's span in them.

    rows: token ids of each response; texts: `tokenizer.decode(rows)`; spans: (start, end) in characters
    of the text, or None, which marks nothing. Works for any tokenizer that decodes a prefix of a row to
    a prefix of its text, up to characters that are not complete: those are compared, never counted.
    """
    out = np.zeros((len(rows), width), bool)
    for mask, row, text, span in zip(out, rows, texts, spans, strict=True):
        if span is not None and span[0] < span[1]:
            first, end = _tokens(tokenizer, row, text, *span)
            mask[first:end] = True
    return out


def tokens_within(tokenizer, row, end: int) -> int:
    """How many of a response's first tokens spell nothing past character `end` of its text; the fewest that reach it."""
    begun = lambda n: len(tokenizer.decode([row[:n]])[0])
    count = bisect.bisect_left(range(len(row) + 1), end, key=begun)
    return count if begun(count) == end else count - 1


def _tokens(tokenizer, row, text: str, start: int, end: int) -> tuple[int, int]:
    """The tokens [first, last) that spell text[start:end], by bisection over decoded prefixes."""
    prefix = lambda n: tokenizer.decode([row[:n]])[0]
    # A character of several tokens decodes to a placeholder until its last: it is begun, not complete.
    begun = lambda n: len(prefix(n))
    complete = lambda n: len(os.path.commonprefix([prefix(n), text]))
    counts = range(len(row) + 1)
    first = bisect.bisect_right(counts, start, key=begun) - 1
    return max(first, 0), bisect.bisect_left(counts, end, key=complete)
