"""The arrays that travel through one training step, and the one legend of their axes.

    P  prompts a step            G  rollouts (votes) a prompt     B = P * G rows, b = p * G + g
    L  prompt columns            T  response columns              S  keys attended to
    D  model width               N, K  query and key/value heads  H  head width
    F  feed-forward width        V  vocabulary

There are two array layouts: tokens `[B, T]` and groups `[P, G]`; row b is
rollout b % G of prompt b // G. Masks are made from lengths, never from token values: pad may equal the
end token. The end token, when it was sampled, belongs to the response and to its length.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

STATISTICS = ("logp", "entropy", "self_certainty", "top2_gap")
DERIVED = ("answers", "answer_span", "answer_text", "verification", "rephrased")
NEEDS = (*STATISTICS, *DERIVED)  # what a reward may ask for by `@needs`


def grouped(rows, group: int):
    """Row values `[B, ...]` -> `[P, G, ...]`."""
    return rows.reshape(-1, group, *rows.shape[1:])


def length_mask(lengths, width: int):
    """Lengths int `[B]` -> bool `[B, width]`, true on the first `length` columns."""
    return jnp.arange(width) < lengths[:, None]


def masked_mean(values, lengths):
    """Mean of `[B, T]` over each row's first `length` columns -> float32 `[B]`; 0 for an empty row."""
    mask = length_mask(lengths, values.shape[1])
    total = jnp.sum(values, axis=1, where=mask, dtype=jnp.float32)
    return total / jnp.maximum(lengths, 1).astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class Prompts:
    """The prompts of one step: a function of (seed, step). Gold answers are not in here."""

    ids: tuple[str, ...]  # [P]
    texts: tuple[str, ...]  # [P], as rendered for the model
    tokens: np.ndarray  # int32 [P, L], right-padded
    lengths: np.ndarray  # int32 [P], 1 <= length <= L
    questions: tuple[str, ...] = ()  # [P], as their file has them


@dataclasses.dataclass(frozen=True)
class Rollouts:
    """Sampled responses, on the host. Statistics are float32, at logits / temperature."""

    tokens: np.ndarray  # int32 [B, T], right-padded
    lengths: np.ndarray  # int32 [B], the end token included
    ended: np.ndarray  # bool [B], false where the row was cut at T
    stats: dict[str, np.ndarray]  # each float32 [B, T]; keys: STATISTICS

    @property
    def mask(self) -> np.ndarray:  # bool [B, T]
        return np.arange(self.tokens.shape[1]) < self.lengths[:, None]


class DataError(ValueError):
    """A question file, or its way to a prompt, that cannot be used; the message names file and row, or key."""


class UndeclaredError(KeyError):
    """A reward reads what it did not declare."""

    def __str__(self):
        return self.args[0]


class Declared(dict):
    """What a reward declared by `@needs`; any other name is an error, never a default."""

    def __missing__(self, name):
        raise UndeclaredError(
            f"the reward reads {name!r} without declaring it: decorate it with @needs({name!r}); "
            f"declared: {sorted(self)}, available: {list(NEEDS)}"
        )


@dataclasses.dataclass(frozen=True)
class RewardInputs:
    """All that a reward may see. There is no label in here, by construction."""

    stats: Declared  # name of STATISTICS -> float32 [B, T], those that the reward declared
    derived: Declared  # name of DERIVED -> array, likewise; read them as `inputs.answers` and so on
    tokens: jax.Array  # int32 [B, T]
    lengths: jax.Array  # int32 [B], the end token included
    ended: jax.Array  # bool [B]
    texts: tuple[str, ...]  # [B], responses without special tokens
    prompts: tuple[str, ...]  # [P]
    max_new_tokens: int
    key: jax.Array  # a random key of its own for (seed, step)

    @property
    def shape(self) -> tuple[int, int]:
        """(P, G), the shape of every reward."""
        return len(self.prompts), len(self.lengths) // len(self.prompts)

    @property
    def answers(self):
        """int32 `[P, G]`, class of each answer within its group, -1 = no answer. @needs("answers")"""
        return self.derived["answers"]

    @property
    def answer_span(self):
        """bool `[B, T]`, the tokens that spell the extracted answer; none without one. @needs("answer_span")"""
        return self.derived["answer_span"]

    @property
    def answer_text(self) -> tuple[str | None, ...]:
        """`[B]`, each answer as it stands in its text, None without one. @needs("answer_text")"""
        return self.derived["answer_text"]

    @property
    def verification(self):
        """int32 `[P, G]`, the policy's own verdict: 1 yes, 0 no, -1 neither. @needs("verification")"""
        return self.derived["verification"]

    @property
    def rephrased(self):
        """int32 `[P]`, class of the majority answer to the same question in other words: -1 where that
        group has none, -2 where nobody here gave it. @needs("rephrased")"""
        return self.derived["rephrased"]

    def per_group(self, rows):
        """Row values `[B]` -> `[P, G]`."""
        return grouped(rows, self.shape[1])

    def only(self, names) -> RewardInputs:
        """The same with nothing declared but `names`."""
        cut = lambda given: Declared({n: x for n, x in given.items() if n in names})
        return dataclasses.replace(self, stats=cut(self.stats), derived=cut(self.derived))


@dataclasses.dataclass(frozen=True)
class Reference:
    """What only verifiers receive: which rollouts are right."""

    correct: jax.Array  # bool [P, G]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """One mini-batch of the update. `G` here is the number of rollouts that are trained."""

    prompt_tokens: jax.Array  # int32 [P, L]
    prompt_lengths: jax.Array  # int32 [P]
    tokens: jax.Array  # int32 [B, T]
    lengths: jax.Array  # int32 [B]
    advantages: jax.Array  # float32 [B, T]
    old_logp: jax.Array  # float32 [B, T]
    ref_logp: jax.Array  # float32 [B, T]; zeros when no KL term is on
