"""What became of each question between its first and its last visit."""

from __future__ import annotations

import dataclasses

import numpy as np

KINDS = (
    "right to wrong",
    "wrong to right",
    "amplified right",
    "amplified wrong",
    "held right",
    "held wrong",
)


@dataclasses.dataclass(frozen=True)
class Visit:
    """One vote on each of Q questions; of a question that nobody answered, wrong with a share of 0."""

    majority_right: np.ndarray  # bool [Q], whether the majority's answer is right
    share: np.ndarray  # float [Q], of rollouts that give the majority's answer


def flips(first: Visit, last: Visit) -> np.ndarray:
    """Which of KINDS each question is, str `[Q]`.

    Amplified: the majority is as right or wrong as it was, and its share grew; held: its share did not. A majority that
    went from one wrong answer to another is wrong at both visits.
    """
    was, now = _same_questions(first.majority_right, last.majority_right)
    before, after = (np.asarray(x, np.float64) for x in (first.share, last.share))
    for name, share in (("first", before), ("last", after)):
        if share.shape != was.shape or not ((share >= 0) & (share <= 1)).all():
            raise ValueError(
                f"the {name} visit needs a share between 0 and 1 for each of {len(was)} questions"
            )
    grew = after > before
    conditions = (was & ~now, ~was & now, was & grew, grew, was)
    return np.select(conditions, KINDS[:5], KINDS[5])


def ledger(first_right, last_right) -> dict[str, int]:
    """How many questions were kept, learned, corrupted, and never right at either visit: bool `[Q]` twice."""
    was, now = _same_questions(first_right, last_right)
    return {
        "kept": int((was & now).sum()),
        "learned": int((~was & now).sum()),
        "corrupted": int((was & ~now).sum()),
        "never": int((~was & ~now).sum()),
    }


def _same_questions(first, last) -> tuple[np.ndarray, np.ndarray]:
    """Two bool `[Q]`; ValueError otherwise, since a share or a -1 would count as right."""
    first, last = np.asarray(first), np.asarray(last)
    if first.dtype != bool or last.dtype != bool or first.ndim != 1 or first.shape != last.shape:
        raise ValueError(
            f"right or wrong is bool [Q] at both visits, not {first.dtype} {first.shape} and {last.dtype} {last.shape}"
        )
    return first, last
