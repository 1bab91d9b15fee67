"""What the host does with responses, each process with its own questions': all get the whole.

So a slow check, or a long decoding, takes a share of its time on each of several hosts.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from urlvr_jax.answers import classes
from urlvr_jax.answers.classes import Answers
from urlvr_jax.checks import grading, table
from urlvr_jax.checks.grading import Asked, Check, CheckError, Graded
from urlvr_jax.runtime import hosts
from urlvr_jax.types import Prompts


def read(c, tokenizer, rows: list, group: int, check: Check) -> Answers:
    """The answers in token rows `[B]`, in groups of `group`."""
    own = hosts.share(len(rows) // group)

    def mine() -> Answers:
        texts = tokenizer.decode(rows[own.start * group : own.stop * group])
        return classes.read_answers(texts, group, c.answers.style, check.key_of)

    parts = hosts.each(mine)
    return parts[0] if len(parts) == 1 else classes.joined(parts, group)


def begin(check: Check, answers: Answers, asked: Asked) -> Callable[[], Graded]:
    """Start grading; the function that is returned waits for the result, and gives it each time.

    Every process has to call that one, in the same order among what processes agree on.
    """
    own = hosts.share(len(answers.classes))
    if hosts.alone() or (check.needs_gold and asked.gold is None):
        return check.begin(answers, asked)
    part = answers.of(own)
    empty = own.start == own.stop
    wait = (lambda: Graded(None, None)) if empty else check.begin(part, asked.of(own))

    def graded() -> Graded:
        return grading.joined(hosts.each(lambda: (wait(), part.classes.shape), hosts.gather_small))

    return functools.cache(graded)


def outside(c, answers: Answers, prompts: Prompts, name: str) -> np.ndarray:
    """Scores of the check `name`, float32 `[P, G]`, for a reward without labels: it is handed the questions, no gold
    answer and no row. CheckError where it judges nothing."""
    asked = Asked(prompts.questions or prompts.texts, prompts.texts, None)
    graded = begin(table.named(c, name), answers, asked)()
    if graded.scores is None:
        raise CheckError(graded.why)
    return graded.scores
