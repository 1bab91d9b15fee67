"""Open what a configuration names: tokenizer, questions, labels, model, and the engine for them."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import sys

import numpy as np

from urlvr_jax import config as config_lib
from urlvr_jax.checks import table
from urlvr_jax.checks.grading import Check
from urlvr_jax.config import ConfigError
from urlvr_jax.data import prompt_formats, segments, shapes, stream
from urlvr_jax.data.corpus import Corpus, open_corpus
from urlvr_jax.data.labels import Labels
from urlvr_jax.data.tokenizer import Tokenizer
from urlvr_jax.errors import DataError, FolderError
from urlvr_jax.lab import shipped
from urlvr_jax.learning.step import TrainState
from urlvr_jax.measure import probe
from urlvr_jax.models import folders, identity, lora, transformer
from urlvr_jax.rewards import dual, expression, interface, supplied
from urlvr_jax.rewards.derived import OF_OTHERS, RUN_PROGRAMS, SECOND_GENERATION, TWO_WORDINGS
from urlvr_jax.runtime import elsewhere
from urlvr_jax.runtime.counting import Stage, unwatched
from urlvr_jax.runtime.engine import Engine
from urlvr_jax.runtime.random_keys import random_key
from urlvr_jax.types import Prompts, Rollouts


@dataclasses.dataclass
class Run:
    """All that a run reads from files."""

    c: object
    engine: Engine
    model_config: transformer.ModelConfig
    model_path: pathlib.Path
    tokenizer: Tokenizer
    questions: stream.Questions
    labels: Labels
    eval_sets: list[tuple[str, stream.Questions, Labels]]
    corpus: Corpus | None  # of supervised mode

    @property
    def check(self) -> Check:
        """How it is known who is right."""
        return table.of(self.c)

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
            "parameters": int(sum(np.prod(s.shape) for s in self.engine.rollout_shapes.values())),
            **base_facts(self.c, self.model_config, self.model_path),
            **(self.corpus.facts if self.corpus else {}),
            **elsewhere.facts(self.c),
        }

    def base_params(self, stage: Stage = unwatched) -> dict:
        """See the function of that name."""
        return base_params(self.engine, self.model_path, stage)

    def state(self, restored: tuple[TrainState, int] | None, stage: Stage = unwatched):
        """(state, step) to go on from: what a checkpoint gave, with what it lacks of a frozen base; else the base at step 0."""
        if restored is None:
            return self.engine.new_state(self.base_params(stage)), 0
        state, step = restored
        if self.model_config.lora:
            state = state._replace(params=self.base_params(stage) | state.params)
        return state, step

    def held_base(self, kl: bool, needs, stage: Stage = unwatched) -> dict | None:
        """The base, where a KL, its verdicts or a reward's needs ask for it beside the policy: not where that is the base and
        adapters."""
        judging = bool(SECOND_GENERATION & set(needs)) and self.c.verify.judge == "base"
        asked = (kl and self.c.kl.reference == "fixed") or judging or supplied.asks_base(needs)
        return self.base_params(stage) if asked and self.model_config.lora is None else None

    def begin(self, params, step: int) -> tuple[Prompts, object]:
        """The prompts of a step, and its rollouts under way: `finish` waits for them.

        params are in the layout of training. In supervised mode the corpus has written the responses.
        """
        c, engine = self.c, self.engine
        if c.mode == "supervised":
            return self.corpus.at(step)
        prompts = stream.prompts_at(self.questions, step, c.data.prompts_per_step, c.seed, c.data.shuffle)
        key = random_key(c.seed, "rollout", step)
        shape = engine.rollout_shape(prompts.tokens.shape[1])
        return prompts, engine.start_sample(engine.to_rollout(params), prompts, key, shape)

    def finish(self, begun: tuple[Prompts, object]) -> tuple[Prompts, Rollouts]:
        """Wait for what `begin` began."""
        prompts, rollouts = begun
        return prompts, rollouts if isinstance(rollouts, Rollouts) else self.engine.finish_sample(rollouts)


def base_params(engine: Engine, path: pathlib.Path, stage: Stage = unwatched) -> dict:
    """The base in the layout of training, read from its folder or drawn from the seed; with adapters that change nothing yet."""
    c, config = engine.c, engine.model_config
    if c.model.init == "random":
        return engine.adapted(engine.place(transformer.initialise(lora.plain(config), c.seed)))
    tell = stage("loading weights", "bytes")
    return engine.adapted(folders.load(path, config, engine.training_layout, tell))


def base_facts(c, model_config: transformer.ModelConfig, path: pathlib.Path) -> dict[str, str]:
    """What a run's record says of the weights that its checkpoints lack; empty where they have them all."""
    if model_config.lora is None or c.model.init == "random":
        return {}
    return {identity.FACT: identity.fingerprint(path)}


def model_folder(name: str) -> pathlib.Path:
    """A path, lab:NAME, known:NAME (no weights), or a name on the Hugging Face Hub."""
    return shipped.base(name) if name.startswith("lab:") else folders.resolve(name)


