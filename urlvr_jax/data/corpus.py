"""Raw text to learn from: the documents of supervised mode."""

from __future__ import annotations

import functools
import hashlib
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from urlvr_jax.data import completions
from urlvr_jax.data.padding import padded
from urlvr_jax.data.prompt_formats import PromptFormat
from urlvr_jax.data.stream import Questions, prompts_at, take
from urlvr_jax.errors import DataError
from urlvr_jax.lab import shipped
from urlvr_jax.types import STATISTICS, Prompts, Rollouts


class Corpus(NamedTuple):
    """What supervised mode learns from."""

    at: Callable[[int], tuple[Prompts, Rollouts]]  # a step's documents
    facts: dict  # for the run's record


def open_corpus(c, tokenizer, prompt_format: PromptFormat) -> Corpus:
    """What `data.documents` names: lab:WORLD, or a file of completions (see completions.py); DataError for all else."""
    name, count, longest = c.data.documents, c.data.prompts_per_step, c.rollout.max_new_tokens
    if not name.startswith("lab:"):
        samples = Samples(name, tokenizer, prompt_format, c.data.prompt_buckets, longest)
        return Corpus(functools.partial(samples.at, count=count, seed=c.seed), samples.facts)
    if (recipe := name.removeprefix("lab:")) not in shipped.WORLDS:
        raise DataError(
            f"data.documents = {name!r} is no world of the laboratory: give one of "
            f"{sorted('lab:' + known for known in shipped.WORLDS)}, or a file of completions"
        )
    at = lambda step: documents_at(
        f"lab:{recipe}", tokenizer, step, count, c.seed, c.data.prompt_buckets, longest
    )
    return Corpus(at, {})


def documents_at(name: str, tokenizer, step: int, count: int, seed: int, buckets, longest: int):
    """Documents of a world as (Prompts, Rollouts), their second half 'sampled' by the corpus."""
    rows = shipped.documents(name.removeprefix("lab:"), seed, step, count, longest - 1)
    ids = tuple(f"{step}/{i}" for i in range(count))
    tokens = [np.array(tokenizer.encode(q), np.int32) for q, _, _ in rows]
    questions = Questions(ids, tuple(q for q, _, _ in rows), tuple(tokens), tuple(buckets), 0, "")
    written = [tokenizer.encode(text) + [tokenizer.end_id] * ends for _, text, ends in rows]
    return take(questions, range(count)), _as_rollouts(written, [ends for _, _, ends in rows], longest)


def _as_rollouts(rows: list, ended: list[bool], longest: int) -> Rollouts:
    """Token rows with their end tokens, as if they had been sampled; nobody knows their statistics."""
    tokens, lengths = padded(rows, longest)
    stats = {n: np.zeros((len(rows), longest), np.float32) for n in STATISTICS}
    return Rollouts(tokens, lengths, np.array(ended, bool), stats)


class Samples:
    """A file of completions as documents: shuffled anew each epoch, by the seed.

    Completions whose prompt is longer than the widest bucket, or whose response with its end token is longer than
    `longest`, are left out and counted.
    """

    def __init__(self, name: str, tokenizer, prompt_format: PromptFormat, buckets, longest: int):
        rows = completions.read(name, "data.documents")
        texts, prompts, _ = prompt_format.encode(
            [row.prompt for row in rows], wheres=[row.where for row in rows], widest=buckets[-1]
        )
        encoded = tokenizer.encode_batch([row.response for row in rows])
        written = [ids + [tokenizer.end_id] * row.ended for ids, row in zip(encoded, rows, strict=True)]
        fits = [
            0 < len(p) <= buckets[-1] and 0 < len(w) <= longest
            for p, w in zip(prompts, written, strict=True)
        ]
        kept = [i for i, ok in enumerate(fits) if ok]
        if not kept:
            raise DataError(
                f"data.documents = {name!r}: none of its {len(rows)} completions fits data.prompt_buckets = "
                f"{tuple(buckets)} and rollout.max_new_tokens = {longest}: the longest response has "
                f"{max(map(len, written))} tokens with its end"
            )
        pick = lambda values: tuple(values[i] for i in kept)
        self.longest, self.written = longest, pick(written)
        self.ended = pick([row.ended for row in rows])
        # An id is a place in `written`: a step's prompts tell by it which responses are theirs.
        ids = tuple(map(str, range(len(kept))))
        self.questions = Questions(
            ids, pick(texts), pick(prompts), tuple(buckets), len(rows) - len(kept), ""
        )
        self.facts = {
            "documents": len(kept),
            "documents_left_out": len(rows) - len(kept),
            "documents_sha256": hashlib.sha256(pathlib.Path(name).read_bytes()).hexdigest()[:16],
        }

    def at(self, step: int, *, count: int, seed: int) -> tuple[Prompts, Rollouts]:
        """`count` completions, a function of (seed, step)."""
        prompts = prompts_at(self.questions, step, count, seed, shuffle=True)
        places = list(map(int, prompts.ids))
        rows = [self.written[i] for i in places]
        return prompts, _as_rollouts(rows, [self.ended[i] for i in places], self.longest)
