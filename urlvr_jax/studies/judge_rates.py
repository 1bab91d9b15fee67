"""How well a judge of Countdown tells right from wrong before any training: of the base's own solutions, at T = 1."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from urlvr_jax.answers.classes import read_answers
from urlvr_jax.checks.grading import Asked
from urlvr_jax.data import stream
from urlvr_jax.measure.intervals import mean_interval
from urlvr_jax.rewards import self_verification
from urlvr_jax.runtime import judges, opening
from urlvr_jax.runtime.random_keys import random_key

RATES = ("true_positive_rate", "false_positive_rate")


class Judged(NamedTuple):
    """Q held-out questions, G solutions each, every one judged several times."""

    correct: np.ndarray  # bool [Q, G], by the exact check
    accepted: np.ndarray  # float [Q, G], share of times that the judge said yes

    def rates(self) -> dict[str, dict[str, float]]:
        """{"avg", and those of RATES: mean, low, high}, over questions."""
        return {
            "avg": _mean(self.correct.mean(axis=1)),
            "true_positive_rate": self._share(self.correct),
            "false_positive_rate": self._share(~self.correct),
        }

    def _share(self, these: np.ndarray) -> dict[str, float]:
        """Of these solutions `[Q, G]`, the share of a question's that is called right; over questions that have any."""
        counts = these.sum(axis=1)
        yes = np.where(these, self.accepted, 0.0).sum(axis=1)
        return _mean(yes[counts > 0] / counts[counts > 0])


def _mean(values: np.ndarray) -> dict[str, float]:
    low, high = mean_interval(values)
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}


def measure(c, questions: int, group: int, times: int) -> Judged:
    """What the judge of a configuration says of its base's solutions. c: of `experiments/countdown.py`, not yet opened."""
    c.data.prompts_per_step, c.rollout.group, c.rollout.slots = questions, group, 64
    run = opening.open_run(c)
    params = run.engine.place(run.base_params())
    judge = judges.asked(run.engine, run.tokenizer, judges.opened(c), params)(params)
    _, held_out, _ = run.eval_sets[0]
    prompts = stream.take(held_out, range(questions))
    shape = run.engine.rollout_shape(prompts.tokens.shape[1])
    key = random_key(c.seed, "evaluate", 0)
    out = run.engine.sample(run.engine.to_rollout(params), prompts, key, shape)
    texts = run.tokenizer.decode(out.rows())
    answers = read_answers(texts, group, c.answers.style, run.check.key_of)
    correct = run.check.grade(answers, Asked(prompts.questions, prompts.texts, None)).correct
    said = [self_verification.ask(judge, prompts, time, texts) for time in range(times)]
    accepted = (
        (np.array([s.verdicts for s in said]) == self_verification.YES).mean(axis=0).reshape(correct.shape)
    )
    return Judged(correct, accepted)
