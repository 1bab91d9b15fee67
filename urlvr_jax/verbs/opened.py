"""--model opened: a model folder, lab:NAME, or a run's checkpoint."""

from __future__ import annotations

import json
import os
import pathlib
from typing import NamedTuple

import jax
import ml_collections

from urlvr_jax import config as config_lib
from urlvr_jax import devices
from urlvr_jax.data.tokenizer import Tokenizer
from urlvr_jax.errors import FolderError
from urlvr_jax.models import identity
from urlvr_jax.runtime import bucket, settled
from urlvr_jax.runtime.checkpoint import Checkpoints
from urlvr_jax.runtime.engine import Engine
from urlvr_jax.runtime.opening import base_facts, base_params, open_model
from urlvr_jax.runtime.progress import Console
from urlvr_jax.untrusted import json_text

SETTINGS = "urlvr_jax.json"  # in an exported folder: how the model was asked
KEPT = (
    "data.prompt_format", "data.template", "data.system", "data.prompt_buckets", "answers.style",
    "rollout.max_new_tokens", "rollout.response_buckets",
)  # fmt: skip


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
    here = folder_of(model)
    is_run = config_lib.is_run(here)
    if not is_run and flag.step is not None:
        raise config_lib.ConfigError(f"--step={flag.step} is for a run's folder; --model={model} is none")
    c = settled.here(_of_run(flag, here) if is_run else _of_model(flag, here), trains=False)
    try:
        path, model_config, tokenizer = open_model(c)
        engine = Engine(c, model_config, tokenizer.stop_ids)
        params, step = _restored(flag, engine, path, here) if is_run else (_loaded(engine, path), None)
    except FolderError as error:
        raise FolderError(
            f"--model={model}: {error}{_hint(pathlib.Path(model), is_run, c.model.path)}"
        ) from None
    return Opened(c, engine, params, tokenizer, path, step)


def folder_of(model: str) -> pathlib.Path:
    """Where files of --model are read; of a bucket a copy, without a run's checkpoints."""
    if bucket.is_in(model):
        return bucket.copied(model, without=(bucket.CHECKPOINTS,))
    return pathlib.Path(model)


def _loaded(engine: Engine, path: pathlib.Path) -> dict:
    """The weights of a model folder, or of the base that a run's adapters are for."""
    return base_params(engine, path, Console("stderr").stage)


def _restored(flag, engine: Engine, path: pathlib.Path, here: pathlib.Path) -> tuple[dict, int]:
    """The parameters of a run's checkpoint, and its step. path: of the base's folder, here: of the run's record."""
    folder = bucket.place(flag.model) / bucket.CHECKPOINTS
    restored = None
    if folder.is_dir():
        checkpoints = Checkpoints(folder, engine.c.checkpoint.keep, read_only=True)
        restored = checkpoints.restore(engine.state_shapes(), engine.state_layout(), flag.step)
    if restored is None:
        raise config_lib.ConfigError(
            f"--model={flag.model}: this run has no checkpoint yet; it makes one every "
            f"{engine.c.checkpoint.every or engine.c.steps} steps"
        )
    state, step = restored
    if engine.model_config.lora is None:
        return state.params, step
    identity.require(here, base_facts(engine.c, engine.model_config, path).get(identity.FACT), FolderError)
    return _loaded(engine, path) | state.params, step


def _hint(model: pathlib.Path, is_run: bool, base: str) -> str:
    """What may have been meant where a folder could not be opened."""
    if is_run:
        gone = not base.startswith("lab:") and not pathlib.Path(base).expanduser().exists()
        return (
            " (the run began from it, and it has the tokenizer); give --config.model.path=FOLDER"
            if gone
            else ""
        )
    runs = [folder for folder in (model, *model.parents)[1:3] if config_lib.is_run(folder)]
    return f"; a run is given by its own folder, --model={runs[0]}" if runs else ""


def _of_model(flag, here: pathlib.Path) -> ml_collections.ConfigDict:
    """The configuration given, with the model that is named; without an experiment file, asked as it was trained."""
    c = flag.config
    c.model.path = flag.model
    c.model.lora.update({"rank": 0, "base": "param_dtype"})  # a folder has no adapters
    file = here / SETTINGS
    if flag.experiment or not os.path.isfile(file):
        return c
    written = json_text.read(file, FolderError)
    if not isinstance(written, dict) or not set(written) <= set(KEPT):
        raise FolderError(f"{file}: has other keys than {', '.join(KEPT)}: delete it, or export again")
    for key, value in written.items():
        try:
            c.update_from_flattened_dict({key: tuple(value) if isinstance(value, list) else value})
        except (KeyError, TypeError, ValueError):  # ml_collections' own words
            raise FolderError(
                f"{file}: {key} = {value!r:.60} is of another type: delete it, or export again"
            ) from None
    c.update_from_flattened_dict(flag.typed)
    return c


def settings_text(c) -> str:
    """What an exported folder has in SETTINGS."""
    every = config_lib.flat(c)
    return json.dumps({key: every[key] for key in KEPT}, indent=1) + "\n"


def _of_run(flag, here: pathlib.Path) -> ml_collections.ConfigDict:
    """The run's own configuration, or of it the model alone where an experiment file was given;
    what was typed on the command line goes before."""
    c = devices.elsewhere(config_lib.recorded(here), jax.device_count())
    if flag.experiment:
        model, c = c.model, flag.config
        c.model.update(model)
    c.update_from_flattened_dict(flag.typed)
    if "reward.name" in flag.typed and "reward.fn" not in flag.typed and not flag.experiment:
        c.reward.fn = ""  # it goes before the name: the run's must not go before what was typed
    return c