def model_config(c, path: pathlib.Path) -> transformer.ModelConfig:
    """A folder's model as `c.model` wants it computed. ConfigError where its sizes refuse `model.lora`."""
    m = c.model
    config = folders.model_config(
        path, param_dtype=m.param_dtype, compute_dtype=m.compute_dtype, remat=m.remat, scan=m.scan,
        attention=m.attention, lora=lora.of(m.lora),
    )  # fmt: skip
    lora.check(config)
    return config


def open_model(c):
    """Model folder -> (path, configuration, tokenizer); vocabularies and lengths must fit each other."""
    if c.model.path.startswith("known:"):
        raise FolderError(
            f"model.path = {c.model.path!r} has neither weights nor a tokenizer: it is for the verb `plan`; give "
            "a folder or a name on the Hugging Face Hub"
        )
    path = model_folder(c.model.path)
    if config_lib.is_run(path):
        raise FolderError(
            f"model.path = {c.model.path!r} is a run's folder, not a model's: `export --model {path} --out FOLDER` first, "
            "and give that folder"
        )
    config = model_config(c, path)
    tokenizer = Tokenizer(path, chat=c.data.prompt_format == "chat")
    largest = max(tokenizer.hf.get_vocab().values(), default=0)
    if largest >= config.vocab_size:
        raise FolderError(
            f"{path}: the tokenizer has ids up to {largest}, the model's vocab_size is {config.vocab_size}: "
            "they do not belong together"
        )
    if c.model.vocab == "tokenizer":
        config = dataclasses.replace(config, real_vocab=largest + 1)
    longest = c.rollout.max_new_tokens
    if c.continuation.corpus:
        longest = max(longest, config_lib.continuation_buckets(c)[-1])
    folders.check_length(path, config, c.data.prompt_buckets[-1] + longest)
    return path, config, tokenizer


def open_prompt_format(c, tokenizer):
    """How questions become prompts; what looks like a mistake is said on standard error."""
    prompt_format = prompt_formats.of(c, tokenizer)
    for warning in prompt_format.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return prompt_format


def open_questions(c, prompt_format, columns: bool = False):
    """Questions and labels to train on. columns: all of their file, for a control that may ask for them.

    The contexts of a corpus, if `continuation.corpus` names one: they have no labels.
    """
    if c.continuation.corpus:
        t = c.continuation
        cuts = segments.Cuts(t.cut, t.tokens, t.segments)
        found = segments.read(t.corpus, cuts, prompt_format.tokenizer, c.data.prompt_buckets[-1])
        return stream.ready(
            found, t.corpus, prompt_format, c.data.prompt_buckets, subset=c.data.subset,
            subset_seed=c.data.subset_seed,
        )  # fmt: skip
    held_out = c.labels.probe and not c.labels.train_on_probe
    return _of_training_file(
        c, prompt_format, rephrase=c.data.rephrase, columns=columns or table.reads_rows(c.answers.check),
        probe=_probe(c, taken=False) if held_out else None,
    )  # fmt: skip


def open_probe(c, prompt_format):
    """Questions and labels of `labels.probe`, in the wording of their file."""
    return _of_training_file(
        c, prompt_format, columns=table.reads_rows(c.answers.check), probe=_probe(c, taken=True)
    )


def _probe(c, taken: bool) -> stream.Probe:
    return stream.Probe(c.labels.probe, c.seed, table.of(c).needs_gold, taken)


def _of_training_file(c, prompt_format, **which):
    return stream.load(
        c.data.train, prompt_format, c.data.prompt_buckets, subset=c.data.subset,
        subset_seed=c.data.subset_seed, named=shapes.parse(c.data.columns), deduplicate=c.data.deduplicate,
        **which,
    )  # fmt: skip


def open_evaluation(c, name: str, prompt_format):
    """Questions and labels of a file that can be evaluated; DataError where labels are missing."""
    return stream.load(
        name, prompt_format, c.data.prompt_buckets, subset=c.eval.max_questions,
        named=shapes.parse(c.data.columns), strict=False, deduplicate=c.data.deduplicate,
        labelled=table.of(c).needs_gold, columns=table.reads_rows(c.answers.check),
    )  # fmt: skip


def short_names(names) -> list[str]:
    """What the metrics of question files are called: the file's name, with its folder's where that is not enough."""
    paths = [pathlib.Path(re.sub(r"^(lab|hf):", "", name).replace("*", "")) for name in names]
    short = [path.stem for path in paths]
    short = [f"{p.parent.name}_{s}" if short.count(s) > 1 else s for p, s in zip(paths, short, strict=True)]
    if len(set(short)) < len(short):
        raise DataError(f"eval.sets: two files have the same name, {short}; rename one")
    return short


