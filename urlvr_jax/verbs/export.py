"""export: a Hugging Face folder from a run's checkpoint or a model."""

from __future__ import annotations

import pathlib
import shutil

import numpy as np
from safetensors import SafetensorError

from urlvr_jax.config import ConfigError
from urlvr_jax.errors import FolderError
from urlvr_jax.models import folders, transformer
from urlvr_jax.runtime import bucket, hosts, sharding
from urlvr_jax.runtime.opening import open_model
from urlvr_jax.runtime.progress import Console
from urlvr_jax.scoring.score import whole_logits
from urlvr_jax.verbs.opened import SETTINGS, open_flag, settings_text


def run(flag) -> int:
    """Write --out; done when it reads back the same: every tensor, and the logits of one prompt."""
    if not flag.out:
        raise ConfigError("--out is missing: give the folder to write")
    out = pathlib.Path(flag.out)
    if bucket.is_in(flag.out):
        out = bucket.staging("exports", flag.out)
    hosts.one(lambda: _require_new(flag.out, out))
    c, engine, params, tokenizer, source, step = open_flag(flag)
    console = Console("stderr")
    try:
        tell = console.stage("writing", "files")
        texts = {SETTINGS: settings_text(c)}
        folders.save(out, params, engine.model_config, source, tokenizer, tell=tell, texts=texts)
    except SafetensorError as error:
        raise folders.FolderError(
            f"{out}: its weights could not be written ({error}): free some space, or choose another place"
        ) from None
    if bucket.is_in(flag.out):
        hosts.one(lambda: bucket.send(out, flag.out))
    c.model.path = flag.out
    path, model_config, _ = open_model(c)
    tell = console.stage("reading back", "bytes")
    again = folders.load(path, model_config, engine.training_layout, tell)
    for name, value in params.items():
        if not sharding.equal(again[name], value):
            raise FolderError(f"{flag.out}: {name!r} does not read back as it was written")
    tokens = np.arange(64, dtype=np.int32)[None] % model_config.vocab_size
    before = whole_logits(engine.graph, params, tokens)
    if not sharding.equal(before, whole_logits(transformer.structure(model_config)[0], again, tokens)):
        raise FolderError(f"{flag.out}: the logits of its weights are not those of the model exported")
    of = f" of step {step}" if step is not None else ""
    print(
        f"{flag.out}: {len(params)} tensors{of}, read back and compared, as were the logits of "
        f"{tokens.size} tokens"
    )
    return 0


def _require_new(name: str, out: pathlib.Path) -> None:
    """ConfigError if there is something already. out: where it is written on this machine."""
    if bucket.is_in(name):
        if not bucket.is_empty(name):
            raise ConfigError(f"--out={name} exists: name a new folder to export to")
        shutil.rmtree(out, ignore_errors=True)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out={out} exists and is not empty: name a new folder to export to")
