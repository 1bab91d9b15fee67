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

from urlvr_jax.errors import UserError

STD_EPSILON = 1e-6
STATISTICS = ("logp", "entropy", "self_certainty", "top2_gap")


def grouped(rows, group: int):
    """Row values `[B, ...]` -> `[P, G, ...]`."""
    return rows.reshape(-1, group, *rows.shape[1:])


def length_mask(lengths, width: int):
    """Lengths int `[B]` -> bool `[B, width]`, true on the first `length` columns."""
    return jnp.arange(width)[None] < lengths[:, None]


def masked_sum(values, lengths):
    """Sum of `[B, T]` over each row's first `length` columns -> `[B]`."""
    return jnp.sum(values, axis=1, where=length_mask(lengths, values.shape[1]))


def masked_mean(values, lengths):
    """Mean of `[B, T]` over each row's first `length` columns -> float32 `[B]`; 0 for an empty row."""
    mask = length_mask(lengths, values.shape[1])
    total = jnp.sum(values, axis=1, where=mask, dtype=jnp.float32)
    return total / jnp.maximum(lengths, 1).astype(jnp.float32)


def span_mean(values, span):
    """Mean of `[B, T]` over the tokens of bool `[B, T]` -> float32 `[B]`; 0 for a row without any."""
    total = jnp.sum(values, axis=1, where=span, dtype=jnp.float32)
    return total / jnp.maximum(jnp.sum(span, axis=1), 1).astype(jnp.float32)


def deviations(values, axis):
    """x - mean of `[P, G]` along `axis`, 1 or (0, 1), in float32; exactly 0 where all are equal.

    The first value is subtracted before the mean is taken: the rounding of the mean of 22, 22.00001, ... is as
    large as their spread.
    """
    shifted = values - (values[:, :1] if axis == 1 else values[:1, :1])
    return shifted - jnp.mean(shifted, axis=axis, keepdims=True)


def standardised(values, axis):
    """(x - mean) / (Bessel std + 1e-6) of `[P, G]` along `axis`, 1 or (0, 1), in float32.

    Exactly 0 where all are equal, one value included.
    """
    centred = deviations(values, axis)
    square = jnp.sum(centred**2, axis=axis, keepdims=True)
    count = values.size // square.size
    return centred / (jnp.sqrt(square / max(count - 1, 1)) + STD_EPSILON)


@dataclasses.dataclass(frozen=True)
class Prompts:
    """The prompts of one step: a function of (seed, step). Gold answers are not in here."""

    ids: tuple[str, ...]  # [P]
    texts: tuple[str, ...]  # [P], as rendered for the model
    tokens: np.ndarray  # int32 [P, L], right-padded
    lengths: np.ndarray  # int32 [P], 1 <= length <= L
    questions: tuple[str, ...] = ()  # [P], as their file has them
    continuations: tuple[
        np.ndarray, ...
    ] = ()  # [P] int32 [N], the corpus's tokens after each: data, no gold answer


@dataclasses.dataclass(frozen=True)
class Rollouts:
    """Sampled responses, on the host. Statistics are float32, at logits / temperature."""

    tokens: np.ndarray  # int32 [B, T], right-padded
    lengths: np.ndarray  # int32 [B], the end token included
    ended: np.ndarray  # bool [B], false where the row was cut at T
    stats: dict[str, np.ndarray]  # each float32 [B, T]; keys: STATISTICS
    put_back: int | None = None  # how often a row was decoded again, for want of pages; None without pages

    @property
    def mask(self) -> np.ndarray:  # bool [B, T]
        return np.arange(self.tokens.shape[1]) < self.lengths[:, None]

    def rows(self) -> list[np.ndarray]:
        """Token ids of each response, without padding."""
        return [row[:n] for row, n in zip(self.tokens, self.lengths, strict=True)]


class UndeclaredError(UserError):
    """A reward reads what it did not declare."""


class Declared(dict):
    """What a reward declared by `@needs`; any other name is an error, never a default.

    available: all names that could have been declared.
    """

    def __init__(self, values: dict, available=()):
        super().__init__(values)
        self.available = tuple(available)

    def __missing__(self, name):
        raise UndeclaredError(
            f"the reward reads {name!r} without declaring it: decorate it with @needs({name!r}); "
            f"declared: {sorted(self)}, available: {list(self.available)}"
        )

    def only(self, names) -> Declared:
        """The same with nothing declared but `names`."""
        return Declared({n: x for n, x in self.items() if n in names}, self.available)


@dataclasses.dataclass(frozen=True)
class RewardInputs:
    """All that a reward may see. There is no label in here, by construction."""

    stats: Declared  # name of STATISTICS -> float32 [B, T], those that the reward declared
    derived: Declared  # name of rewards/derived.py -> value, likewise; read as `inputs.answers` and so on
    tokens: jax.Array  # int32 [B, T]
    lengths: jax.Array  # int32 [B], the end token included
    ended: jax.Array  # bool [B]
    texts: tuple[str, ...]  # [B], responses without special tokens
    prompts: tuple[str, ...]  # [P], as rendered for the model
    questions: tuple[str, ...]  # [P], as their file has them
    max_new_tokens: int
    key: jax.Array  # a random key of its own for (seed, step)

    @property
    def shape(self) -> tuple[int, int]:
        """(P, G), the shape of every reward."""
        return len(self.prompts), len(self.lengths) // len(self.prompts)

    def __getattr__(self, name: str):
        """A derived input by its name; UndeclaredError where the reward did not ask for it."""
        derived = self.__dict__.get("derived")
        if derived is None or (name not in derived and name not in derived.available):
            raise AttributeError(f"a reward's inputs have no {name!r}")
        return derived[name]

    def per_group(self, rows):
        """Row values `[B]` -> `[P, G]`."""
        return grouped(rows, self.shape[1])

    def only(self, names) -> RewardInputs:
        """The same with nothing declared but `names`."""
        return dataclasses.replace(self, stats=self.stats.only(names), derived=self.derived.only(names))


@dataclasses.dataclass(frozen=True)
class Reference:
    """What controls that ask for labels receive, and no other reward."""

    correct: jax.Array  # bool [P, G], which rollouts are right by `answers.check`
    score: jax.Array | None = None  # float32 [P, G], what the check gave
    gold: tuple[str | None, ...] = ()  # [P], gold answers
    row: tuple[dict, ...] = ()  # [P], each question's row of its file, all columns


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
