"""Right by the gold answer: a response is right when its answer has the key of the gold one."""

from __future__ import annotations

import numpy as np

from urlvr_jax.answers.canonical import key
from urlvr_jax.answers.classes import Answers, gold_classes


def right(answers: Answers, gold: list[str]) -> np.ndarray:
    """bool `[P, G]`. gold `[P]`, as its file has it."""
    return answers.classes == gold_classes([key(g) for g in gold], answers.names)[:, None]
