"""Who is right: the checks that `answers.check` names. No JAX, no reward.

A check serves metrics and controls. To add one, write in a file here how an answer becomes a key, and which of a
step's answers are right; then give it a line in CHECKS. One of a user's own needs no line: own.py.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from urlvr_jax.answers import canonical
from urlvr_jax.answers.classes import Answers, as_written
from urlvr_jax.checks import countdown, integration, own
from urlvr_jax.checks import gold as gold_lib
from urlvr_jax.checks.grading import Asked, Check, Graded, at_once


def _countdown(mode: str, answers: Answers, asked: Asked) -> np.ndarray:
    found = [f and f.text for f in answers.found]
    right = countdown.right(answers.texts, found, asked.questions, asked.prompts, mode)
    return right.reshape(answers.classes.shape)


def _integration(answers: Answers, asked: Asked) -> Callable[[], Graded]:
    def grade() -> Graded:
        found, without = integration.right([f and f.text for f in answers.found], asked.questions)
        right = found.reshape(answers.classes.shape)
        return Graded(right, right.astype(np.float32), {"none": without})

    return grade


CHECKS = {
    "gold": Check(True, canonical.key, at_once(lambda answers, asked: gold_lib.right(answers, asked.gold))),
    "countdown": Check(False, as_written, at_once(functools.partial(_countdown, "strict"))),
    "countdown_tinyzero": Check(False, as_written, at_once(functools.partial(_countdown, "tinyzero"))),
    "integration": Check(False, canonical.key, _integration),
}


def of(c) -> Check:
    """The check of a configuration; CheckError for a function of one's own that cannot be one."""
    a = c.answers
    return _opened(a.check, a.workers, a.deadline_s)


@functools.cache
def _opened(name: str, workers: int, deadline_s: float) -> Check:
    return own.load(name, workers, deadline_s) if own.is_own(name) else CHECKS[name]
