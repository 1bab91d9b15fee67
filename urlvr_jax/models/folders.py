"""Hugging Face folders in and out: where they are, what config.json says, weights strictly both ways.

Weights are read from memory-mapped safetensors: each device reads its own slice of each tensor, in the
layout of training, cast to `param_dtype`. No PyTorch, and no copy of the model on the host.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
import shutil
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from urlvr_jax.errors import FolderError
from urlvr_jax.models import lora
from urlvr_jax.models.names import BUFFERS, their_names
from urlvr_jax.models.rope import RopeScaling
from urlvr_jax.models.transformer import ModelConfig, structure
from urlvr_jax.runtime import bucket, hosts, sharding
from urlvr_jax.runtime.counting import Tell, counted, silent
from urlvr_jax.untrusted import json_text, numbers

LONGEST_NAME = 100  # characters of a weight file's name
SHARD_BYTES = 4 * 10**9  # of one exported weight file, at most, unless one tensor is larger
DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}  # of weight files that are read


# ---- where the folder is -------------------------------------------------------------------


def known_names() -> list[str]:
    return sorted(p.name for p in (pathlib.Path(__file__).parent / "known").iterdir())


def known(name: str) -> pathlib.Path:
    """The folder of a published model's config.json that ships with the package: no weights, no tokenizer."""
    root = pathlib.Path(__file__).parent / "known"
    if not (root / name / "config.json").is_file():
        raise FolderError(
            f"no configuration of {name!r} ships with the package; available: {known_names()}"
        )
    return root / name


def resolve(name: str) -> pathlib.Path:
    """The folder of a model: a path, known:NAME, gs://..., or a name on the Hugging Face Hub (OWNER/NAME[@REVISION]).

    A bucket's folder is copied to this machine. A Hub model's configuration, tokenizer and safetensors come from the local cache or are downloaded into
    it; HF_HUB_OFFLINE=1 forbids the download.
    """
    if name.startswith("known:"):
        return known(name.removeprefix("known:"))
    if bucket.is_in(name):
        return bucket.copied(name, without=(bucket.CHECKPOINTS,))
    path = pathlib.Path(name).expanduser()
    if path.exists():
        return path
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*(@[\w./-]+)?", name):
        raise FolderError(
            f"model folder {name!r} does not exist: give model.path, or --model, a folder, lab:NAME, or OWNER/NAME on "
            "the Hugging Face Hub"
        )
    from huggingface_hub import snapshot_download

    repo, _, revision = name.partition("@")
    files = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
    try:
        return pathlib.Path(snapshot_download(repo, revision=revision or None, allow_patterns=files))
    except Exception as error:  # noqa: BLE001  HTTP, cache, offline, gated: no common class
        first = next(iter(str(error).strip().splitlines()), "")
        raise FolderError(
            f"{name!r} is no folder here and could not be had from the Hugging Face Hub "
            f"({type(error).__name__}: {first:.300}). Download it where there is a network, for instance with "
            f"`hf download {repo} --local-dir FOLDER`, and set model.path to that folder"
        ) from None


# ---- config.json ---------------------------------------------------------------------------

# model_type -> what it fixes beyond the sizes; `t` is the configuration as `transformers` reads it.
_every = lambda t: "qkvo" if t.attention_bias else ""
ARCHITECTURES: dict[str, Callable] = {
    "qwen2": lambda t: dict(attention_bias="qkv", qk_norm="none"),
    "qwen3": lambda t: dict(attention_bias=_every(t), qk_norm="head"),
    "llama": lambda t: dict(attention_bias=_every(t), qk_norm="none", mlp_bias=t.mlp_bias),
    "olmo2": lambda t: dict(attention_bias=_every(t), qk_norm="whole", norm_after=True),
}

# Keys of config.json that change the mathematics elsewhere: only these values leave it as it is here.
NEUTRAL = {
    "hidden_act": ("silu", "swish"),
    "quantization_config": (),
    "auto_map": (),  # the folder brings its own code
    "use_mrope": (False,),
    "partial_rotary_factor": (1.0,),
    "final_logit_softcapping": (),
    "attn_logit_softcapping": (),
    "query_pre_attn_scalar": (),
    "attention_multiplier": (),
    "embedding_multiplier": (1.0,),
    "residual_multiplier": (1.0,),
    "logits_scaling": (1.0,),
    "logit_scale": (1.0,),
    "scale_emb": (1.0,),
    "scale_depth": (),
    "dim_model_base": (),
    "clip_qkv": (),
    "no_rope_layers": ([],),
    "attention_chunk_size": (),
    "num_experts": (0, 1),
    "num_local_experts": (0, 1),
}

