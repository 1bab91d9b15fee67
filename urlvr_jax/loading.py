"""Open what a configuration names: tokenizer, questions, labels, model, and the engine for them."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import sys

import numpy as np

from urlvr_jax import columns, data, prompts, rewards
from urlvr_jax.config import ConfigError
from urlvr_jax.engine import Engine
from urlvr_jax.models import hf, transformer
from urlvr_jax.questions import resolve
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
    def test_time_training(self) -> dict[str, list[int]]:
        """Evaluation set -> [how many of its questions are trained on, of how many]; sets without any are left out."""
        if self.c.mode == "supervised":
            return {}
        trained = set(self.questions.texts)
        shared = {name: sum(text in trained for text in held.texts) for name, held, _ in self.eval_sets}
        return {name: [shared[name], len(held)] for name, held, _ in self.eval_sets if shared[name]}

    @property
    def facts(self) -> dict:
        """For the run's record."""
        origin = self.questions.origin
        return {
            "questions": len(self.questions),
            "questions_too_long": self.questions.overlong,
            "questions_fingerprint": self.questions.fingerprint,
            "questions_shape": origin.shape,
            "questions_rows": origin.rows,
            "questions_duplicates": origin.duplicates,
            "questions_conflicting_answers": origin.conflicts,
            "questions_with_control_text": origin.control,
            "test_time_training": self.test_time_training,
            "stop_ids": list(self.tokenizer.stop_ids),
            "parameters": int(sum(np.prod(s.shape) for s in self.engine.shapes.values())),
        }

    def base_params(self) -> dict:
        """The base in the layout of training: read from its folder, or drawn from the seed."""
        if self.c.model.init == "random":
            return self.engine.place(transformer.initialise(self.model_config, self.c.seed))
        return hf.load(self.model_path, self.model_config, self.engine.training)

    def documents(self, step: int):
        c = self.c
        return data.documents_at(
            c.data.documents, self.tokenizer, step, c.data.prompts_per_step, c.seed,
            c.data.prompt_buckets, c.rollout.max_new_tokens,
        )  # fmt: skip


def model_folder(name: str) -> pathlib.Path:
    """A path, lab:NAME, known:NAME (no weights), or a name on the Hugging Face Hub."""
    return resolve(name, "bases") if name.startswith("lab:") else hf.resolve(name)


def open_model(c):
    """Model folder -> (path, configuration, tokenizer); vocabularies and lengths must fit each other."""
    if c.model.path.startswith("known:"):
        raise hf.FolderError(
            f"model.path = {c.model.path!r} has neither weights nor a tokenizer: it is for the verb `plan`; give "
            "a folder or a name on the Hugging Face Hub"
        )
    path = model_folder(c.model.path)
    config = hf.model_config(
        path,
        param_dtype=c.model.param_dtype,
        compute_dtype=c.model.compute_dtype,
        remat=c.model.remat,
        scan=c.model.scan,
        attention=c.model.attention,
    )
    try:
        tokenizer = Tokenizer(path, chat=c.data.prompt_format == "chat")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise hf.FolderError(f"{path}: no usable tokenizer ({error!s:.300})") from None
    largest = max(tokenizer.hf.get_vocab().values(), default=0)
    if largest >= config.vocab_size:
        raise hf.FolderError(
            f"{path}: the tokenizer has ids up to {largest}, the model's vocab_size is {config.vocab_size}: "
            "they do not belong together"
        )
    if c.model.vocab == "tokenizer":
        config = dataclasses.replace(config, real_vocab=largest + 1)
    hf.check_length(path, config, c.data.prompt_buckets[-1] + c.rollout.max_new_tokens)
    return path, config, tokenizer


def open_prompt_format(c, tokenizer):
    """How questions become prompts; what looks like a mistake is said on standard error."""
    prompt_format = prompts.of(c, tokenizer)
    for warning in prompt_format.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return prompt_format


def open_questions(c, prompt_format):
    """Questions and labels to train on."""
    return data.load(
        c.data.train, prompt_format, c.data.prompt_buckets, subset=c.data.subset,
        subset_seed=c.data.subset_seed, rephrase=c.data.rephrase, named=columns.parse(c.data.columns),
        deduplicate=c.data.deduplicate,
    )  # fmt: skip


def open_evaluation(c, name: str, prompt_format):
    """Questions and labels of a file that can be evaluated; DataError where labels are missing."""
    return data.load(
        name, prompt_format, c.data.prompt_buckets, subset=c.eval.max_questions,
        named=columns.parse(c.data.columns), strict=False, deduplicate=c.data.deduplicate,
        labelled=c.answers.check == "gold",
    )  # fmt: skip


def short_names(names) -> list[str]:
    """What the metrics of question files are called: the file's name, with its folder's where that is not enough."""
    paths = [pathlib.Path(re.sub(r"^(lab|hf):", "", name).replace("*", "")) for name in names]
    short = [path.stem for path in paths]
    short = [f"{p.parent.name}_{s}" if short.count(s) > 1 else s for p, s in zip(paths, short, strict=True)]
    if len(set(short)) < len(short):
        raise data.DataError(f"eval.sets: two files have the same name, {short}; rename one")
    return short


def open_run(c) -> Run:
    """Open everything; every error a file can cause is raised here."""
    path, model_config, tokenizer = open_model(c)
    if c.model.init == "pretrained":
        hf.check_weights(path, model_config)
    prompt_format = open_prompt_format(c, tokenizer)
    questions, labels = open_questions(c, prompt_format)
    names = tuple(c.eval.sets) if c.eval.every else ()
    eval_sets = [
        (short, *open_evaluation(c, name, prompt_format))
        for short, name in zip(short_names(names), names, strict=True)
    ]
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
        lacking = next(i for i in run.questions.ids if i not in run.labels.gold)
        raise ConfigError(
            f"reward {fn.__name__!r} needs a gold answer for every question; {run.c.data.train} has "
            f"{len(run.labels.gold)} for {len(run.questions)}, none for id {lacking!r}"
        )
