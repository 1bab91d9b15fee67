"""Adapters out, as PEFT reads them: adapter_config.json and adapter_model.safetensors."""

from __future__ import annotations

import json
import pathlib
import shutil

import numpy as np

from urlvr_jax.errors import FolderError
from urlvr_jax.models import lora
from urlvr_jax.models.names import their_names
from urlvr_jax.runtime import hosts, sharding

WEIGHTS, SETTINGS = "adapter_model.safetensors", "adapter_config.json"
THEIRS = {lora.A: "lora_A", lora.B: "lora_B"}


def names(adapters, config) -> dict[str, str]:
    """Our names of adapters -> PEFT's; its matrices are ours transposed."""
    kernel = lambda name: f"{name.rpartition('.')[0]}.kernel"
    theirs = their_names({kernel(name) for name in adapters}, config)
    out = {}
    for name in adapters:
        stem = theirs[kernel(name)][0].removesuffix(".weight")
        out[name] = f"base_model.model.{stem}.{THEIRS[name.rpartition('.')[2]]}.weight"
    return out


def settings(config, base: str) -> dict:
    """What adapter_config.json says. base: where PEFT finds the frozen model."""
    modules = {n.split(".")[-3] for n in names(_all(config), config).values()}
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": config.lora.rank,
        "lora_alpha": config.lora.alpha,
        "target_modules": sorted(modules),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "use_dora": False,
        "init_lora_weights": True,
        "inference_mode": True,
    }


def _all(config) -> list[str]:
    """An adapter's name of each target, of the first layer."""
    of = lambda target: "attention" if target in "qkvo" else "feedforward"
    return [f"layers.0.{of(t)}.{t}.{lora.A}" for t in config.lora.targets]


def save(path: pathlib.Path, params: dict, config, base: str) -> int:
    """Write a new folder, which has its name when it is whole; how many tensors. Every process calls it, one writes."""
    from safetensors.numpy import save_file

    adapters = {n: np.asarray(x) for n, x in sharding.to_host(lora.trained(params)).items()}
    for name, x in adapters.items():
        if not np.isfinite(x).all():
            raise FolderError(f"parameter {name!r} is not finite; nothing was exported")
    tensors = {theirs: np.ascontiguousarray(adapters[n].T) for n, theirs in names(adapters, config).items()}
    if hosts.is_writer():
        beside = path.with_name(path.name + ".incomplete")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        (beside / SETTINGS).write_text(json.dumps(settings(config, base), indent=2) + "\n")
        save_file(tensors, str(beside / WEIGHTS), metadata={"format": "pt"})
        (beside / WEIGHTS).chmod(0o644)  # it is created readable by its owner alone
        if path.exists():
            path.rmdir()
        beside.rename(path)
    hosts.agree(None)  # nobody reads it back before it has its name
    return len(tensors)


def load(path: pathlib.Path, shapes: dict, config) -> dict[str, np.ndarray]:
    """The adapters of such a folder, under our names; FolderError where they are not those of `shapes`."""
    from safetensors.numpy import load_file

    found = load_file(str(path / WEIGHTS))
    ours = {theirs: name for name, theirs in names(lora.trained(shapes), config).items()}
    if set(found) != set(ours):
        odd = sorted(set(found) ^ set(ours))[0]
        raise FolderError(f"{path / WEIGHTS}: tensor {odd!r} is {'unknown' if odd in found else 'missing'}")
    return {ours[theirs]: x.T for theirs, x in found.items()}
