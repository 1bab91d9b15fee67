"""Hugging Face folders in and out: config.json, tokenizer and safetensors, strictly both ways.

A row of the table: their tensor name -> our parameter name, and whether the matrix is transposed
(theirs are [outputs, inputs], our kernels [inputs, outputs]).
"""

from __future__ import annotations

import json
import pathlib
import re

import jax.numpy as jnp
import numpy as np

from urlvr_jax.models.transformer import ModelConfig, structure

_LAYER = r"model\.layers\.(\d+)\."
TABLE = (
    (r"model\.embed_tokens\.weight", r"embed", False),
    (r"lm_head\.weight", r"head", False),
    (r"model\.norm\.weight", r"final_norm.scale", False),
    (_LAYER + r"input_layernorm\.weight", r"layers.\1.attention_norm.scale", False),
    (_LAYER + r"post_attention_layernorm\.weight", r"layers.\1.feedforward_norm.scale", False),
    (_LAYER + r"self_attn\.([qkvo])_proj\.weight", r"layers.\1.attention.\2.kernel", True),
    (_LAYER + r"self_attn\.([qk])_norm\.weight", r"layers.\1.attention.\2_norm.scale", False),
    (_LAYER + r"mlp\.(gate|up|down)_proj\.weight", r"layers.\1.feedforward.\2.kernel", True),
)


class FolderError(ValueError):
    """A model folder that cannot be used; the message names file or tensor."""


def known(name: str) -> pathlib.Path:
    """The folder of a published model's config.json that ships with the package: no weights, no tokenizer."""
    root = pathlib.Path(__file__).parent / "known"
    if not (root / name / "config.json").is_file():
        names = sorted(p.name for p in root.iterdir())
        raise FolderError(f"no configuration of {name!r} ships with the package; available: {names}")
    return root / name


def model_config(path: pathlib.Path, **ours) -> ModelConfig:
    """Read config.json. A setting that changes the mathematics and is not supported is an error."""
    from transformers import AutoConfig  # imported late: it takes seconds

    if not (path / "config.json").is_file():
        raise FolderError(f"{path} is not a model folder: it has no config.json")
    try:
        theirs = AutoConfig.from_pretrained(str(path), local_files_only=True)
    except Exception as error:  # noqa: BLE001  OSError, ValueError, TypeError, KeyError: all seen
        raise FolderError(f"{path / 'config.json'} cannot be read: {error}") from None
    if theirs.model_type != "qwen3":
        raise FolderError(f"{path}: model_type {theirs.model_type!r} is not supported; only 'qwen3'")
    rope = theirs.rope_parameters
    for name, value, supported in (
        ("rope_type", rope.get("rope_type", "default"), "default"),
        ("attention_bias", theirs.attention_bias, False),
        ("use_sliding_window", theirs.use_sliding_window, False),
        ("hidden_act", theirs.hidden_act, "silu"),
    ):
        if value != supported:
            raise FolderError(f"{path}: {name} = {value!r} is not supported, only {supported!r}")
    return ModelConfig(
        vocab_size=theirs.vocab_size,
        d_model=theirs.hidden_size,
        n_layers=theirs.num_hidden_layers,
        n_heads=theirs.num_attention_heads,
        n_kv_heads=theirs.num_key_value_heads,
        head_dim=theirs.head_dim,
        d_ff=theirs.intermediate_size,
        rope_theta=float(rope["rope_theta"]),
        norm_eps=theirs.rms_norm_eps,
        tied_head=theirs.tie_word_embeddings,
        **ours,
    )


def our_name(theirs: str) -> tuple[str, bool] | None:
    """Our name of one of their tensors and whether to transpose it; None if no row matches."""
    for pattern, replacement, transpose in TABLE:
        match = re.fullmatch(pattern, theirs)
        if match:
            return match.expand(replacement), transpose
    return None


