"""--model opened: a model folder, lab:NAME, or a run's checkpoint."""

from __future__ import annotations

import pathlib
import sys
from typing import NamedTuple

import jax
import ml_collections

from urlvr_jax import config as config_lib
from urlvr_jax import validation
from urlvr_jax.data.tokenizer import Tokenizer
from urlvr_jax.models import folders
from urlvr_jax.runtime.checkpoint import Checkpoints
from urlvr_jax.runtime.engine import Engine
from urlvr_jax.runtime.opening import open_model
from urlvr_jax.runtime.progress import Console
from urlvr_jax.untrusted import json_text
from urlvr_jax.verbs.flags import config_file


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
    c, model = flag.config, flag.model
    if not model:
        raise config_lib.ConfigError("--model is missing: give a model folder, lab:NAME or a run's folder")
    is_run = (pathlib.Path(model) / "config.json").is_file() and (
        pathlib.Path(model) / "record.json"
    ).is_file()
    if is_run:
        file = pathlib.Path(model) / "config.json"
        try:
            _adopt(c, json_text.read(file, config_lib.ConfigError), config_file(sys.argv))
        except (KeyError, TypeError, ValueError, AttributeError) as error:  # ml_collections' own words
            raise config_lib.ConfigError(f"{file} is no configuration of a run ({error!s:.200})") from None
    else:
        c.model.path = model
    validation.validate(c, jax.device_count(), jax.default_backend())
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
        tell = Console("stderr").stage("loading weights", "bytes")
        params = folders.load(path, model_config, engine.training_layout, tell)
        step = None
    return Opened(c, engine, params, tokenizer, path, step)


def _adopt(c, recorded: dict, file: str) -> None:
    """Take the run's own configuration, or of it the model alone where an experiment file was given;
    what was typed on the command line goes before."""
    typed = {w.split("=")[0].removeprefix("--config.") for w in sys.argv if w.startswith("--config.")}
    if "reward.name" in typed:
        typed.add("reward.fn")  # which goes before the name: the run's must not go before what was typed
    for key, value in recorded.items():
        if key in typed or (file and not key.startswith("model.")):
            continue
        *parents, leaf = key.split(".")
        node: ml_collections.ConfigDict = c
        for part in parents:
            node = node[part]
        node[leaf] = tuple(value) if isinstance(value, list) else value