# Bounds of what config.json may say: far beyond any model, far below what hangs or fills a machine.
SIZES = {
    "vocab_size": (1, 2**24),
    "hidden_size": (1, 2**20),
    "intermediate_size": (1, 2**22),
    "num_hidden_layers": (1, 2**10),
    "num_attention_heads": (1, 2**14),
    "num_key_value_heads": (1, 2**14),
    "head_dim": (1, 2**14),
    "max_position_embeddings": (1, 2**40),
    "sliding_window": (0, 2**40),
    "max_window_layers": (0, 2**20),
}
CONSTANTS = {"rms_norm_eps": (0.0, 1.0), "rope_theta": (1e-6, 1e15)}
ROPE_TEXTS = ("rope_type", "type")

# rope_type -> the keys of rope_parameters that it may have, beside rope_theta
_ROPE_KEYS = {
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "yarn": (
        "factor", "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow",
        "mscale", "mscale_all_dim", "truncate",
    ),
}  # fmt: skip


def model_config(path: pathlib.Path, **ours) -> ModelConfig:
    """Read config.json. A setting that changes the mathematics and is not supported is an error."""
    file = path / "config.json"
    if not file.is_file():
        raise FolderError(f"{path} is not a model folder: it has no config.json")
    written = json_text.read(file, FolderError)
    kind = written.get("model_type")
    if not isinstance(kind, str) or kind not in ARCHITECTURES:
        raise FolderError(f"{path}: model_type {kind!r:.60} is not supported, only {sorted(ARCHITECTURES)}")
    _check_names(path, written)
    _check_numbers(file, written)
    theirs = _theirs(file, kind, written)
    heads = theirs.num_attention_heads
    return ModelConfig(
        vocab_size=theirs.vocab_size,
        d_model=theirs.hidden_size,
        n_layers=theirs.num_hidden_layers,
        n_heads=heads,
        n_kv_heads=theirs.num_key_value_heads,
        head_dim=getattr(theirs, "head_dim", None) or theirs.hidden_size // heads,
        d_ff=theirs.intermediate_size,
        rope_theta=float(theirs.rope_parameters["rope_theta"]),
        rope_scaling=_rope_scaling(path, theirs),
        norm_eps=theirs.rms_norm_eps,
        tied_head=theirs.tie_word_embeddings,
        max_positions=theirs.max_position_embeddings,
        window=_window(path, theirs),
        **ARCHITECTURES[kind](theirs),
        **ours,
    )


def _theirs(file: pathlib.Path, kind: str, written: dict):
    """The configuration as `transformers` reads it: by the class of a known name, never by the folder's code."""
    from transformers.models.auto.configuration_auto import (
        CONFIG_MAPPING,  # imported late: it takes seconds
    )

    try:
        return CONFIG_MAPPING[kind].from_dict(written)
    except Exception as error:  # noqa: BLE001  ValueError, TypeError, KeyError, its own: all seen
        raise FolderError(f"{file} cannot be read: {error!s:.500}") from None


def _check_names(path: pathlib.Path, written: dict) -> None:
    names = written.get("architectures") or ()
    for name in names if isinstance(names, list | tuple) else (names,):
        if not isinstance(name, str) or not name.endswith("ForCausalLM"):
            raise FolderError(f"{path}: architecture {name!r:.60} is not a language model (...ForCausalLM)")
    for key, neutral in NEUTRAL.items():
        value = written.get(key)
        if value is not None and value not in neutral:
            only = " or ".join(map(repr, neutral)) or "its absence"
            raise FolderError(f"{path}: {key} = {value!r:.100} is not supported, only {only}")


