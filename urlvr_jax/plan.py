"""What a configuration needs before anything runs: parameters, bytes a device, legal meshes, seconds a step.

No weights are read and nothing is compiled: shapes come from config.json, sizes from the formulas below. They follow
what `sample.py`, `score.py` and `train_step.py` keep in memory; `benchmarks/plan_against_compiler.py` sets them
against the compiler's own count, docs/plan.md has the table, and every constant of `FIT` comes from there.

    R  devices with different rows = data * fsdp      M = fsdp * tensor, shares of a weight in training
"""

from __future__ import annotations

import copy
import math
import re
from typing import NamedTuple

import numpy as np

from urlvr_jax import config as config_lib
from urlvr_jax import sample, sharding
from urlvr_jax.models import transformer
from urlvr_jax.pack import PackShape

GIB = 2**30


class Chip(NamedTuple):
    """One device by its maker's data sheet."""

    flops: float  # dense bfloat16 FLOP/s
    memory: float  # bytes
    bandwidth: float  # bytes/s of that memory
    link: float  # bytes/s to other devices, all links together
    cores: int = 1  # what the size in a machine's name counts, per chip


CHIPS = {
    "v4": Chip(275e12, 32 * GIB, 1228e9, 300e9, cores=2),
    "v5e": Chip(197e12, 16 * GIB, 819e9, 200e9),
    "v5p": Chip(459e12, 95 * GIB, 2765e9, 600e9, cores=2),
    "v6e": Chip(918e12, 32 * GIB, 1640e9, 448e9),
    "h100": Chip(989e12, 80e9, 3350e9, 450e9),
    "h200": Chip(989e12, 141e9, 4800e9, 450e9),
}

# Assumptions of the predicted time; none of them is measured.
USABLE = 0.92  # of a chip's memory; the rest is the runtime's
PRODUCTS = 0.40  # share of peak FLOP/s that products of an update reach
READING = 0.60  # share of the memory's bandwidth that decoding reaches
LINKS = 0.60  # share of the links that a collective reaches; none is hidden behind products
MEAN_LENGTH = 0.25  # mean response, as a share of max_new_tokens, in the time "expected"


class Machine(NamedTuple):
    name: str
    chip: Chip
    devices: int