def _weight_files(path: pathlib.Path) -> list[pathlib.Path]:
    index = path / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    else:
        names = ["model.safetensors"]
    missing = [n for n in names if not (path / n).is_file()]
    if missing:
        raise FolderError(f"{path}: weight file {missing[0]!r} is missing")
    return [path / n for n in names]


def load(path: pathlib.Path, config: ModelConfig) -> dict[str, np.ndarray]:
    """Parameters under our names, in `param_dtype`, on the host.

    Raises FolderError naming the tensor that is unknown, missing, there twice or of a wrong shape.
    """
    from safetensors import SafetensorError, safe_open

    shapes = structure(config)[1]
    params: dict[str, np.ndarray] = {}
    for file in _weight_files(path):
        try:
            with safe_open(str(file), framework="flax") as tensors:
                for theirs in tensors.keys():  # noqa: SIM118
                    if theirs == "lm_head.weight" and config.tied_head:
                        continue  # a copy of the embedding that some files carry
                    found = our_name(theirs)
                    if found is None or found[0] not in shapes:
                        raise FolderError(f"{file}: tensor {theirs!r} does not belong to this model")
                    name, transpose = found
                    if name in params:
                        raise FolderError(f"{file}: tensor {theirs!r} is there twice")
                    value = np.asarray(tensors.get_tensor(theirs)).astype(config.param_dtype)
                    value = value.T if transpose else value
                    if value.shape != shapes[name].shape:
                        raise FolderError(
                            f"{file}: tensor {theirs!r} gives {name!r} the shape {value.shape}, the "
                            f"configuration says {shapes[name].shape}"
                        )
                    params[name] = np.ascontiguousarray(value)
        except SafetensorError as error:
            raise FolderError(f"{file}: not a readable safetensors file ({error})") from None
    missing = sorted(set(shapes) - set(params))
    if missing:
        raise FolderError(f"{path}: no tensor gives {missing[0]!r} ({len(missing)} missing in all)")
    return params


def their_names(params: dict) -> dict[str, tuple[str, bool]]:
    """Our parameter name -> their tensor name and whether to transpose: the table read backwards."""
    layers = {m.group(1) for m in (re.match(r"layers\.(\d+)\.", n) for n in params) if m}
    candidates = ["model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"]
    parts = ["input_layernorm", "post_attention_layernorm", "self_attn.q_norm", "self_attn.k_norm"]
    parts += [f"self_attn.{x}_proj" for x in "qkvo"] + [f"mlp.{x}_proj" for x in ("gate", "up", "down")]
    candidates += [f"model.layers.{i}.{p}.weight" for i in layers for p in parts]
    back = {our_name(c)[0]: (c, our_name(c)[1]) for c in candidates}
    return {name: back[name] for name in params}


def save(path: pathlib.Path, params: dict, source: pathlib.Path, tokenizer) -> None:
    """Write a folder that `transformers` loads: the source's configuration, these weights."""
    from safetensors.numpy import save_file

    tensors = {}
    for name, (theirs, transpose) in sorted(their_names(params).items()):
        value = np.asarray(params[name])
        if not jnp.all(jnp.isfinite(value)):
            raise FolderError(f"parameter {name!r} is not finite; nothing was exported")
        tensors[theirs] = np.ascontiguousarray(value.T if transpose else value)
    path.mkdir(parents=True, exist_ok=True)
    config = json.loads((source / "config.json").read_text())
    config.pop("torch_dtype", None)  # the older spelling of dtype
    config["dtype"] = str(tensors["model.embed_tokens.weight"].dtype)
    (path / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    if (source / "generation_config.json").is_file():
        (path / "generation_config.json").write_bytes((source / "generation_config.json").read_bytes())
    tokenizer.save(path)
    save_file(tensors, str(path / "model.safetensors"), metadata={"format": "pt"})
    (path / "model.safetensors").chmod(0o644)  # it is created readable by its owner alone