def _check_numbers(file: pathlib.Path, written: dict) -> None:
    """Sizes and constants within bounds, before any array or list is made by them."""
    for key, (low, high) in SIZES.items():
        if written.get(key) is not None:
            numbers.whole(written[key], f"{file}: {key}", low, high, FolderError)
    for key, (low, high) in CONSTANTS.items():
        if written.get(key) is not None:
            numbers.real(written[key], f"{file}: {key}", low, high, FolderError)
    for name in ("rope_parameters", "rope_scaling"):
        rope = written.get(name)
        if rope is not None and not isinstance(rope, dict):
            raise FolderError(f"{file}: {name} = {rope!r:.60} must be an object")
        for key, value in (rope or {}).items():
            if isinstance(value, bool) or value is None or (key in ROPE_TEXTS and isinstance(value, str)):
                continue
            if key in ROPE_TEXTS:
                raise FolderError(f"{file}: {name}.{key} = {value!r:.60} must be a text")
            numbers.real(value, f"{file}: {name}.{key}", *CONSTANTS["rope_theta"], FolderError)


def _rope_scaling(path: pathlib.Path, theirs) -> RopeScaling | None:
    """Read as transformers/modeling_rope_utils.py does."""
    rope = {key: value for key, value in theirs.rope_parameters.items() if value is not None}
    kind = rope.get("rope_type", "default")
    if kind not in _ROPE_KEYS:
        raise FolderError(f"{path}: rope_type = {kind!r} is not supported, only {sorted(_ROPE_KEYS)}")
    if rope.get("partial_rotary_factor") == 1.0:
        del rope["partial_rotary_factor"]
    for name in sorted(set(rope) - {"rope_type", "type", "rope_theta", *_ROPE_KEYS[kind]}):
        raise FolderError(f"{path}: {name} = {rope[name]!r} is not supported with rope_type = {kind!r}")
    if kind == "default":
        return None
    try:
        if kind == "linear":
            return RopeScaling(kind, float(rope["factor"]))
        common = kind, float(rope["factor"]), int(rope["original_max_position_embeddings"])
        if kind == "llama3":
            return RopeScaling(*common, float(rope["low_freq_factor"]), float(rope["high_freq_factor"]))
    except KeyError as error:
        raise FolderError(f"{path}: rope_type = {kind!r} needs {error} in rope_parameters") from None
    return RopeScaling(
        *common,
        low=float(rope.get("beta_slow") or 1),
        high=float(rope.get("beta_fast") or 32),
        truncate=bool(rope.get("truncate", True)),
        attention_factor=_attention_factor(rope),
    )


def _attention_factor(rope: dict) -> float:
    """yarn's factor on cos and sin: given, or from `factor`, or a quotient where both mscales are given."""
    if "attention_factor" in rope:
        return float(rope["attention_factor"])
    scale = lambda m: 0.1 * m * np.log(rope["factor"]) + 1 if rope["factor"] > 1 else 1.0
    if rope.get("mscale") and rope.get("mscale_all_dim"):
        return float(scale(rope["mscale"]) / scale(rope["mscale_all_dim"]))
    return float(scale(1))


def _window(path: pathlib.Path, theirs) -> int:
    """Positions beyond which some layer would not see; 0 if every layer sees all."""
    kinds = set(getattr(theirs, "layer_types", None) or ())
    if kinds <= {"full_attention"}:
        return 0
    if kinds <= {"full_attention", "sliding_attention"} and getattr(theirs, "use_sliding_window", False):
        return int(theirs.sliding_window)
    raise FolderError(f"{path}: layer_types = {sorted(kinds)} is not supported, only 'full_attention'")


def check_length(path: pathlib.Path, config: ModelConfig, longest: int) -> None:
    """FolderError if prompts and responses of `longest` tokens do not fit the model."""
    lengths = f"the longest prompt and response have {longest} tokens (the last of data.prompt_buckets + rollout.max_new_tokens)"
    if config.window and longest > config.window:
        raise FolderError(
            f"{path}: use_sliding_window with sliding_window = {config.window} is not supported where {lengths}: "
            f"lower one of them by {longest - config.window}, or choose a model without a window"
        )
    if config.max_positions and longest > config.max_positions:
        raise FolderError(
            f"{path}: max_position_embeddings = {config.max_positions}, but {lengths}: lower one of them "
            f"by {longest - config.max_positions}, with rollout.response_buckets; or, if the model is meant for more, say so in its config.json"
        )


