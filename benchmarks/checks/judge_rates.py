"""How well a base of Countdown judges its own solutions, in each wording of the verification prompt.

    python benchmarks/checks/judge_rates.py [lab:countdown_judge]

Of its solutions to 150 held-out questions at T = 1, eight each: how many are right, and how many of the right and of
the wrong ones it calls right, with 95 % intervals over questions. One JSON object. Half a minute on one core.
"""

from __future__ import annotations

import argparse
import json
import pathlib

import numpy as np

from urlvr_jax import config
from urlvr_jax.answers.classes import read_answers
from urlvr_jax.checks.grading import Asked
from urlvr_jax.data import stream
from urlvr_jax.lab.countdown_world import WORDINGS
from urlvr_jax.measure.intervals import mean_interval
from urlvr_jax.rewards import self_verification
from urlvr_jax.runtime import opening
from urlvr_jax.runtime.random_keys import random_key

COUNTDOWN = pathlib.Path(__file__).resolve().parents[2] / "experiments" / "countdown.py"
QUESTIONS, GROUP = 150, 8


def rates(model: str, wording: str) -> dict[str, dict[str, float]]:
    """{"avg", "true_positive_rate", "false_positive_rate": mean, low, high} under a wording of WORDINGS."""
    c = config.load_experiment(str(COUNTDOWN))
    c.verify.template = WORDINGS[wording]
    c.model.path = model
    c.data.prompts_per_step = QUESTIONS
    c.rollout.group = GROUP
    c.rollout.slots = 64
    run = opening.open_run(c)
    params = run.engine.place(run.base_params())
    _, held_out, _ = run.eval_sets[0]
    prompts = stream.take(held_out, range(QUESTIONS))
    shape = run.engine.rollout_shape(prompts.tokens.shape[1])
    key = random_key(c.seed, "evaluate", 0)
    out = run.engine.sample(run.engine.to_rollout(params), prompts, key, shape)
    texts = run.tokenizer.decode(out.rows())
    answers = read_answers(texts, GROUP, c.answers.style, run.check.key_of)
    correct = run.check.grade(answers, Asked(prompts.questions, prompts.texts, None)).correct
    verdicts = self_verification.ask(run.engine, params, run.tokenizer, prompts, 0, texts)
    yes = verdicts.reshape(correct.shape) == self_verification.YES
    return {
        "avg": _mean(correct.mean(axis=1)),
        "true_positive_rate": _share(yes, correct),
        "false_positive_rate": _share(yes, ~correct),
    }


def _share(yes: np.ndarray, these: np.ndarray) -> dict[str, float]:
    """Of these solutions `[Q, G]`, the share of a question's that is called right; over questions that have any."""
    counts = these.sum(axis=1)
    return _mean((yes & these).sum(axis=1)[counts > 0] / counts[counts > 0])


def _mean(values: np.ndarray) -> dict[str, float]:
    low, high = mean_interval(values)
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", nargs="?", default="lab:countdown_judge")
    model = parser.parse_args().model
    print(json.dumps({wording: rates(model, wording) for wording in WORDINGS}, indent=1))
