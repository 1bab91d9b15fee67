"""Raw text to learn from: the documents of supervised mode."""

from __future__ import annotations

import numpy as np

from urlvr_jax.data.stream import Questions, take
from urlvr_jax.lab import shipped
from urlvr_jax.types import STATISTICS, Rollouts


def documents_at(name: str, tokenizer, step: int, count: int, seed: int, buckets, longest: int):
    """Supervised mode: documents as (Prompts, Rollouts), their second half 'sampled' by the corpus."""
    rows = shipped.documents(name.removeprefix("lab:"), seed, step, count, longest - 1)
    ids = [f"{step}/{i}" for i in range(count)]
    tokens = [np.array(tokenizer.encode(q), np.int32) for q, _, _ in rows]
    questions = Questions(tuple(ids), tuple(q for q, _, _ in rows), tuple(tokens), tuple(buckets), 0, "")
    responses = np.zeros((count, longest), np.int32)
    lengths = np.zeros(count, np.int32)
    ended = np.zeros(count, bool)
    for i, (_, text, ends) in enumerate(rows):
        ids = tokenizer.encode(text) + [tokenizer.end_id] * ends
        responses[i, : len(ids)] = ids
        lengths[i] = len(ids)
        ended[i] = ends
    stats = {n: np.zeros((count, longest), np.float32) for n in STATISTICS}
    return take(questions, range(count)), Rollouts(responses, lengths, ended, stats)
