"""What one device holds in each phase of a step: bytes by part, from shapes alone.

Weights, optimizer state, gradients, caches, batch and outputs follow from shapes. What a program holds
beside them while it computes is the compiler's choice: the arrays are counted once, times `FACTOR`.
`compile.py` asks the compiler itself; docs/plan.md has both side by side.

    R  devices with different rows = data * fsdp      M = fsdp * tensor, shares of a weight in training
"""

from __future__ import annotations

import math
import pathlib
import re
from collections import Counter
from typing import NamedTuple

from urlvr_jax import config as config_lib
from urlvr_jax.models import attention as attention_lib
from urlvr_jax.models import lora, transformer
from urlvr_jax.rewards import expression, supplied
from urlvr_jax.rewards.derived import SECOND_GENERATION
from urlvr_jax.rollout import paged_sizes
from urlvr_jax.rollout import slots as slots_lib
from urlvr_jax.runtime import sharding
from urlvr_jax.scoring import head
from urlvr_jax.scoring.packing import PackShape

GIB = 2**30
MIB = 2**20
# A program's temporaries over the arrays counted here: the value with the least error on 53 compiled
# programs. Totals are then 0.53 to 1.21 of the compiler's, of 11 for a TPU 0.87 to 1.21: docs/plan.md.
FACTOR = 1.25
ESTIMATED = "temporaries (estimate)"
JOINED = r".*\.attention\.[qkv]\.kernel"  # laid side by side, once more, by a TPU's compiler


class Model:
    """A model configuration and its parameters' shapes, adapters among them."""

    def __init__(self, config: transformer.ModelConfig):
        self.config = config
        self.shapes = transformer.structure(config)[1]
        plain = lora.without(self.shapes)
        self.parameters = sum(
            math.prod(s.shape) for s in plain.values()
        )  # of the base, where there are adapters
        self.split = _by_axes(plain, lambda leaf: 1)
        self.bytes = _by_axes(self.shapes, lambda leaf: leaf.dtype.itemsize)
        self.trained = _by_axes(lora.trained(self.shapes), lambda leaf: 1)


def _by_axes(shapes: dict, each) -> Counter:
    """{the mesh axes that split a parameter: `each` of its elements, of all such parameters}."""
    out = Counter()
    for name, leaf in shapes.items():
        axes = tuple(axis for axis in sharding.partition_spec(name) if axis)
        out[axes] += math.prod(leaf.shape) * each(leaf)
    return out


