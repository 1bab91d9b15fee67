"""Who judges in self-verification, `verify.judge`: the policy as it is, the base as it was, or another model; and its lessons."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from urlvr_jax import config as config_lib
from urlvr_jax.config import ConfigError
from urlvr_jax.errors import DataError, FolderError
from urlvr_jax.learning.advantages import step_advantages
from urlvr_jax.learning.step import TrainState
from urlvr_jax.models import folders
from urlvr_jax.rewards import self_verification
from urlvr_jax.rewards.self_verification import Judge, Verification
from urlvr_jax.runtime.counting import Stage, unwatched
from urlvr_jax.runtime.engine import Engine
from urlvr_jax.runtime.opening import Run, base_params, open_model
from urlvr_jax.types import Prompts


def model_of(c):
    """(path, configuration, tokenizer) of the judge that is a model of its own, and the configuration it runs by; None where
    `verify.judge` is the policy or its base. ConfigError, naming the key, where its folder cannot be read or its verdicts would
    not fit its positions."""
    if c.verify.judge in config_lib.OWN_JUDGES:
        return None
    c = config_lib.of_judge(c)
    widest = c.verify.prompt_buckets[-1] + c.verify.max_new_tokens
    try:
        path, model_config, tokenizer = open_model(c)
        folders.check_weights(path, model_config)
        folders.check_length(path, model_config, widest)
    except (FolderError, DataError, ConfigError) as error:
        raise ConfigError(f"verify.judge = {c.verify.judge!r}: {error}") from None
    return c, path, model_config, tokenizer


def opened(c, stage: Stage = unwatched) -> Judge | None:
    """The judge that is a model of its own, see `model_of`; None where it is the policy or its base.

    It reads texts, so its tokenizer may be another.
    """
    found = model_of(c)
    if found is None:
        return None
    c, path, model_config, tokenizer = found
    engine = Engine(c, model_config, tokenizer.stop_ids)
    return Judge(engine, base_params(engine, path, stage), tokenizer)


def asked(engine: Engine, tokenizer, other: Judge | None, base: dict | None) -> Callable[[dict], Judge]:
    """Of the policy's parameters, who judges. other: what `opened` gave; base: the base's parameters, where they are held."""
    if other is not None:
        return lambda params: other
    if engine.c.verify.judge == "base":
        return lambda params: Judge(engine, engine.base(params, base), tokenizer)
    return lambda params: Judge(engine, params, tokenizer)


class Lesson(NamedTuple):
    """What a second update tells."""

    kept: float  # share of groups whose majority answer the judge keeps
    paid: float | None  # mean reward of the verdicts that are trained; None without any
    updates: list[dict]  # metrics of the update, on the device; empty where nothing could move


class Teacher:
    """Trains the policy to judge, `verify.train`: a second update of a step, on its verdicts. See `lessons`.

    The verdicts were sampled before the step's first update. Ratio and clipping are left out, as in a run with one
    update a step: the update is at most one behind.
    """

    def __init__(self, run: Run, stage: Stage = unwatched):
        c = config_lib.of_verdicts(run.c)
        self.c, self.engine = c, Engine(c, run.model_config, run.tokenizer.stop_ids)
        self.engine.optimizer = run.engine.optimizer  # one schedule, whichever update comes
        self.engine.compile_all(stage, sampling=False, scoring=False)

    def teach(self, state: TrainState, answers: np.ndarray, verification: Verification):
        """-> (the state after the update, a `Lesson`). answers int32 `[P, G]`. The state given is donated."""
        _, _, prompts, rollouts = verification
        paid, trained = self_verification.lessons(answers, verification)
        advantages = step_advantages(self.c, paid, None, rollouts) * trained.reshape(-1, 1)
        zeros, told = np.zeros(advantages.shape, np.float32), []
        for batch in self.engine.minibatches(prompts, rollouts, advantages, rollouts.stats["logp"], zeros):
            state, one = self.engine.update(state, batch)
            told.append(one)
        return state, Lesson(
            float(trained.mean()), float(paid[trained].mean()) if trained.any() else None, told
        )


class Judging:
    """The second generation of a run: who judges, asked once a step, and taught where `verify.train` says so."""

    def __init__(self, run: Run, verifying: bool, stage: Stage = unwatched):
        self.run = run
        self.other = opened(run.c, stage) if verifying else None
        if verifying:
            (self.other or run).engine.compile_verifier(stage)
        self.teacher = Teacher(run, stage) if run.c.verify.train != "none" else None

    def asked(self, params: dict, base: dict | None, prompts: Prompts, step: int, texts: list[str]):
        """A function that asks for verdicts on the responses `[B]` when it is first called, and gives the same `Verification` after."""
        judge = asked(self.run.engine, self.run.tokenizer, self.other, base)
        return functools.cache(lambda: self_verification.ask(judge(params), prompts, step, texts))

    def teach(self, state: TrainState, answers: np.ndarray, verify: Callable[[], Verification]):
        """-> (state, `Lesson`), or the state as it is and None where the judge is not trained."""
        return self.teacher.teach(state, answers, verify()) if self.teacher else (state, None)
