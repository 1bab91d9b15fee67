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


class Graded(NamedTuple):
    """What a check found of a step's responses."""

    correct: np.ndarray | None  # bool [P, G]; None where nothing could be known
    scores: np.ndarray | None  # float32 [P, G]: of a check of one's own what it returned, else 1 and 0
    ungraded: dict[
        str, int
    ] = {}  # of a check of one's own: responses without a score, which count as wrong, by cause
    why: str = ""  # nothing could be known
    error: str = ""  # the first that a check of one's own raised


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