# ---- weights in ----------------------------------------------------------------------------


def weight_files(path: pathlib.Path) -> list[pathlib.Path]:
    index = path / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = sorted(set(json_text.read(index, FolderError)["weight_map"].values()))
        except (KeyError, TypeError, AttributeError) as error:
            raise FolderError(f"{index}: not an index of weight files ({error!r})") from None
        for name in names:
            if not isinstance(name, str) or pathlib.PurePath(name).name != name or len(name) > LONGEST_NAME:
                raise FolderError(f"{index}: {name!r:.60} is no name of a file beside it")
    else:
        names = ["model.safetensors"]
    missing = [n for n in names if not (path / n).is_file()]
    if missing:
        pickles = sorted(p.name for ending in ("*.bin", "*.pt", "*.pth") for p in path.glob(ending))
        if pickles and not list(path.glob("*.safetensors")):
            raise FolderError(
                f"{path}: its weights are pickles ({pickles[0]!r}), which can run any code and are not read. "
                "Convert them once where PyTorch is installed: "
                "`AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)`"
            )
        raise FolderError(f"{path}: weight file {missing[0]!r} is missing")
    return [path / n for n in names]


class _Stored(NamedTuple):
    """A parameter in a weight file."""

    slices: object  # of the memory-mapped tensor
    transpose: bool

    def read(self, index, dtype) -> np.ndarray:
        """The part `index` (slices of our axes) of the parameter, a copy."""
        part = self.slices[tuple(index[::-1] if self.transpose else index)].astype(dtype, copy=False)
        return np.ascontiguousarray(part.T if self.transpose else part)


def _stored(path: pathlib.Path, config: ModelConfig, shapes, files) -> dict[str, _Stored]:
    """Every parameter of the model, found by the files' headers alone.

    Raises FolderError naming the tensor that is unknown, missing, there twice, of a wrong shape or dtype.
    """
    ours = {theirs: (name, turn) for name, (theirs, turn) in their_names(shapes, config).items()}
    found: dict[str, _Stored] = {}
    for file, tensors in files:
        for theirs in tensors.keys():  # noqa: SIM118  it is no dict
            if re.fullmatch(BUFFERS, theirs) or (theirs == "lm_head.weight" and config.tied_head):
                continue  # a tied model's file may carry a copy of the embedding
            if theirs not in ours:
                raise FolderError(f"{file}: tensor {theirs!r} does not belong to this model")
            name, transpose = ours[theirs]
            if name in found:
                raise FolderError(f"{file}: tensor {theirs!r} is there twice")
            slices = tensors.get_slice(theirs)
            shape = tuple(slices.get_shape()[::-1] if transpose else slices.get_shape())
            if shape != shapes[name].shape:
                raise FolderError(
                    f"{file}: tensor {theirs!r} gives {name!r} the shape {shape}, the configuration says "
                    f"{shapes[name].shape}"
                )
            if slices.get_dtype() not in DTYPES:
                raise FolderError(
                    f"{file}: tensor {theirs!r} is {slices.get_dtype()}, only {sorted(DTYPES)} are read"
                )
            found[name] = _Stored(slices, transpose)
    missing = sorted(set(shapes) - set(found))
    if missing:
        raise FolderError(f"{path}: no tensor gives {missing[0]!r} ({len(missing)} missing in all)")
    return found


@contextlib.contextmanager
def _opened(path: pathlib.Path, config: ModelConfig, shapes):
    """`_stored` while the weight files are open; nothing of the weights is read yet."""
    from safetensors import SafetensorError, safe_open

    with contextlib.ExitStack() as stack:
        files = []
        for file in weight_files(path):
            try:
                files.append((file, stack.enter_context(safe_open(str(file), framework="numpy"))))
            except (SafetensorError, OSError) as error:
                raise FolderError(f"{file}: not a readable safetensors file ({error})") from None
        yield _stored(path, config, shapes, files)


def check_weights(path: pathlib.Path, config: ModelConfig) -> None:
    """Raise what `load` would raise, from the files' headers: before anything is compiled."""
    with _opened(path, config, structure(lora.plain(config))[1]):
        pass