def machine(name: str) -> Machine:
    """v5e-16, h100-8: chip and size. Sizes of v4 and v5p count cores, two a chip, as their names do."""
    found = re.fullmatch(r"(\w+)-(\d+)", name.lower())
    if not found or found[1] not in CHIPS:
        raise config_lib.ConfigError(
            f"--hardware={name}: give one of {', '.join(CHIPS)} and a size, for example v5e-16 or h100-8"
        )
    chip = CHIPS[found[1]]
    if int(found[2]) < chip.cores or int(found[2]) % chip.cores:
        raise config_lib.ConfigError(
            f"--hardware={name}: its size counts cores, {chip.cores} a chip; give a multiple of {chip.cores}"
        )
    return Machine(name.lower(), chip, int(found[2]) // chip.cores)


# ---- sizes ----------------------------------------------------------------------------------


class Model(NamedTuple):
    """A model configuration and its parameters' shapes."""

    config: transformer.ModelConfig
    shapes: dict

    @property
    def parameters(self) -> int:
        return sum(math.prod(s.shape) for s in self.shapes.values())


def open_model(c) -> Model:
    """From config.json alone: a folder, lab:NAME or known:NAME."""
    from urlvr_jax.loading import model_folder
    from urlvr_jax.models import hf

    config = hf.model_config(
        model_folder(c.model.path), param_dtype=c.model.param_dtype, compute_dtype=c.model.compute_dtype,
        remat=c.model.remat,
    )  # fmt: skip
    return Model(config, transformer.structure(config)[1])


def weight_elements(model: Model, mesh: dict, training: bool) -> int:
    """Parameters that one device holds, in training or while decoding (whole along fsdp)."""
    total = 0
    for name, leaf in model.shapes.items():
        parts = [axis for axis in sharding.partition_spec(name) if axis and (training or axis != "fsdp")]
        total += math.prod(leaf.shape) // math.prod(mesh[axis] for axis in parts)
    return total


def item(dtype: str) -> int:
    return 2 if dtype in ("bfloat16", "float16") else 4


def cache_bytes(model: Model, mesh: dict) -> int:
    """Keys and values of one position of one row, all layers, on one device."""
    m = model.config
    heads = m.n_kv_heads // mesh["tensor"] if m.n_kv_heads % mesh["tensor"] == 0 else m.n_kv_heads
    return 2 * m.n_layers * heads * m.head_dim * item(m.compute_dtype)


# ---- memory: bytes a device, by part --------------------------------------------------------

# How often a compiled program holds a thing at once: calibrated, see the module's head.
FIT = {
    "tpu": dict(window=1.0, attention=2.0, features=4.0, logits=3.0, layer=18.0),
    "cpu": dict(window=1.0, attention=3.75, features=6.0, logits=3.0, layer=18.0),
}


def rollout_memory(c, model: Model, platform: str = "tpu") -> dict[str, float]:
    """The compiled rollout's arguments, caches and temporaries."""
    fit, m, mesh = FIT[platform], model.config, dict(c.mesh)
    shards, rows = config_lib.shards(c), config_lib.rows_per_step(c)
    slots = config_lib.slots(c)
    refill = slots < rows
    here, prompts = slots / shards, c.data.prompts_per_step / shards
    longest, prompt = c.rollout.max_new_tokens, c.data.prompt_buckets[-1]
    blocks, width = sample.blocks_of(longest, sample.block_width(longest, refill, platform))
    position, item_bytes = cache_bytes(model, mesh), item(m.compute_dtype)
    window = sample.window_sizes(blocks - 1)[-1]
    return {
        "weights": weight_elements(model, mesh, training=False) * item_bytes,
        "cache": max(1, blocks - 1) * width * here * position,
        "window, a copy of the cache": fit["window"] * window * width * here * position,
        "prompts": prompts * prompt * position,
        "prompts of the slots": here * prompt * position * refill,
        "block": 2 * here * width * position,
        "logits": fit["logits"] * here * m.vocab_size / mesh["tensor"] * 4,
        "outputs": 2 * rows * longest * 5 * 4,
    }


def micro_shape(c, scoring: bool) -> tuple[PackShape, int]:
    """Static shape of a micro-batch, and how many an update or a scoring pass may need."""
    group = c.rollout.group if scoring else config_lib.train_group(c)
    prompts = c.data.prompts_per_step if scoring else config_lib.minibatch_prompts(c)
    rows = config_lib.score_rows(c) if scoring else config_lib.micro_rows(c)
    shape = PackShape.of(group, rows, config_lib.micro_prompts(c), config_lib.shards(c))
    return shape, shape.most(prompts, group)


def _head_and_layer(c, model: Model, shape: PackShape, platform: str) -> tuple[float, float]:
    """Workspace of the output head, and of one layer, for one micro-batch on one device."""
    from urlvr_jax import score

    fit, m, tensor = FIT[platform], model.config, c.mesh.tensor
    units, item_bytes = shape.units / config_lib.shards(c), item(m.compute_dtype)
    rows, width = units * shape.rows, c.rollout.response_buckets[-1]
    tokens, prompt = rows * width, shape.prompts * c.data.prompt_buckets[-1]
    chunk = min(tokens, max(1, score.elements(score.CHUNK_ELEMENTS, platform) // m.vocab_size))
    head = fit["logits"] * chunk * m.vocab_size / tensor * 4
    keys = width + prompt
    queries = min(width, transformer.QUERY_BLOCK)
    attention = fit["attention"] * rows * m.n_heads / tensor * queries * keys * 4
    features = fit["features"] * tokens * m.d_ff / tensor * item_bytes
    return head, max(attention, features)
