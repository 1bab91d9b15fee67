"""What a check is, what it is handed, and what it gives."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from urlvr_jax.answers.classes import Answers
from urlvr_jax.errors import UserError


class CheckError(UserError):
    """A check that cannot be loaded, or that judged nothing where a control needs it."""


class Asked(NamedTuple):
    """The questions of P groups, and what their file says of them. Gold answers and rows are labels."""

    questions: tuple[str, ...]  # [P], as in their file
    prompts: tuple[str, ...]  # [P], as rendered for the model
    gold: list[str] | None  # [P], None where one is missing
    rows: list[dict] | None = None  # [P], all columns; None where nobody asked for them

    def gold_of(self, p: int) -> str | None:
        return self.gold[p] if self.gold else None

    def of(self, groups: slice) -> Asked:
        """Those of some groups."""
        return Asked(*(None if x is None else x[groups] for x in self))


class Graded(NamedTuple):
    """What a check found of a step's responses."""

    correct: np.ndarray | None  # bool [P, G]; None where nothing could be known
    scores: np.ndarray | None  # float32 [P, G]: of a check of one's own what it returned, else 1 and 0
    ungraded: dict[
        str, int
    ] = {}  # of a check of one's own: responses without a score, which count as wrong, by cause
    why: str = ""  # nothing could be known
    error: str = ""  # the first that a check of one's own raised


def joined(parts: list[tuple[Graded, tuple[int, int]]]) -> Graded:
    """What was found of parts that follow each other, each with its shape (P, G). Unknown only where all of it is."""
    graded = [part for part, (count, _) in parts if count]
    if all(part.correct is None for part in graded):
        return graded[0]._replace(ungraded=_sum(graded))
    right = [np.zeros(shape, bool) if part.correct is None else part.correct for part, shape in parts]
    scores = [np.zeros(shape, np.float32) if part.scores is None else part.scores for part, shape in parts]
    error = next((part.error for part in graded if part.error), "")
    return Graded(np.concatenate(right), np.concatenate(scores), _sum(graded), error=error)


def _sum(graded: list[Graded]) -> dict[str, int]:
    causes = dict.fromkeys(cause for part in graded for cause in part.ungraded)
    return {cause: sum(part.ungraded.get(cause, 0) for part in graded) for cause in causes}


def ungraded_text(counts: dict[str, int], error: str) -> str:
    """Counts of `Graded.ungraded` in words; "" where there are none."""
    said = {
        "late": "past the deadline",
        "lost": "lost with their process",
        "failed": "failed",
        "none": "got None",
    }
    text = ", ".join(f"{n} {said[cause]}" for cause, n in counts.items() if n)
    return f"{text} ({error})" if error else text


class Check(NamedTuple):
    """How it is known which responses are right."""

    needs_gold: bool  # it reads `Asked.gold`; others read the task from the question, or the row
    key_of: Callable[[str], str]  # an answer's text -> its key
    start: Callable[[Answers, Asked], Callable[[], Graded]]

    def begin(self, answers: Answers, asked: Asked) -> Callable[[], Graded]:
        """Start grading; the function that is returned waits for the result, once, and gives it each time."""
        if self.needs_gold and asked.gold is None:
            return lambda: Graded(None, None, why="a gold answer is missing")
        return functools.cache(self.start(answers, asked))

    def grade(self, answers: Answers, asked: Asked) -> Graded:
        return self.begin(answers, asked)()


def at_once(right_of: Callable[[Answers, Asked], np.ndarray]) -> Callable:
    """`Check.start` of a function that tells right from wrong by itself."""

    def start(answers: Answers, asked: Asked) -> Callable[[], Graded]:
        def grade() -> Graded:
            right = right_of(answers, asked)
            return Graded(right, right.astype(np.float32))

        return grade

    return start
