"""Texts that are supplied instead of sampled, and how likely the policy or its frozen base finds them.

The corpus supplies what follows each prompt; the rollouts themselves are a text to the base; the answers of a group are put
after its states. Each is a pass of the scorer, or several, made once a step at most, and only where a reward asks.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from urlvr_jax import config as config_lib
from urlvr_jax.answers.classes import Answers
from urlvr_jax.answers.tokens import tokens_within
from urlvr_jax.data.padding import bucket, padded
from urlvr_jax.data.segments import pieces
from urlvr_jax.rewards import states
from urlvr_jax.types import Prompts, Rollouts

OF_BASE = {"base_logp": "logp", "base_entropy": "entropy", "base_self_certainty": "self_certainty"}


class Asked(NamedTuple):
    """How likely what follows is: after the thought or alone, to whom, and what is averaged over its tokens."""

    thought: bool
    base: bool = False
    of_token: Callable = np.asarray  # of log-probabilities


SCORED = {
    "continuation_logp": Asked(thought=True),
    "continuation_logp_alone": Asked(thought=False),
    "continuation_logp_base": Asked(thought=False, base=True),
    "continuation_p": Asked(thought=True, of_token=np.exp),
    "continuation_p_alone": Asked(thought=False, of_token=np.exp),
}
OF_CORPUS = ("continuation", "prediction", *SCORED)
OF_STATES = ("answer_distance",)
NAMES = (*OF_BASE, *OF_CORPUS, *OF_STATES)


def asks_base(needs) -> bool:
    """Whether the frozen base has to be there."""
    return asks_base_stats(needs) or "continuation_logp_base" in needs


def asks_base_stats(needs) -> bool:
    """Whether the base scores the step's rollouts."""
    return any(name in needs for name in OF_BASE)


def asks_rows(needs) -> bool:
    """Whether prompts are scored with rows of `continuation.buckets`."""
    return any(name in needs for name in SCORED)


def asks_states(needs) -> bool:
    """Whether prompts are scored with states and answers, in the widths of responses."""
    return any(name in needs for name in OF_STATES)


class Supplied:
    """What is supplied in one step.

    params, base: the policy and its frozen base in the layout of training; base None where it is the policy without
    adapters, or nobody asks.
    """

    def __init__(self, engine, params, base, tokenizer, prompts: Prompts, rollouts: Rollouts):
        self.engine, self.params, self._held = engine, params, base
        self.tokenizer, self.prompts, self.rollouts = tokenizer, prompts, rollouts
        self._scored: dict[tuple[bool, bool], list[np.ndarray | None]] = {}

    def of(self, name: str, answers: Answers):
        """The input that a reward calls so; answers: of the rollouts."""
        texts = answers.texts
        if name in OF_BASE:
            return self.base_stats[OF_BASE[name]]
        if name in OF_STATES:
            return states.distances(
                self.engine, self.params, self.tokenizer, self.prompts, self.rollouts, answers
            )
        if name == "continuation":
            return tuple(pieces(tokens, self.tokenizer) for tokens in self.prompts.continuations)
        if name == "prediction":
            return tuple(text[self._end(text) :] if self._marker else text for text in texts)
        asked = SCORED[name]
        means = [
            -np.inf if logp is None else asked.of_token(logp).mean() for logp in self._follows(asked, texts)
        ]
        by_group = np.array(means, np.float32).reshape(len(self.prompts.ids), -1)
        return by_group if asked.thought else by_group[:, 0]

    @property
    def base(self) -> dict:
        return self.engine.base(self.params, self._held)

    @property
    def reference_logp(self) -> np.ndarray:
        """float32 `[B, T]` of the rollouts by what a KL compares with: the base, or the policy at the start of the step."""
        if self.engine.c.kl.reference == "fixed":
            return self.base_stats["logp"]
        return self.engine.score(self.params, self.prompts, self.rollouts)["logp"]

    @functools.cached_property
    def base_stats(self) -> dict[str, np.ndarray]:
        """Teacher-forced statistics float32 `[B, T]` of the rollouts by the base."""
        return self.engine.score(self.base, self.prompts, self.rollouts)

    @property
    def _marker(self) -> str:
        return self.engine.c.continuation.thought_end

    def _end(self, text: str) -> int:
        """Where the thought of a response ends: after the last marker, at 0 without one."""
        return text.rfind(self._marker) + len(self._marker) if self._marker in text else 0

    def _thought(self, b: int, text: str) -> np.ndarray:
        """Token ids of a response's thought."""
        n = int(self.rollouts.lengths[b])
        row = self.rollouts.tokens[b, : n - int(self.rollouts.ended[b])]
        return row[: tokens_within(self.tokenizer, row, self._end(text))] if self._marker else row

    def _follows(self, asked: Asked, texts: list[str]) -> list[np.ndarray | None]:
        """Log-probabilities `[n]` of the tokens of each row's continuation, None for a row that is longer than the widest of
        `continuation.buckets`: it is not scored.

        Inputs that read them in several ways share the pass. A thought that comes again in its group is scored once: its
        gain is the same to the last bit.
        """
        place = asked.thought, asked.base
        if place not in self._scored:
            none = np.zeros(0, np.int32)
            thoughts = [self._thought(b, text) if asked.thought else none for b, text in enumerate(texts)]
            self._scored[place] = self._score(self.base if asked.base else self.params, thoughts)
        return self._scored[place]

    def _score(self, params, thoughts: list[np.ndarray]) -> list[np.ndarray | None]:
        widths = config_lib.continuation_buckets(self.engine.c)
        follows, group = self.prompts.continuations, self.engine.c.rollout.group
        first: dict[tuple[int, bytes], int] = {}
        places = [
            first.setdefault((b // group, thought.tobytes()), b) for b, thought in enumerate(thoughts)
        ]
        rows = [np.concatenate([thought, follows[b // group]]) for b, thought in enumerate(thoughts)]
        scored = [
            b == at and len(row) <= widths[-1] for b, (at, row) in enumerate(zip(places, rows, strict=True))
        ]
        kept = [row if ok else row[:0] for row, ok in zip(rows, scored, strict=True)]
        tokens, lengths = padded(kept, bucket(max(1, *map(len, kept)), widths))
        logp = self.engine.score_rows(params, self.prompts, tokens, lengths)["logp"]
        return [logp[at, len(thoughts[at]) : lengths[at]] if scored[at] else None for at in places]
