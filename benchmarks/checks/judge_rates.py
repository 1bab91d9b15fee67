"""How well a judge of Countdown tells right from wrong before any training, on a base's own solutions.

    python benchmarks/checks/judge_rates.py [lab:countdown_judge]          a base judges itself, in each wording
    python benchmarks/checks/judge_rates.py --arm 'near, five votes'       a judge of the study of judges; every solution 8 times

Of solutions to 150 held-out questions at T = 1, eight each: how many are right, and how many of the right and of
the wrong ones are called right, with 95 % intervals over questions. One JSON object. Half a minute on one core.
"""

from __future__ import annotations

import argparse
import copy
import json
import pathlib
from typing import NamedTuple

import numpy as np

from urlvr_jax import config
from urlvr_jax.answers.classes import read_answers
from urlvr_jax.checks.grading import Asked
from urlvr_jax.data import stream
from urlvr_jax.lab import countdown_world
from urlvr_jax.measure.intervals import mean_interval
from urlvr_jax.rewards import self_verification
from urlvr_jax.runtime import judges, opening
from urlvr_jax.runtime.random_keys import random_key
from urlvr_jax.studies import judges as study

COUNTDOWN = pathlib.Path(__file__).resolve().parents[2] / "experiments" / "countdown.py"
QUESTIONS, GROUP = study.QUESTIONS, study.GROUP


class Judged(NamedTuple):
    """Q held-out questions, G solutions each, every one judged several times."""

    correct: np.ndarray  # bool [Q, G], by the exact check
    accepted: np.ndarray  # float [Q, G], share of times that the judge said yes

    def rates(self) -> dict[str, dict[str, float]]:
        """{"avg", "true_positive_rate", "false_positive_rate": mean, low, high}, over questions."""
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


def measure(c, times: int) -> Judged:
    """What the judge of a configuration says of its base's solutions. c: of `experiments/countdown.py`, not yet opened."""
    c.data.prompts_per_step, c.rollout.group, c.rollout.slots = QUESTIONS, GROUP, 64
    run = opening.open_run(c)
    params = run.engine.place(run.base_params())
    judge = judges.asked(run.engine, run.tokenizer, judges.opened(c), params)(params)
    _, held_out, _ = run.eval_sets[0]
    prompts = stream.take(held_out, range(QUESTIONS))
    shape = run.engine.rollout_shape(prompts.tokens.shape[1])
    key = random_key(c.seed, "evaluate", 0)
    out = run.engine.sample(run.engine.to_rollout(params), prompts, key, shape)
    texts = run.tokenizer.decode(out.rows())
    answers = read_answers(texts, GROUP, c.answers.style, run.check.key_of)
    correct = run.check.grade(answers, Asked(prompts.questions, prompts.texts, None)).correct
    said = [self_verification.ask(judge, prompts, time, texts) for time in range(times)]
    accepted = (
        (np.array([s.verdicts for s in said]) == self_verification.YES).mean(axis=0).reshape(correct.shape)
    )
    return Judged(correct, accepted)


def rates(model: str, wording: str) -> dict[str, dict[str, float]]:
    """Of a base that judges itself under a wording of WORDINGS."""
    name = pathlib.Path(model.removeprefix("lab:")).name
    computing = name in countdown_world.RECIPES and countdown_world.RECIPES[name].by
    c = config.load_experiment(f"{COUNTDOWN}:{'checker' if computing else 'judge'}")
    c.verify.template = countdown_world.WORDINGS[wording]
    c.model.path = model
    return measure(c, 1).rates()


def of_arm(name: str) -> dict:
    """The rates of a judge of the study, and for each solution whether it is right and how often it was called so."""
    judged = measure(copy.deepcopy(study.cell_of(name).config), study.TIMES)
    yes = np.round(judged.accepted * study.TIMES).astype(int)
    return judged.rates() | {"correct": judged.correct.astype(int).tolist(), "yes": yes.tolist()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", nargs="?", default="lab:countdown_judge")
    parser.add_argument("--arm")
    given = parser.parse_args()
    if given.arm:
        print(json.dumps(of_arm(given.arm)))
    else:
        print(
            json.dumps(
                {wording: rates(given.model, wording) for wording in countdown_world.WORDINGS}, indent=1
            )
        )
