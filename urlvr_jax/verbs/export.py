"""export: a Hugging Face folder from a run's checkpoint or a model."""

from __future__ import annotations

import contextlib
import pathlib
import shutil

import jax
import numpy as np
from safetensors import SafetensorError

from urlvr_jax.config import ConfigError
from urlvr_jax.errors import FolderError
from urlvr_jax.models import folders, lora, peft_folder, transformer
from urlvr_jax.report import card
from urlvr_jax.runtime import bucket, hosts, sharding
from urlvr_jax.runtime.opening import open_model
from urlvr_jax.runtime.progress import Console
from urlvr_jax.scoring.score import whole_logits
from urlvr_jax.verbs.opened import SETTINGS, folder_of, open_flag, settings_text


def run(flag) -> int:
    """Write --out; done when it reads back the same: every tensor, and the logits of one prompt.

    Adapters are merged into the weights, or with --adapter written alone.
    """
    if not flag.out:
        raise ConfigError("--out is missing: give the folder to write")
    out = pathlib.Path(flag.out)
    if bucket.is_in(flag.out):
        out = bucket.staging("exports", flag.out)
    hosts.one(lambda: _require_new(flag.out, out))
    c, engine, params, tokenizer, source, step = open_flag(flag)
    of = f" of step {step}" if step is not None else ""
    if flag.adapter:
        with _written(out):
            count = _adapter(flag, out, c, engine, params, source)
        print(f"{flag.out}: {count} tensors of adapters{of}, read back and compared")
        return 0
    params = _merged(engine, params)
    c.model.lora.update({"rank": 0, "base": "param_dtype"})
    console = Console("stderr")
    with _written(out):
        tell = console.stage("writing", "files")
        texts = {SETTINGS: settings_text(c)} | _card(flag.model, step)
        folders.save(
            out, params, lora.plain(engine.model_config), source, tokenizer, tell=tell, texts=texts
        )
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
    before = whole_logits(engine.rollout_graph, params, tokens)
    if not sharding.equal(before, whole_logits(transformer.structure(model_config)[0], again, tokens)):
        raise FolderError(f"{flag.out}: the logits of its weights are not those of the model exported")
    print(
        f"{flag.out}: {len(params)} tensors{of}, read back and compared, as were the logits of "
        f"{tokens.size} tokens"
    )
    return 0


def _card(model: str, step: int | None) -> dict[str, str]:
    """The file that tells of the run; {} of a model that is no run's, and of a run whose lines are not here."""
    here = folder_of(model)
    if step is None or not (here / "metrics.jsonl").is_file():
        return {}
    return {"README.md": card.card(here, step)}


@contextlib.contextmanager
def _written(out: pathlib.Path):
    """FolderError where weights cannot be written."""
    try:
        yield
    except SafetensorError as error:
        raise FolderError(
            f"{out}: its weights could not be written ({error}): free some space, or choose another place"
        ) from None


def _merged(engine, params: dict) -> dict:
    """Parameters of the plain model in `param_dtype`, in the layout of training."""
    config = engine.model_config
    if config.lora is None:
        return params
    merge = lambda p: lora.merged(p, config.lora, config.param_dtype)
    return jax.jit(merge, out_shardings={n: engine.training_layout[n] for n in engine.rollout_shapes})(
        params
    )


def _adapter(flag, out: pathlib.Path, c, engine, params: dict, source: pathlib.Path) -> int:
    """Write a folder for PEFT and read it back; how many tensors it has."""
    config = engine.model_config
    if config.lora is None:
        raise ConfigError(
            f"--adapter: {flag.model} has no adapters, all its weights were trained; export it without this flag"
        )
    here = c.model.path.startswith("lab:") or pathlib.Path(c.model.path).expanduser().exists()
    base = str(source.resolve()) if here else c.model.path  # else a name on the Hub, which PEFT knows too
    count = peft_folder.save(out, params, config, base)
    for name, value in peft_folder.load(out, engine.shapes, config).items():
        if not np.array_equal(value, sharding.to_host(params[name])):
            raise FolderError(f"{flag.out}: {name!r} does not read back as it was written")
    if bucket.is_in(flag.out):
        hosts.one(lambda: bucket.send(out, flag.out))
    return count


def _require_new(name: str, out: pathlib.Path) -> None:
    """ConfigError if there is something already. out: where it is written on this machine."""
    if bucket.is_in(name):
        if not bucket.is_empty(name):
            raise ConfigError(f"--out={name} exists: name a new folder to export to")
        shutil.rmtree(out, ignore_errors=True)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out={out} exists and is not empty: name a new folder to export to")
