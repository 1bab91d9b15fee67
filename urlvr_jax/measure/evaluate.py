"""Held-out evaluation: avg@k, maj@k, pass@k, with intervals over questions."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable

import numpy as np

from urlvr_jax.answers.missing import MOST_RESPONSES
from urlvr_jax.checks import table
from urlvr_jax.checks.grading import CheckError, Graded
from urlvr_jax.data import stream as stream_lib
from urlvr_jax.measure import metrics as metrics_lib
from urlvr_jax.measure import notices
from urlvr_jax.measure import probe as probe_lib
from urlvr_jax.measure.intervals import mean_interval
from urlvr_jax.measure.record import RunRecord
from urlvr_jax.runtime import own_rows
from urlvr_jax.runtime.counting import Stage, Tell, counted, silent
from urlvr_jax.runtime.random_keys import random_key


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Results by question, in the file's order."""

    correct: np.ndarray  # int [Q], correct samples out of k
    majority: np.ndarray  # bool [Q], is the majority answer right
    k: int
    mean_length: float
    ended: float  # share of responses that ended by themselves
    no_answer: float  # share of responses without an answer
    ungraded: dict[str, int]  # of a check of one's own: responses without a verdict, by cause
    notices: dict[str, str]  # what looks wrong, see notices.py

    def metrics(self) -> dict[str, float]:
        """avg@k, maj@k, pass@k (any of k samples is right), each with `/low` and `/high`: a 95 % interval over questions."""
        values = {f"avg@{self.k}": self.correct / self.k, f"maj@{self.k}": self.majority}
        if self.k > 1:
            values[f"pass@{self.k}"] = self.correct > 0
        out = {}
        for name, per_question in values.items():
            low, high = mean_interval(per_question)
            ends = {f"{name}/low": float(low), f"{name}/high": float(high)}
            out |= {name: float(per_question.mean()), **ends}
        return out | {
            "response_length/mean": self.mean_length,
            "ended": self.ended,
            "no_answer": self.no_answer,
            **{f"check/{cause}": float(n) for cause, n in self.ungraded.items()},
        }


def how(c, name: str = "") -> dict:
    """How answers to a set's questions are sampled: `c.eval`, but those of the probe as in training."""
    if name == probe_lib.NAME:
        return probe_lib.how(c)
    return dict(k=c.eval.k, temperature=c.eval.temperature, top_p=c.eval.top_p, top_k=c.eval.top_k)


def _chunks(engine, questions, *, k, temperature, top_p, top_k=0):
    """Yield (indices of a chunk's real questions, its prompts, the shape of its rollouts).

    The last chunk is filled up with the first question; the filling is not rolled out.
    """
    count = engine.evaluation_shape(0, k, temperature, top_p, top_k).prompts
    for start in range(0, len(questions), count):
        real = list(range(start, min(start + count, len(questions))))
        prompts = stream_lib.take(questions, real + [0] * (count - len(real)))
        yield real, prompts, engine.evaluation_shape(prompts.tokens.shape[1], k, temperature, top_p, top_k)


def compile_for(engine, questions, tell: Tell, options: dict) -> None:
    """Compile what `responses` runs for these questions: apart, so that the time it takes can be told."""
    shapes = {shape: None for _, _, shape in _chunks(engine, questions, **options)}
    for shape in counted(list(shapes), tell):
        engine.sampler(shape)


def responses(engine, params, questions, step: int, *, stream, **options):
    """Yield (indices of a chunk's real questions, its prompts, their rollouts, their token rows); k rows a question.

    options: see `how`.
    """
    for real, prompts, shape in _chunks(engine, questions, **options):
        key = random_key(engine.c.seed, stream, (step * 100_003 + real[0]) % 2**32)
        rollouts = engine.sample(params, prompts, key, shape, real=len(real))
        yield real, prompts, rollouts, rollouts.rows()[: len(real) * shape.group]


def _unseen(prompts, rollouts, answers, correct) -> None:
    """Nobody else looks at a chunk."""


