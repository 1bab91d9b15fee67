"""Open what a configuration names: tokenizer, questions, labels, model, and the engine for them."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np

from urlvr_jax import data, rewards
from urlvr_jax.config import ConfigError
from urlvr_jax.engine import Engine
from urlvr_jax.models import hf, transformer
from urlvr_jax.tokenizer import Tokenizer


@dataclasses.dataclass
class Run:
    """All that a run reads from files."""

    c: object
    engine: Engine
    model_config: transformer.ModelConfig
    model_path: pathlib.Path
    tokenizer: Tokenizer
    questions: data.Questions
    labels: data.Labels
    eval_sets: list[tuple[str, data.Questions, data.Labels]]

    @property
    def facts(self) -> dict:
        """For the run's record."""
        return {
            "questions": len(self.questions),
            "questions_too_long": self.questions.overlong,
            "questions_fingerprint": self.questions.fingerprint,
            "stop_ids": list(self.tokenizer.stop_ids),
            "parameters": int(sum(np.prod(s.shape) for s in self.engine.shapes.values())),
        }

    def base_params(self) -> dict:
        """Host parameters of the base: read from its folder, or drawn from the seed."""
        if self.c.model.init == "random":
            return transformer.initialise(self.model_config, self.c.seed)
        return hf.load(self.model_path, self.model_config)

    def documents(self, step: int):
        c = self.c
        return data.documents_at(
            c.data.documents, self.tokenizer, step, c.data.prompts_per_step, c.seed,
            c.data.prompt_buckets, c.rollout.max_new_tokens,
        )  # fmt: skip


def open_model(c):
    """Model folder -> (path, configuration, tokenizer); vocabularies must fit each other."""
    path = data.resolve(c.model.path, "bases")
    config = hf.model_config(
        path,
        param_dtype=c.model.param_dtype,
        compute_dtype=c.model.compute_dtype,
        remat=c.model.remat,
    )
    try:
        tokenizer = Tokenizer(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise hf.FolderError(f"{path}: no usable tokenizer ({error!s:.300})") from None
    if len(tokenizer.hf) > config.vocab_size:
        raise hf.FolderError(
            f"{path}: the tokenizer has {len(tokenizer.hf)} tokens, the model only {config.vocab_size}"
        )
    if c.model.vocab == "tokenizer":
        config = dataclasses.replace(config, real_vocab=max(tokenizer.hf.get_vocab().values()) + 1)
    return path, config, tokenizer


def open_questions(c, name: str, tokenizer, subset: int, rephrase: str = ""):
    return data.load(name, tokenizer, c.data.template, c.data.prompt_buckets, subset, rephrase)


def open_evaluation(c, name: str, tokenizer):
    """Questions and labels of a file that can be evaluated; DataError where labels are missing."""
    questions, labels = open_questions(c, name, tokenizer, c.eval.max_questions)
    if c.answers.check == "gold" and len(labels.gold) < len(questions):
        raise data.DataError(f"{name}: an evaluation needs `answer` in every row")
    return questions, labels


def open_run(c) -> Run:
    """Open everything; every error a file can cause is raised here."""
    path, model_config, tokenizer = open_model(c)
    questions, labels = open_questions(c, c.data.train, tokenizer, c.data.subset, c.data.rephrase)
    eval_sets = []
    for name in c.eval.sets if c.eval.every else ():
        held_questions, held_labels = open_evaluation(c, name, tokenizer)
        short = pathlib.Path(name.removeprefix("lab:")).stem
        eval_sets.append((short, held_questions, held_labels))
    names = [name for name, _, _ in eval_sets]
    if len(set(names)) < len(names):
        raise data.DataError(f"eval.sets: two files have the same name, {names}; rename one")
    engine = Engine(c, model_config, tokenizer.stop_ids)
    return Run(c, engine, model_config, path, tokenizer, questions, labels, eval_sets)


def require_inputs(fns, run: Run) -> None:
    """ConfigError if these rewards need what the configuration or its files do not give."""
    for fn in fns:
        _require_labels(fn, run)
        if "rephrased" in rewards.needs_of(fn) and not run.c.data.rephrase:
            raise ConfigError(
                f"reward {fn.__name__!r} compares two wordings of a question: set data.rephrase"
            )


def _require_labels(fn, run: Run) -> None:
    checked = run.c.answers.check == "gold"
    if rewards.is_verifier(fn) and checked and len(run.labels.gold) < len(run.questions):
        raise ConfigError(
            f"reward {fn.__name__!r} needs a gold answer for every question; {run.c.data.train} has "
            f"{len(run.labels.gold)} for {len(run.questions)}"
        )
