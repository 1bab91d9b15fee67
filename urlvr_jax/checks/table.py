"""Who is right: the checks that `answers.check` names. No JAX, no reward.

A check serves metrics and controls. To add one, write in a file here what `Check` holds: how an answer becomes
a key, and which of a step's answers are right; then give it a line in CHECKS.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from urlvr_jax.answers import canonical
from urlvr_jax.answers.classes import Answers, as_written
from urlvr_jax.checks import countdown
from urlvr_jax.checks import gold as gold_lib


class Asked(NamedTuple):
    """The questions of P groups, and their gold answers."""

    questions: tuple[str, ...]  # [P], as in their file
    prompts: tuple[str, ...]  # [P], as rendered for the model
    gold: list[str] | None  # [P], None where one is missing


class Check(NamedTuple):
    """How it is known which responses are right."""

    needs_gold: bool  # it reads `Asked.gold`; the others read the task from the question
    key_of: Callable[[str], str]  # an answer's text -> its key
    right_of: Callable[[Answers, Asked], np.ndarray]

    def right(self, answers: Answers, asked: Asked) -> np.ndarray | None:
        """bool `[P, G]`; None where a gold answer that the check needs is missing."""
        return None if self.needs_gold and asked.gold is None else self.right_of(answers, asked)


def _countdown(mode: str, answers: Answers, asked: Asked) -> np.ndarray:
    found = [f and f.text for f in answers.found]
    right = countdown.right(answers.texts, found, asked.questions, asked.prompts, mode)
    return right.reshape(answers.classes.shape)


CHECKS = {
    "gold": Check(True, canonical.key, lambda answers, asked: gold_lib.right(answers, asked.gold)),
    "countdown": Check(False, as_written, functools.partial(_countdown, "strict")),
    "countdown_tinyzero": Check(False, as_written, functools.partial(_countdown, "tinyzero")),
}
