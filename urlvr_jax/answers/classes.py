"""From answers to classes within a group: the vote's one equivalence relation.

Two answers are equal when their keys are. A key is computed from one answer alone, so equality is
an equivalence relation and serves the vote, the metric and the checks alike. How keys are made
stands in canonical.py, what they hold equal in docs/answers.md.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from urlvr_jax.answers.canonical import key
from urlvr_jax.answers.extract import Extracted, extract

NO_ANSWER = -1


@dataclasses.dataclass(frozen=True)
class Answers:
    """What B = P * G responses answer, in groups of G. Nothing in here depends on a label."""

    texts: list[str]  # [B], the responses without special tokens
    found: list[Extracted | None]  # [B], each answer and where it stands, None without one
    keys: list[str | None]  # [B], what is equal has the same key
    classes: np.ndarray  # int32 [P, G], -1 = no answer
    names: list[dict[str, int]]  # [P], {key: class} of each group
    majority: np.ndarray  # int32 [P], class of the majority's answer, -1 where nobody answered

    def of(self, groups: slice) -> Answers:
        """Those of some groups."""
        group = self.classes.shape[1]
        rows = slice(groups.start * group, groups.stop * group)
        return Answers(
            self.texts[rows], self.found[rows], self.keys[rows],
            self.classes[groups], self.names[groups], self.majority[groups],
        )  # fmt: skip


def read_answers(texts: list[str], group: int, style: str, key_of: Callable[[str], str] = key) -> Answers:
    """The answers of B responses in groups of `group`.

    style: of extract.EXTRACTORS. key_of: an answer's text -> its key, "" for none (`checks` say which).
    ValueError if B is no multiple of `group`.
    """
    if len(texts) % group:
        raise ValueError(f"{len(texts)} responses are not in groups of {group}")
    found = [extract(text, style) for text in texts]
    keys = [None if f is None else key_of(f.text) or None for f in found]
    found = [None if k is None else f for f, k in zip(found, keys, strict=True)]
    return _in_groups(texts, found, keys, group)


def _in_groups(texts, found, keys, group: int) -> Answers:
    classes, names = group_classes(keys, group)
    return Answers(texts, found, keys, classes, names, majority_class(classes))


def joined(parts: list[Answers], group: int) -> Answers:
    """The answers of parts that follow each other, each of whole groups."""
    return _in_groups(
        *(sum((getattr(p, name) for p in parts), []) for name in ("texts", "found", "keys")), group
    )


def answer_key(text: str, style: str) -> str | None:
    """Canonical key of the answer in a response, or None where there is none."""
    answer = extract(text, style)
    return None if answer is None else key(answer.text) or None


def as_written(answer: str) -> str:
    """Key of an answer that is judged as it stands, such as an expression: its text without spaces."""
    return "".join(answer.split())


def tie_order(answer: str) -> bytes:
    """Order in which tied answers win: fixed by the answer alone, blind to rollout order and size."""
    return hashlib.blake2b(answer.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def group_classes(keys: list[str | None], group: int) -> tuple[np.ndarray, list[dict[str, int]]]:
    """Keys of B responses -> class ids int32 `[P, G]` (-1 none), and each group's {key: id}.

    Ids follow `tie_order`, so 'the smallest id among the most frequent' is the vote's tie rule.
    """
    ids = []
    names = []
    for start in range(0, len(keys), group):
        part = keys[start : start + group]
        order = {k: i for i, k in enumerate(sorted({k for k in part if k is not None}, key=tie_order))}
        ids.append([NO_ANSWER if k is None else order[k] for k in part])
        names.append(order)
    return np.array(ids, np.int32).reshape(-1, group), names


def gold_classes(gold_keys: list[str], names: list[dict[str, int]]) -> np.ndarray:
    """Class id of each group's gold answer, int32 `[P]`; -2 where no rollout gave it."""
    return np.array([n.get(k, -2) for k, n in zip(gold_keys, names, strict=True)], np.int32)


def majority_class(classes, xp=np):
    """Most frequent class of each group int32 `[P]`; -1 where no rollout answered.

    classes int32 `[P, G]`, -1 none. Ties go to the smallest id, which is `tie_order`. xp: numpy, or
    jax.numpy for arrays of JAX.
    """
    votes = (classes[:, :, None] == xp.arange(classes.shape[1])[None, None]).sum(axis=1)  # [P, classes]
    return xp.where((votes > 0).any(axis=1), votes.argmax(axis=1), -1).astype(np.int32)


def partner_classes(majority: np.ndarray, names: list[dict[str, int]]) -> np.ndarray:
    """Class, in each group, of its partner's majority answer: int32 `[P]`; -1 the partner has none, -2 nobody
    here gave it. Groups 2i and 2i + 1 are partners: a question and its rephrasing."""
    out = []
    for p, here in enumerate(names):
        answer = {i: k for k, i in names[p ^ 1].items()}.get(int(majority[p ^ 1]))
        out.append(-1 if answer is None else here.get(answer, -2))
    return np.array(out, np.int32)


def partner_votes(classes: np.ndarray, names: list[dict[str, int]]) -> np.ndarray:
    """How many rollouts of its group's partner give each rollout's answer: int32 `[P, G]`, 0 without an answer.

    classes int32 `[P, G]`. Partners as in `partner_classes`.
    """
    out = np.zeros(classes.shape, np.int32)
    for p, here in enumerate(names):
        there = names[p ^ 1]
        for answer, i in here.items():
            out[p, classes[p] == i] = np.sum(classes[p ^ 1] == there[answer]) if answer in there else 0
    return out


class Ballot(NamedTuple):
    """What one model answers to a question."""

    votes: Counter[str]  # by key
    responses: int  # those without an answer too

    @property
    def shares(self) -> dict[str, float]:
        return {key: count / self.responses for key, count in self.votes.items()}


def collective_classes(classes: np.ndarray, names: list[dict[str, int]], others: list[list[Ballot]]):
    """Class, in each group, of the answer that most of several models' votes are for: int32 `[P]`; -1 nobody answered, -2 nobody
    here gave it.

    A model has one vote, spread over its responses, times its self-consistency: the share of its most frequent answer
    (RLCCF, 2508.12338). The group is one of the models; others `[P]`: those beside it. Ties go by `tie_order`.
    """
    out = []
    for row, here, beside in zip(classes, names, others, strict=True):
        own = Ballot(Counter({k: int(np.sum(row == i)) for k, i in here.items()}), len(row))
        total: Counter[str] = Counter()
        for shares in (ballot.shares for ballot in (own, *beside)):
            weight = max(shares.values(), default=0.0)
            total.update({key: weight * share for key, share in shares.items()})
        best = max(total.values(), default=0.0)
        tied = [key for key, votes in total.items() if votes >= best * (1 - 1e-9)]
        out.append(here.get(min(tied, key=tie_order), -2) if tied else -1)
    return np.array(out, np.int32)
