"""Held-out evaluation: avg@k, maj@k, unbiased pass@k, with bootstrap intervals over questions."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from urlvr_jax import config as config_lib
from urlvr_jax import data, rewards
from urlvr_jax.engine import random_key
from urlvr_jax.judge import read_answers, right

BOOTSTRAP_DRAWS = 1000
INTERVAL = (2.5, 97.5)  # per cent


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Results by question, in the file's order."""

    correct: np.ndarray  # int [Q], correct samples out of k
    majority: np.ndarray  # bool [Q], is the majority answer right
    k: int
    mean_length: float
    ended: float  # share of responses that ended by themselves

    def metrics(self) -> dict[str, float]:
        """avg@k, maj@k, pass@j, each with `/low` and `/high`: a 95 % bootstrap over questions."""
        values = {f"avg@{self.k}": self.correct / self.k, f"maj@{self.k}": self.majority}
        for j in sorted({1, self.k} - {1}):
            values[f"pass@{j}"] = pass_at(self.correct, self.k, j)
        out = {}
        for name, per_question in values.items():
            low, high = bootstrap_interval(per_question)
            out |= {name: float(per_question.mean()), f"{name}/low": low, f"{name}/high": high}
        return out | {"response_length/mean": self.mean_length, "ended": self.ended}


def pass_at(correct: np.ndarray, n: int, k: int) -> np.ndarray:
    """Unbiased pass@k of each question from n samples: 1 - C(n - c, k) / C(n, k)."""
    return np.array([1 - math.comb(n - int(c), k) / math.comb(n, k) for c in correct])


def bootstrap_interval(per_question: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the mean, resampling questions (the unit that generalises)."""
    values = np.asarray(per_question, np.float64)
    rng = np.random.default_rng((seed, len(values)))
    picks = rng.integers(0, len(values), (BOOTSTRAP_DRAWS, len(values)))
    low, high = np.percentile(values[picks].mean(axis=1), INTERVAL)
    return float(low), float(high)


def responses(engine, params, tokenizer, questions, step: int, *, k, temperature, top_p, stream):
    """Yield (indices of a chunk's real questions, their rollouts, texts); k rows a question.

    The last chunk is filled up with the first question; the filling is not rolled out.
    """
    count = engine.prompts_in_flight(k)
    for start in range(0, len(questions), count):
        real = list(range(start, min(start + count, len(questions))))
        prompts = data.take(questions, real + [0] * (count - len(real)))
        key = random_key(engine.c.seed, stream, (step * 100_003 + start) % 2**32)
        slots = min(config_lib.slots(engine.c), count * k)
        rollouts = engine.sample(
            params, prompts, key, group=k, slots=slots, temperature=temperature, top_p=top_p, real=len(real)
        )
        rows = len(real) * k
        cut = [r[:n] for r, n in zip(rollouts.tokens[:rows], rollouts.lengths[:rows], strict=True)]
        yield real, rollouts, tokenizer.decode(cut)


def evaluate(engine, params, tokenizer, questions, labels, step: int) -> Evaluation:
    """Sample k answers a question with rollout-layout parameters and compare with the gold answers."""
    c = engine.c
    options = dict(k=c.eval.k, temperature=c.eval.temperature, top_p=c.eval.top_p)
    correct, majority, lengths, ended = [], [], [], []
    for real, rollouts, texts in responses(
        engine, params, tokenizer, questions, step, stream="evaluate", **options
    ):
        _, ids, names = read_answers(c, texts, c.eval.k)
        gold = [labels.gold[questions.ids[i]] for i in real] if c.answers.check == "gold" else None
        is_right = right(c, [questions.texts[i] for i in real], texts, ids, names, gold)
        correct.append(is_right.sum(axis=1))
        label = np.asarray(rewards.majority_answer(ids))[:, None]
        majority.append((is_right & (ids == label) & (ids >= 0)).any(axis=1))
        lengths.append(rollouts.lengths[: len(texts)])
        ended.append(rollouts.ended[: len(texts)])
    return Evaluation(
        np.concatenate(correct),
        np.concatenate(majority),
        c.eval.k,
        float(np.concatenate(lengths).mean()),
        float(np.concatenate(ended).mean()),
    )