def open_run(c, columns: bool = False) -> Run:
    """Open everything; every error a file can cause is raised here. columns: see `open_questions`."""
    table.of(c)
    path, model_config, tokenizer = open_model(c)
    if c.model.init == "pretrained":
        folders.check_weights(path, model_config)
    prompt_format = open_prompt_format(c, tokenizer)
    questions, labels = open_questions(c, prompt_format, columns)
    names = tuple(c.eval.sets) if c.eval.every else ()
    eval_sets = [
        (short, *open_evaluation(c, name, prompt_format))
        for short, name in zip(short_names(names), names, strict=True)
    ]
    if c.labels.probe:
        if probe.NAME in [name for name, _, _ in eval_sets]:
            raise DataError(
                f"eval.sets: a file is called {probe.NAME!r}, as the set of labels.probe is: rename it"
            )
        eval_sets.append((probe.NAME, *open_probe(c, prompt_format)))
    corpus = open_corpus(c, tokenizer, prompt_format) if c.mode == "supervised" else None
    if corpus and (left_out := corpus.facts.get("documents_left_out")):
        print(
            f"warning: {c.data.documents}: {left_out} of {left_out + corpus.facts['documents']} completions are left "
            "out: too long for data.prompt_buckets or rollout.max_new_tokens, or empty",
            file=sys.stderr,
        )
    engine = Engine(c, model_config, tokenizer.stop_ids)
    return Run(c, engine, model_config, path, tokenizer, questions, labels, eval_sets, corpus)


def require_inputs(reward: expression.Configured, run: Run) -> None:
    """UserError if these rewards, or the check, need what the configuration or its files do not give."""
    for questions, labels in ((run.questions, run.labels), *(held[1:] for held in run.eval_sets)):
        rows = [labels.rows[i] for i in questions.ids] if labels.rows else None
        table.require_rows(run.c.answers.check, questions.questions, rows)
    require_given(run.c, reward, run.questions.questions)
    if run.c.collapse.until_mcs:
        _require_labels("collapse.until_mcs = True", run)
    for fn in reward.all:
        if expression.needs_labels(fn):
            _require_labels(f"reward {fn.__name__!r}", run)


def require_given(c, reward: expression.Configured, questions) -> None:
    """UserError if these rewards need what the configuration, or a file it names beside the questions, does not give."""
    if c.verify.train != "none" and "verification" not in reward.needs:
        raise ConfigError(
            f"verify.train = {c.verify.train!r} trains verdicts, and no reward asks for any: give reward.name = coverrl, or "
            "another that needs verification"
        )
    require_programs(c, reward, questions)
    require_second_generation(c, reward, questions)
    if OF_OTHERS & reward.needs:
        elsewhere.require(c, questions, config_lib.trained_on(c))
    for fn in reward.all:
        needs = interface.needs_of(fn)
        if TWO_WORDINGS.intersection(needs) and not c.data.rephrase:
            raise ConfigError(
                f"reward {fn.__name__!r} compares two wordings of a question: set data.rephrase"
            )
        if not c.continuation.corpus and any(n in supplied.OF_CORPUS for n in needs):
            raise ConfigError(
                f"reward {fn.__name__!r} compares with what a text goes on with: set continuation.corpus, a file of text"
            )


def require_second_generation(c, reward: expression.Configured, questions) -> None:
    """UserError where the second generation is of the other kind than what a reward reads, or `verify.dual` fails on the first
    question."""
    name = reward.fn.__name__
    if reward.needs >= SECOND_GENERATION:
        raise ConfigError(
            f"reward {name!r} with its shadows asks for verdicts and for a hidden part of the question; a run makes one of them"
        )
    if "reconstruction" in reward.needs and not c.verify.dual:
        raise ConfigError(
            f"reward {name!r} or a shadow looks for a hidden part of the question: set verify.dual to lab, number or my.py:function"
        )
    if "verification" in reward.needs and c.verify.dual:
        raise ConfigError(
            f"reward {name!r} or a shadow asks for verdicts, and verify.dual = {c.verify.dual!r} for a hidden part of the "
            "question: set it to ''"
        )
    if "reconstruction" in reward.needs:
        dual.asked(c.verify.dual, questions[0], "1")


def _require_labels(who: str, run: Run) -> None:
    if run.check.needs_gold and len(run.labels.gold) < len(run.questions):
        lacking = next(i for i in run.questions.ids if i not in run.labels.gold)
        raise ConfigError(
            f"{who} needs a gold answer for every question; {run.c.data.train} has "
            f"{len(run.labels.gold)} for {len(run.questions)}, none for id {lacking!r}"
        )


def require_programs(c, reward: expression.Configured, questions) -> None:
    """UserError if a reward runs programs, and they cannot be run here or the questions ask for none."""
    for fn in reward.all:
        for name in (RUN_PROGRAMS[n] for n in interface.needs_of(fn) if n in RUN_PROGRAMS):
            if not c.answers.workers:
                raise ConfigError(
                    f"reward {fn.__name__!r} runs programs beside the device: --config.answers.workers=2"
                )
            table.named(c, name)
            table.require_rows(name, questions, None)
