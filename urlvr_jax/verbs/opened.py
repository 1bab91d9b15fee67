"""--model opened: a model folder, lab:NAME, or a run's checkpoint."""

from __future__ import annotations

import pathlib
from typing import NamedTuple

import ml_collections

from urlvr_jax import config as config_lib
from urlvr_jax.data.tokenizer import Tokenizer
from urlvr_jax.models import folders
from urlvr_jax.runtime import settled
from urlvr_jax.runtime.checkpoint import Checkpoints
from urlvr_jax.runtime.engine import Engine
from urlvr_jax.runtime.opening import open_model


class Opened(NamedTuple):
    """What --model names."""

    c: ml_collections.ConfigDict
    engine: Engine
    params: dict  # in the layout of training
    tokenizer: Tokenizer
    path: pathlib.Path  # the folder of its configuration and tokenizer
    step: int | None  # of the checkpoint, None for a model folder


def open_flag(flag) -> Opened:
    """What --model says, under --config; ConfigError where it says nothing."""
    model = flag.model
    if not model:
        raise config_lib.ConfigError(
            "--model is missing: give a model folder, lab:NAME or a run's folder, for example --model lab:plain"
        )
    is_run = config_lib.is_run(pathlib.Path(model))
    if not is_run and flag.step is not None:
        raise config_lib.ConfigError(f"--step={flag.step} is for a run's folder; --model={model} is none")
    c = settled.here(_of_run(flag) if is_run else _of_model(flag), trains=False)
    path, model_config, tokenizer = open_model(c)
    engine = Engine(c, model_config, tokenizer.stop_ids)
    if is_run:
        checkpoints = Checkpoints(pathlib.Path(model) / "checkpoints", c.checkpoint.keep, read_only=True)
        restored = checkpoints.restore(engine.state_shapes(), engine.state_layout(), flag.step)
        if restored is None:
            raise config_lib.ConfigError(f"--model={model}: this run has no checkpoint yet")
        params = restored[0].params
        step = restored[1]
    else:
        params = folders.load(path, model_config, engine.training_layout)
        step = None
    return Opened(c, engine, params, tokenizer, path, step)


def _of_model(flag) -> ml_collections.ConfigDict:
    """The configuration given, with the model that is named."""
    flag.config.model.path = flag.model
    return flag.config


def _of_run(flag) -> ml_collections.ConfigDict:
    """The run's own configuration, or of it the model alone where an experiment file was given;
    what was typed on the command line goes before."""
    c = config_lib.recorded(pathlib.Path(flag.model))
    if flag.experiment:
        model, c = c.model, flag.config
        c.model.update(model)
    c.update_from_flattened_dict(flag.typed)
    if "reward.name" in flag.typed and "reward.fn" not in flag.typed and not flag.experiment:
        c.reward.fn = ""  # it goes before the name: the run's must not go before what was typed
    return c