def _held(split: Counter, mesh: dict) -> int:
    """Of what is split so, a device's share in training."""
    return sum(count // math.prod(mesh[axis] for axis in axes) for axes, count in split.items())


def weight_bytes(model: Model, mesh: dict) -> int:
    """Of all parameters that one device holds in training: the frozen ones in their own types, adapters in float32."""
    return _held(model.bytes, mesh)


def trained_elements(model: Model, mesh: dict) -> int:
    """Parameters with gradients and moments that one device holds: adapters where there are any."""
    return _held(model.trained, mesh)


def saved_bytes(model: Model) -> int:
    """Of a checkpoint: what is trained, and its moments."""
    count = sum(model.trained.values())
    return count * ((4 if model.config.lora else item(model.config.param_dtype)) + 8)


def open_model(c) -> Model:
    """From config.json alone: a folder, lab:NAME, known:NAME, or a Hub name whose config ships here."""
    from urlvr_jax.models import folders
    from urlvr_jax.runtime.opening import model_config, model_folder

    name = c.model.path
    short = name.split("@")[0].rpartition("/")[2]
    if not pathlib.Path(name).expanduser().exists() and short in folders.known_names():
        name = f"known:{short}"
    return Model(model_config(c, model_folder(name)))


def weight_elements(model: Model, mesh: dict, training: bool) -> int:
    """Parameters that one device holds, in training or while decoding (whole along fsdp)."""
    share = lambda axes: math.prod(mesh[axis] for axis in axes if training or axis != "fsdp")
    return sum(elements // share(axes) for axes, elements in model.split.items())


def table_elements(model: Model) -> int:
    """Parameters of the embedding, and of the output head where it is another table."""
    m = model.config
    return m.vocab_size * m.d_model * (1 if m.tied_head else 2)


def item(dtype: str) -> int:
    """Bytes of an element."""
    return 2 if dtype in ("bfloat16", "float16") else 4


def cache_bytes(model: Model, mesh: dict) -> int:
    """Keys and values of one position of one row, all layers, on one device."""
    m = model.config
    heads = m.n_kv_heads // mesh["tensor"] if m.n_kv_heads % mesh["tensor"] == 0 else m.n_kv_heads
    return 2 * m.n_layers * heads * m.head_dim * item(m.compute_dtype)


def micro_shape(c, scoring: bool) -> tuple[PackShape, int]:
    """Static shape of a micro-batch, and how many an update or a scoring pass may need."""
    group = c.rollout.group if scoring else config_lib.train_group(c)
    prompts = c.data.prompts_per_step if scoring else config_lib.minibatch_prompts(c)
    rows = config_lib.score_rows(c) if scoring else config_lib.micro_rows(c)
    shape = PackShape.of(group, rows, config_lib.micro_prompts(c), config_lib.shards(c))
    return shape, shape.most(prompts, group)


# ---- what a program computes with: bytes of each array, once ---------------------------------


class Micro(NamedTuple):
    """One device's share of a micro-batch."""

    rows: float  # packed with responses
    width: int  # columns of a row
    keys: int  # that a row's queries are multiplied with: its own and its unit's prompts'
    tokens: float  # of rows and prompts


def _micro(c, scoring: bool) -> Micro:
    shape, _ = micro_shape(c, scoring)
    units = shape.units / config_lib.shards(c)
    width = config_lib.response_buckets(c)[-1]
    prompts = shape.prompts * c.data.prompt_buckets[-1]
    return Micro(units * shape.rows, width, width + prompts, units * (shape.rows * width + prompts))


def _layer(c, model: Model, micro: Micro) -> float:
    """Every array `[tokens, ..]` that one layer's forward pass makes: its backward pass reads most of them.

    Widths of the model: residual stream, norm and product, twice (6). Queries: product, norm, rotated, in
    blocks; attention's result in blocks and joined (6). Keys: product, norm, rotated; values: product and
    transposed (5). Feed-forward: gate, its activation, up, their product (4).
    """
    m = model.config
    heads = (6 * m.n_heads + 5 * m.n_kv_heads) * m.head_dim
    features = 6 * m.d_model + (heads + 4 * m.d_ff) / c.mesh.tensor
    return micro.tokens * features * item(m.compute_dtype)


def _scores(c, model: Model, micro: Micro, platform: str) -> float:
    """Attention's float32 scores of a block of queries; with the kernel one number a query."""
    m = model.config
    rows = micro.rows * m.n_heads / c.mesh.tensor
    if attention_lib.takes_kernel(m.attention, platform, micro.width, m.head_dim):
        return rows * micro.width * 4
    return rows * min(micro.width, attention_lib.QUERY_BLOCK) * micro.keys * 4


def _head(c, model: Model, micro: Micro, platform: str) -> float:
    """float32 logits of a chunk of tokens."""
    m = model.config
    chunk = head.chunk_of(micro.rows * micro.width, m.vocab_size, platform)
    return chunk * m.vocab_size / c.mesh.tensor * 4


def _gathered(c, model: Model) -> float:
    """Output embedding and one layer's kernels in the compute type, whole along fsdp."""
    m = model.config
    table = m.vocab_size * m.d_model * (c.mesh.fsdp > 1 or m.compute_dtype != m.param_dtype)
    copied = c.mesh.fsdp > 1 or (m.lora is not None and m.lora.base == "int8")
    kernels = (model.parameters - table_elements(model)) / m.n_layers * copied
    return (table + kernels) * item(m.compute_dtype) / c.mesh.tensor


def _layers_held(c, model: Model) -> float:
    """Bytes of the layers' weights on a device in training."""
    tables = table_elements(model) // (c.mesh.fsdp * c.mesh.tensor)
    return weight_bytes(model, dict(c.mesh)) - tables * item(model.config.param_dtype)


def _stacked_gradients(c, model: Model) -> float:
    """Bytes of the gradients of stacked layers, twice."""
    if model.config.lora is None:
        return 2 * _layers_held(c, model)
    return 2 * trained_elements(model, dict(c.mesh)) * 4


# ---- what each program holds: bytes a device, by part ----------------------------------------


def rollout_memory(c, model: Model, platform: str = "tpu") -> dict[str, float]:
    """The compiled rollout alone."""
    m = model.config
    mesh = dict(c.mesh)
    rows = config_lib.rows_per_step(c)
    slots = config_lib.slots(c)
    refill = slots < rows
    here = slots / config_lib.shards(c)
    longest = c.rollout.max_new_tokens
    logits = here * m.vocab_size / mesh["tensor"] * 4
    common = {
        "weights": weight_elements(model, mesh, training=False) * item(m.compute_dtype),
        "outputs": 2 * rows * longest * 5 * 4,  # tokens and four statistics
    }
    if config_lib.decodes_from_pages(c, platform):
        return common | _pages_memory(c, model, logits, platform)
    blocks, width = slots_lib.blocks_of(longest, slots_lib.block_width(longest, refill, platform))
    window = slots_lib.window_sizes(blocks - 1)[-1]
    copies = (
        2 if platform == "tpu" else 1
    )  # a window is gathered, then laid side by side; elsewhere at once
    position = cache_bytes(model, mesh)
    block = width * here * position
    prompts = c.data.prompts_per_step / config_lib.shards(c)
    return common | {
        "cache": max(1, blocks - 1) * block,
        "prompts": prompts * c.data.prompt_buckets[-1] * position,
        "prompts of the slots": here * c.data.prompt_buckets[-1] * position * refill,
        ESTIMATED: FACTOR * ((copies * window + 1) * block + logits),
    }


def pages_here(c) -> int:
    """Pages of a device's pool."""
    shards = config_lib.shards(c)
    return paged_sizes.pages_for(
        c.rollout.pages, c.data.prompts_per_step // shards, c.data.prompt_buckets[-1],
        config_lib.slots(c) // shards, c.rollout.max_new_tokens, c.rollout.page,
    )  # fmt: skip


def expected_pages(c, length: float) -> int:
    """Pages of a device with which all slots go on, if rows are `length` tokens on average: a fourth more than then
    are held at a time, each row's last one half empty."""
    shards = config_lib.shards(c)
    columns = paged_sizes.page_columns(c.rollout.page, c.rollout.max_new_tokens)
    slots = config_lib.slots(c) // shards
    shape = c.data.prompts_per_step // shards, c.data.prompt_buckets[-1]
    prompts = paged_sizes.most_pages(*shape, 0, c.rollout.max_new_tokens, columns)
    wanted = prompts + math.ceil(1.25 * slots * (length / columns + 0.5))
    return paged_sizes.pages_for(wanted, *shape, slots, c.rollout.max_new_tokens, columns)


def _pages_memory(c, model: Model, logits: float, platform: str) -> dict[str, float]:
    """What decoding from pages holds beside weights and outputs."""
    m = model.config
    columns = paged_sizes.page_columns(c.rollout.page, c.rollout.max_new_tokens)
    position = cache_bytes(model, dict(c.mesh))
    prefilled = c.data.prompts_per_step / config_lib.shards(c) * c.data.prompt_buckets[-1] * position
    joined = sum(math.prod(s.shape) for name, s in model.shapes.items() if re.fullmatch(JOINED, name))
    joined *= (platform == "tpu") * item(m.compute_dtype) / c.mesh.tensor
    return {
        "pages": (pages_here(c) + 1) * columns * position,
        ESTIMATED: prefilled + joined + FACTOR * 2 * logits,
    }


def score_memory(c, model: Model, platform: str = "tpu") -> dict[str, float]:
    """The compiled scoring pass alone."""
    micro = _micro(c, scoring=True)
    layer = _layer(c, model, micro) / 2  # what is no longer needed makes room
    work = max(_head(c, model, micro, platform), layer + _scores(c, model, micro, platform))
    return {
        "weights": weight_bytes(model, dict(c.mesh)),
        "stacked layers": _layers_held(c, model) * c.model.scan,
        "outputs": 2 * config_lib.rows_per_step(c) * micro.width * 4 * 4,  # four statistics
        ESTIMATED: FACTOR * (work + _gathered(c, model)),
    }


def update_memory(c, model: Model, platform: str = "tpu") -> dict[str, float]:
    """The compiled update alone: state, gradients, and what the backward pass keeps and computes with."""
    m = model.config
    _, count = micro_shape(c, scoring=False)
    micro = _micro(c, scoring=False)
    trained = trained_elements(model, dict(c.mesh))
    rows = config_lib.minibatch_prompts(c) * config_lib.train_group(c)
    layer = _layer(c, model, micro)
    scores = _scores(c, model, micro, platform)
    if micro.width <= attention_lib.QUERY_BLOCK:  # the scores of longer rows are made again
        layer += scores
    kept = m.n_layers * layer
    if c.model.remat:  # each layer's input; the layer at hand is made again
        kept = m.n_layers * micro.tokens * m.d_model * item(m.compute_dtype)
        scores += layer
    work = max(_head(c, model, micro, platform), scores)
    return {
        "weights": weight_bytes(model, dict(c.mesh)),
        "optimizer": 2 * trained * 4,
        "gradients": (2 if count > 1 else 1) * trained * 4,
        "stacked layers and their gradients": (_layers_held(c, model) + _stacked_gradients(c, model))
        * c.model.scan,
        "batch": 4 * rows * micro.width * 4,
        ESTIMATED: FACTOR * (kept + work + _gathered(c, model)),
    }


PROGRAMS = {"rollout": rollout_memory, "score": score_memory, "update": update_memory}


def phases(c) -> tuple[str, ...]:
    """The programs that a run of this configuration has."""
    if c.mode != "rl":
        return ("update",)
    needs = expression.load_configured(c).needs
    scored = (
        c.rollout.rescore
        or c.kl.coef
        or c.kl.watch
        or supplied.asks_base(needs)
        or supplied.asks_rows(needs)
        or supplied.asks_states(needs)
    )
    return ("rollout", "score", "update") if scored else ("rollout", "update")


def memory(c, model: Model, platform: str = "tpu") -> dict[str, dict[str, float]]:
    """{phase: {part: bytes a device}}: all that lies in a device's memory in that phase. "verify" is the second generation, of
    whoever judges, which `phases` leaves out: it is the rollout's program at other sizes."""
    held = weight_bytes(model, dict(c.mesh))
    state = held + trained_elements(model, dict(c.mesh)) * 8
    out = {phase: PROGRAMS[phase](c, model, platform) for phase in phases(c)}
    needs = expression.load_configured(c).needs if c.mode == "rl" else ()
    judge = c.verify.judge if SECOND_GENERATION & set(needs) else "policy"
    other = None if judge in config_lib.OWN_JUDGES else open_model(config_lib.of_judge(c))
    if "rollout" in out:
        _share_weights(c, model, out["rollout"])
        out["rollout"]["train state beside"] = state
    if SECOND_GENERATION & set(needs):
        out["verify"] = rollout_memory(config_lib.of_verdicts(c), other or model, platform)
        _share_weights(c, other or model, out["verify"])
        out["verify"]["train state beside"] = state
    if "score" in out:
        out["score"]["optimizer beside"] = state - held
    compared = (c.kl.coef or c.kl.watch) and c.kl.reference == "fixed"
    if (compared or judge == "base" or supplied.asks_base(needs)) and not model.config.lora:
        for parts in out.values():
            parts["reference weights"] = held
    if other:
        for parts in out.values():
            parts["judge's weights"] = weight_bytes(other, dict(c.mesh))
    return out


def _share_weights(c, model: Model, parts: dict[str, float]) -> None:
    """Decoding reads the weights that are held anyway, where they lie as it needs them; adapters are merged for it."""
    m = model.config
    if c.mesh.fsdp == 1 and m.param_dtype == m.compute_dtype:
        shared = table_elements(model) / c.mesh.tensor * item(m.compute_dtype)
        parts["weights"] -= shared if m.lora else parts["weights"]
    if m.lora:
        parts["merged weights"] = parts.pop("weights")
