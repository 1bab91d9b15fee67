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
from urlvr_jax.checks import countdown, integration, own, programs, python_programs
from urlvr_jax.checks import gold as gold_lib
from urlvr_jax.checks.grading import Asked, Check, Graded, at_once


def _countdown(mode: str, answers: Answers, asked: Asked) -> np.ndarray:
    found = [f and f.text for f in answers.found]
    right = countdown.right(answers.texts, found, asked.questions, asked.prompts, mode)
    return right.reshape(answers.classes.shape)


def _programs(answers: Answers, asked: Asked) -> np.ndarray:
    found = [f and f.text for f in answers.found]
    return programs.right(found, asked.questions).reshape(answers.classes.shape)


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
    "programs": Check(False, canonical.key, at_once(_programs)),
    "integration": Check(False, canonical.key, _integration),
}


def of(c) -> Check:
    """The check of a configuration; CheckError for a function of one's own that cannot be one."""
    return named(c, c.answers.check)


def named(c, name: str) -> Check:
    """The check `name` with the processes and the deadline of a configuration; SandboxError where it cannot run programs."""
    return _opened(name, c.answers.workers, c.answers.deadline_s)


def reads_rows(name: str) -> bool:
    """Whether a check reads columns of the question file."""
    return own.is_own(name) or name == "unit_tests"


def require_rows(name: str, questions, rows) -> None:
    """CheckError or DataError for a question that this check cannot judge. rows: all columns, where it `reads_rows`."""
    if own.is_own(name):
        own.require_columns(name, rows)
    elif name in python_programs.JUDGES:
        python_programs.require(name, questions, rows)


@functools.cache
def _opened(name: str, workers: int, deadline_s: float) -> Check:
    if own.is_own(name):
        return own.load(name, workers, deadline_s)
    if name in python_programs.JUDGES:
        return python_programs.load(name, workers, deadline_s)
    return CHECKS[name]
