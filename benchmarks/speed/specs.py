"""What a benchmark runs: named specs, their random models, prompts and probe, written for every system.

A spec is a dictionary of the keys of `DEFAULTS`, by name (`SPECS`) or as a JSON file. Its `model` is a name of
`SIZES`, a dictionary of the keys of such an entry, `lab:NAME`, or a Hugging Face folder. Of named and
dictionary sizes a random Qwen3 is made whose special tokens are impossible, so every response has exactly
`new_tokens` tokens; with a folder the end token is active, and the tokens really generated are counted.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import shutil
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]

HOME = pathlib.Path(os.environ.get("PEERS_HOME", pathlib.Path.home() / ".cache" / "urlvr_jax_peers"))
SPECIALS = ("<pad>", "<eos>", "<unk>")  # ids 0, 1, 2 of a random model

SIZES = {
    "tiny": {"d_model": 256, "n_layers": 4, "n_heads": 4, "n_kv_heads": 2, "d_ff": 768, "vocab_size": 512},
    "small": {"d_model": 512, "n_layers": 8, "n_heads": 8, "n_kv_heads": 4, "d_ff": 1536, "vocab_size": 32768},
    "qwen3-1.7b": {
        "d_model": 2048, "n_layers": 28, "n_heads": 16, "n_kv_heads": 8, "head_dim": 128, "d_ff": 6144,
        "vocab_size": 151936,
    },
}  # fmt: skip
DEFAULTS = {
    "model": "tiny",
    "prompts": 16,
    "samples": 8,
    "prompt_len": 64,
    "new_tokens": 128,
    "temperature": 1.0,
    "micro_batch": 0,  # rows of a micro-batch of the update; 0 = the whole groups that 16 rows hold
    "score_micro_batch": 0,  # rows scored at once by a peer; 0 = micro_batch
    "lr": 1e-5,
    "clip_eps": 0.2,
    "dtype": "float32",
    "seed": 0,
    "repeats": 5,
    "questions": "",  # a question file for the prompts; empty: random tokens
    "devices": 1,  # replicas of our mesh; pretended ones on a CPU
    "config": {},  # further keys of our configuration
}
SPECS = {
    "tiny": {},
    "small": {"model": "small", "prompts": 4, "samples": 4},
    "lab": {
        "model": "lab:plain", "prompts": 32, "samples": 8, "prompt_len": 16, "new_tokens": 44,
        "micro_batch": 32, "questions": "lab:train",
    },
    "qwen3-1.7b": {
        "model": "qwen3-1.7b", "prompt_len": 256, "new_tokens": 512, "dtype": "bfloat16",
        "config": {"model.remat": True},
    },
}  # fmt: skip


class SpecError(ValueError):
    """A spec that cannot be run; the message names the key."""


def load(name: str) -> tuple[str, dict]:
    """A named spec or a JSON file -> (name, every key of DEFAULTS)."""
    if name in SPECS:
        given = SPECS[name]
    elif pathlib.Path(name).is_file():
        given, name = json.loads(pathlib.Path(name).read_text()), pathlib.Path(name).name
    else:
        raise SpecError(f"{name!r} is neither a file nor one of {sorted(SPECS)}")
    return name, complete(given)


def complete(given: dict) -> dict:
    """Fill the defaults; unknown keys and impossible numbers are errors."""
    unknown = sorted(set(given) - set(DEFAULTS))
    if unknown:
        raise SpecError(f"unknown key {unknown[0]!r}; a spec has {sorted(DEFAULTS)}")
    work = {**DEFAULTS, **given}
    for key in ("prompts", "samples", "new_tokens", "repeats", "devices"):
        if work[key] < 1:
            raise SpecError(f"{key} = {work[key]}: give 1 or more")
    work["micro_batch"] = work["micro_batch"] or whole_groups(work)
    work["score_micro_batch"] = work["score_micro_batch"] or work["micro_batch"]
    if work["prompt_len"] < 2:
        raise SpecError(f"prompt_len = {work['prompt_len']}: give 2 or more")
    for key in ("micro_batch", "score_micro_batch"):
        if rows(work) % work[key]:
            raise SpecError(f"{key} = {work[key]} does not divide the {rows(work)} rows of a step")
    return work


def rows(work: dict) -> int:
    return work["prompts"] * work["samples"]


def whole_groups(work: dict, at_most: int = 16) -> int:
    """The most rows up to `at_most`, or one group, that are whole groups and divide a step."""
    prompts, group = work["prompts"], work["samples"]
    return max(
        n * group for n in range(1, prompts + 1) if n == 1 or (prompts % n == 0 and n * group <= at_most)
    )


def takes(system: str, work: dict, micro: int) -> bool:
    """Whether a system can cut a step into micro-batches of so many rows."""
    group = work["samples"]
    if rows(work) % micro:
        return False
    if system == "ours":
        return micro % group == 0 or group % micro == 0
    return system != "tunix" or micro % group == 0


def is_random(work: dict) -> bool:
    """Whether the model is made here, with no way to stop early."""
    return isinstance(work["model"], dict) or work["model"] in SIZES


# ---- models ---------------------------------------------------------------------------------


def model_folder(work: dict) -> pathlib.Path:
    """The spec's model as a Hugging Face folder; a random one is made once and kept under HOME."""
    from urlvr_jax.lab import shipped

    if not is_random(work):
        folder = shipped.base(work["model"])
        if not (folder / "config.json").is_file():
            raise SpecError(f"model = {work['model']!r} is neither of {sorted(SIZES)} nor a model folder")
        return folder
    size = work["model"] if isinstance(work["model"], dict) else SIZES[work["model"]]
    label = "custom" if isinstance(work["model"], dict) else work["model"]
    size = {"head_dim": 64, "tied_head": True, **size}
    digest = hashlib.sha256(json.dumps([1, size], sort_keys=True).encode()).hexdigest()[:8]
    folder = HOME / "models" / f"{label}-{digest}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            made = pathlib.Path(temporary) / "made"
            make_model(size, made)
            shutil.move(made, folder)
    return folder