def load(path: pathlib.Path, config: ModelConfig, layout: dict | None = None, tell: Tell = silent) -> dict:
    """Parameters under our names in `param_dtype`, without adapters: placed as `layout` says, each device its own slices.

    Without a layout they are NumPy arrays on the host. tell: bytes. Raises FolderError, see `_stored`.
    """
    shapes = structure(lora.plain(config))[1]
    dtype = jnp.dtype(config.param_dtype)
    out = {}
    total = dtype.itemsize * sum(s.size for s in shapes.values())
    with _opened(path, config, shapes) as stored:
        # The largest first: what is copied on the way counts least when little is loaded yet.
        for name in sorted(shapes, key=lambda n: (-shapes[n].size, n)):
            tell(dtype.itemsize * sum(shapes[n].size for n in out), total)
            read = lambda index, tensor=stored[name]: tensor.read(index, dtype)
            if layout is None:
                out[name] = read((slice(None),) * len(shapes[name].shape))
            else:
                out[name] = jax.make_array_from_callback(shapes[name].shape, layout[name], read)
    tell(total, total)
    return {name: out[name] for name in shapes}


# ---- weights out ---------------------------------------------------------------------------


def save(
    path: pathlib.Path, params: dict, config: ModelConfig, source: pathlib.Path, tokenizer, *,
    shard_bytes: int = SHARD_BYTES, tell: Tell = silent, texts: dict[str, str] | None = None,
) -> None:  # fmt: skip
    """Write a folder that `transformers` loads: the source's configuration, these weights. tell: files.

    texts: {name of one more file: its text}. The folder gets its name when it is whole. At most `shard_bytes` of weights are on the host at once.
    Every process of a run calls it, and process 0 writes.
    """
    for name, value in params.items():
        if not jnp.all(jnp.isfinite(value)):
            raise FolderError(f"parameter {name!r} is not finite; nothing was exported")
    hosts.one(lambda: _require_new(path))  # the writer may be done before another process looks
    beside = path.with_name(path.name + ".incomplete")
    if hosts.is_writer():
        _begin(beside, params, source, tokenizer, texts or {})
    _write_weights(beside, params, config, shard_bytes, tell)
    if hosts.is_writer():
        if path.exists():
            path.rmdir()
        beside.rename(path)
    hosts.agree(None)  # nobody reads it back before it has its name


def _require_new(path: pathlib.Path) -> None:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FolderError(f"{path} exists and is not empty: name a new folder to export to")


def _begin(
    path: pathlib.Path, params: dict, source: pathlib.Path, tokenizer, texts: dict[str, str]
) -> None:
    """A new folder with all but the weights."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    written = json_text.read(source / "config.json", FolderError)
    dtype = str(next(iter(params.values())).dtype)
    spelling = "torch_dtype" if "torch_dtype" in written else "dtype"  # of transformers 4, and of 5
    (path / "config.json").write_text(json.dumps(written | {spelling: dtype}, indent=2) + "\n")
    if (source / "generation_config.json").is_file():
        shutil.copyfile(source / "generation_config.json", path / "generation_config.json")
    tokenizer.save(path)
    for name, text in texts.items():
        (path / name).write_text(text)


def _write_weights(path: pathlib.Path, params: dict, config: ModelConfig, shard_bytes: int, tell) -> None:
    from safetensors.numpy import save_file

    names = their_names(params, config)
    shards = [[]]
    for name in sorted(params):
        if shards[-1] and sum(params[n].nbytes for n in [*shards[-1], name]) > shard_bytes:
            shards.append([])
        shards[-1].append(name)
    weight_map = {}
    for i, part in enumerate(counted(shards, tell), start=1):
        only = len(shards) == 1
        file = "model.safetensors" if only else f"model-{i:05d}-of-{len(shards):05d}.safetensors"
        tensors = {}
        for name in part:
            theirs, transpose = names[name]
            value = sharding.to_host(params[name])
            tensors[theirs] = np.ascontiguousarray(value.T if transpose else value)
            weight_map[theirs] = file
        if hosts.is_writer():
            save_file(tensors, str(path / file), metadata={"format": "pt"})
            (path / file).chmod(0o644)  # it is created readable by its owner alone
    if len(shards) > 1 and hosts.is_writer():
        total = sum(x.nbytes for x in params.values())
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
        (path / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