def evaluate(
    engine,
    params,
    tokenizer,
    questions,
    labels,
    step: int,
    tell: Tell = silent,
    *,
    options=None,
    see=_unseen,
) -> Evaluation:
    """Sample k answers a question with rollout-layout parameters and check them by `answers.check`.

    tell: questions. options: see `how`, the default. see: called with a chunk's prompts and rollouts, those that fill
    it up included, and with answers and who is right (bool `[P, k]`) of the P real prompts.
    """
    c = engine.c
    options = options or how(c)
    check = table.of(engine.c)
    tell(0, len(questions))
    correct = []
    majority = []
    lengths = []
    ended = []
    found = []
    some = []
    ungraded: collections.Counter = collections.Counter()
    error = ""
    for real, prompts, rollouts, rows in responses(
        engine, params, questions, step, stream="evaluate", **options
    ):
        answers = own_rows.read(c, tokenizer, rows, options["k"], check)
        graded = own_rows.begin(check, answers, labels.of(prompts, len(real)))()
        if graded.correct is None:
            raise CheckError(graded.why)
        right = graded.correct
        see(prompts, rollouts, answers, right)
        ungraded.update(graded.ungraded)
        error = error or graded.error
        correct.append(right.sum(axis=1))
        chosen = (answers.classes == answers.majority[:, None]) & (answers.classes >= 0)
        majority.append((right & chosen).any(axis=1))
        lengths.append(rollouts.lengths[: len(rows)])
        ended.append(rollouts.ended[: len(rows)])
        found += [key is not None for key in answers.keys]
        some += answers.texts[: MOST_RESPONSES - len(some)]
        tell(real[-1] + 1, len(questions))
    return Evaluation(
        np.concatenate(correct),
        np.concatenate(majority),
        options["k"],
        float(np.concatenate(lengths).mean()),
        float(np.concatenate(ended).mean()),
        1 - float(np.mean(found)),
        dict(ungraded),
        notices.of_answers(some, sum(found[: len(some)]), c.answers.style)
        | notices.of_check(Graded(right, None, dict(ungraded), error=error)),
    )


def all_sets(
    run, params, step: int, stage: Stage, warn: Callable[[str], None]
) -> tuple[dict[str, float], list[dict]]:
    """Every question file of a run: one metric line's worth, and the lines of evals.jsonl.

    params are in the layout of training. A file of which a check of one's own judges nothing is left out, and said.
    """
    metrics = {}
    lines = []
    params = run.engine.to_rollout(params)
    for name, questions, labels in run.eval_sets:
        tell = stage(f"evaluating {name}", "questions")
        try:
            result = evaluate(
                run.engine, params, run.tokenizer, questions, labels, step, tell, options=how(run.c, name)
            )
        except CheckError as error:
            warn(f"no evaluation of {name} at step {step}: {error}")
            continue
        if said := result.notices.get("check"):
            warn(f"evaluation of {name} at step {step}: {said}")
        metrics |= {f"eval/{name}/{k}": v for k, v in result.metrics().items()}
        counts = {"correct": result.correct.tolist(), "majority": result.majority.astype(int).tolist()}
        lines.append({"step": step, "set": name, "k": result.k, **counts})
    return metrics, lines


class Watch:
    """The evaluations of a run: when they are due, what they give, the accuracy that ranks checkpoints, and the probe."""

    def __init__(self, run, workdir, stage: Stage):
        self.run, self.workdir, self.stage = run, workdir, stage
        first = run.eval_sets[0][0] if run.eval_sets else None
        self.name = first and f"eval/{first}/avg@{how(run.c, first)['k']}"
        past = RunRecord(workdir.path)
        self.held_out_accuracy = past.last_value(self.name) if self.name else None
        self.probe = probe_lib.Probe(run.c, past.evals)

    def due(self, step: int, last: bool) -> bool:
        return bool(self.run.eval_sets) and (step % self.run.c.eval.every == 0 or last)

    def evaluate(self, params, step: int, notice=lambda notices: None) -> dict[str, float]:
        """Metrics of every question file, labelled all; the results of each question go to evals.jsonl.

        notice: told what is to be said of the probe.
        """
        metrics, lines = all_sets(self.run, params, step, self.stage, self.workdir.warn)
        for line in lines:
            self.workdir.evals.write(line)
            metrics |= self.probe.see(line) if line["set"] == probe_lib.NAME else {}
        notice(self.probe.notices())
        self.held_out_accuracy = metrics.get(self.name, self.held_out_accuracy)
        return metrics

    def of_base(self, params) -> dict[str, float]:
        """The metric line of step 0, written."""
        line = metrics_lib.Line(0, labelled=self.evaluate(params, 0)).whole()
        self.workdir.metrics.write(line)
        return line