def make_model(size: dict, folder: pathlib.Path) -> None:
    """A random Qwen3 and a tokenizer of one word a token ("t17" is id 17), so text and ids agree exactly.

    Channel 0 of the residual stream is a constant that no layer writes, and the output rows of the special
    tokens are strongly negative there: they are never sampled. The other logits are shifted alike.
    """
    from urlvr_jax.data.tokenizer import Tokenizer
    from urlvr_jax.models import folders, transformer

    config = transformer.ModelConfig(**size, rope_theta=1e6, norm_eps=1e-6)
    params = {n: np.array(x) for n, x in transformer.initialise(config, 0).items()}
    params["embed"][:, 0] = 0.3
    table = params["embed"] if config.tied_head else params["head"]
    table[:, 0] = 0.3
    table[: len(SPECIALS), 0] = -1000.0
    for i in range(config.n_layers):
        params[f"layers.{i}.attention.o.kernel"][:, 0] = 0.0
        params[f"layers.{i}.feedforward.down.kernel"][:, 0] = 0.0
    source = folder.with_name(folder.name + "-source")
    source.mkdir(parents=True)
    (source / "config.json").write_text(json.dumps(hugging_face_config(config)))
    generation = {"do_sample": True, "pad_token_id": 0, "eos_token_id": 1}
    (source / "generation_config.json").write_text(json.dumps(generation))
    save_tokenizer(config.vocab_size, source)
    folders.save(folder, params, config, source, Tokenizer(source))
    shutil.rmtree(source)


def hugging_face_config(config) -> dict:
    """config.json of our ModelConfig."""
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "hidden_size": config.d_model,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.d_ff,
        "vocab_size": config.vocab_size,
        "rms_norm_eps": config.norm_eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "tie_word_embeddings": config.tied_head,
        "hidden_act": "silu",
        "attention_bias": False,
        "use_sliding_window": False,
        "max_position_embeddings": 32768,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": None,
    }


def save_tokenizer(vocab_size: int, folder: pathlib.Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {w: i for i, w in enumerate(SPECIALS)} | {f"t{i}": i for i in range(len(SPECIALS), vocab_size)}
    fast = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    fast.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = dict(zip(("pad_token", "eos_token", "unk_token"), SPECIALS, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=fast, padding_side="left", **names).save_pretrained(
        str(folder)
    )


# ---- prompts and probe ----------------------------------------------------------------------


def write_job(work: dict, folder: pathlib.Path, threads: int, job: pathlib.Path) -> None:
    """The job folder that every system reads: job.json and arrays.npz, without any library of ours."""
    from urlvr_jax.data.tokenizer import Tokenizer

    tokenizer = Tokenizer(folder)
    vocab = json.loads((folder / "config.json").read_text())["vocab_size"]
    special = set(tokenizer.hf.all_special_ids) | set(tokenizer.stop_ids)
    ordinary = np.array(sorted(set(range(min(vocab, len(tokenizer.hf)))) - special))
    prompts, lengths, texts = make_prompts(work, tokenizer, ordinary)
    rng = np.random.default_rng((work["seed"], 1))
    probe = rng.choice(ordinary, (rows(work), work["new_tokens"])).astype(np.int32)
    probe_lengths = np.full(rows(work), work["new_tokens"], np.int32)
    if not is_random(work):  # lengths vary, as they do where the end token is active
        probe_lengths = rng.integers(1, work["new_tokens"] + 1, rows(work)).astype(np.int32)
    job.mkdir(parents=True)
    np.savez(
        job / "arrays.npz",
        prompt_tokens=prompts,
        prompt_lengths=lengths,
        probe=probe,
        probe_lengths=probe_lengths,
    )
    pad = tokenizer.hf.pad_token_id
    facts = {
        "work": work,
        "model": str(folder),
        "threads": threads,
        "texts": texts,
        "stops": not is_random(work),
        "stop_ids": list(tokenizer.stop_ids),
        "pad_id": tokenizer.stop_ids[0] if pad is None else pad,
    }
    (job / "job.json").write_text(json.dumps(facts))


def make_prompts(work: dict, tokenizer, ordinary):
    """(tokens `[P, L]` right-padded, lengths `[P]`, texts), from the question file or at random."""
    from urlvr_jax.data import stream
    from urlvr_jax.data.prompt_formats import PromptFormat

    if work["questions"]:
        questions, _ = stream.load(work["questions"], PromptFormat(tokenizer), (work["prompt_len"],))
        prompts = stream.prompts_at(questions, 1, work["prompts"], work["seed"], False)
        return prompts.tokens, prompts.lengths, list(prompts.texts)
    rng = np.random.default_rng(work["seed"])
    tokens = rng.choice(ordinary, (work["prompts"], work["prompt_len"])).astype(np.int32)
    return tokens, np.full(len(tokens), tokens.shape[1], np.int32), tokenizer.decode(tokens)
