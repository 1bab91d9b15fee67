"""What one device holds in each phase of a step: bytes by part, from shapes alone.

Nothing is compiled: sizes come from config.json and from what `sample.py`, `score.py` and `train_step.py` keep in
memory. `benchmarks/checks/plan_against_compiler.py` sets them against the compiler's own count, docs/plan.md has the table, and
every constant of `FIT` comes from compiled programs.

    R  devices with different rows = data * fsdp      M = fsdp * tensor, shares of a weight in training
"""

from __future__ import annotations

import math
import pathlib
from collections import Counter

from urlvr_jax import config as config_lib
from urlvr_jax.models import attention as attention_lib
from urlvr_jax.models import products, transformer
from urlvr_jax.rollout import slots as slots_lib
from urlvr_jax.runtime import sharding
from urlvr_jax.scoring import head
from urlvr_jax.scoring.packing import PackShape

GIB = 2**30
MIB = 2**20


class Model:
    """A model configuration and its parameters' shapes."""

    def __init__(self, config: transformer.ModelConfig):
        self.config, self.shapes = config, transformer.structure(config)[1]
        self.parameters = sum(math.prod(s.shape) for s in self.shapes.values())
        self.split = Counter()  # the mesh axes that split a parameter -> elements of all such parameters
        for name, leaf in self.shapes.items():
            self.split[tuple(axis for axis in sharding.partition_spec(name) if axis)] += math.prod(
                leaf.shape
            )


def open_model(c) -> Model:
    """From config.json alone: a folder, lab:NAME, known:NAME, or a Hub name whose configuration ships with us."""
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


def item(dtype: str) -> int:
    return 2 if dtype in ("bfloat16", "float16") else 4


def cache_bytes(model: Model, mesh: dict) -> int:
    """Keys and values of one position of one row, all layers, on one device."""
    m = model.config
    heads = m.n_kv_heads // mesh["tensor"] if m.n_kv_heads % mesh["tensor"] == 0 else m.n_kv_heads
    return 2 * m.n_layers * heads * m.head_dim * item(m.compute_dtype)


# ---- memory: bytes a device, by part --------------------------------------------------------

# How often a compiled program holds a thing at once, calibrated on compiled programs: see the module's head. Of
# what one layer leaves for the backward pass, `d` is in widths of the model a token, `q` and `kv` in query and key
# heads, `f` in feed-forward widths; `scores` are the attention logits of rows too short to go in blocks.
# `joined` and `own` are of a scoring pass: logits over all keys, and their part of the longer segment alone.
_LAYER = dict(d=5.5, q=9.7, kv=6.3, f=3.75, scores=2.0)
FIT = {
    "tpu": dict(gradients=2.0, window=2.0, attention=2.0, joined=2.0, own=0.0, logits=1.2, **_LAYER),
    "cpu": dict(gradients=2.0, window=1.0, attention=2.1, joined=2.0, own=1.0, logits=3.0, **_LAYER),
}
FIT["gpu"] = FIT["tpu"]  # not checked


def rollout_memory(c, model: Model, platform: str = "tpu") -> dict[str, float]:
    """The compiled rollout's arguments, caches and temporaries."""
    fit, m, mesh = FIT[platform], model.config, dict(c.mesh)
    shards, rows = config_lib.shards(c), config_lib.rows_per_step(c)
    slots = config_lib.slots(c)
    refill = slots < rows
    here, prompts = slots / shards, c.data.prompts_per_step / shards
    longest, prompt = c.rollout.max_new_tokens, c.data.prompt_buckets[-1]
    blocks, width = slots_lib.blocks_of(longest, slots_lib.block_width(longest, refill, platform))
    position, item_bytes = cache_bytes(model, mesh), item(m.compute_dtype)
    window = slots_lib.window_sizes(blocks - 1)[-1]
    return {
        "weights": weight_elements(model, mesh, training=False) * item_bytes,
        "cache": max(1, blocks - 1) * width * here * position,
        "window, copied from the cache": fit["window"] * window * width * here * position,
        "prompts": prompts * prompt * position,
        "prompts of the slots": here * prompt * position * refill,
        "kernels in another order": _reordered(model, mesh, slots, platform) * item_bytes,
        "block": 2 * here * width * position,
        "logits": fit["logits"] * here * m.vocab_size / mesh["tensor"] * 4,
        "outputs": 2 * rows * longest * 5 * 4,
    }


def _reordered(model: Model, mesh: dict, slots: int, platform: str) -> float:
    """Elements of kernels turned around once for decoding.

    On a TPU its compiler does so to those of queries and keys, on one CPU device `transformer.for_few_rows` to large ones.
    """
    m = model.config
    if platform == "cpu":
        few = math.prod(mesh.values()) == 1 and slots <= products.FEW_ROWS
        return few * sum(
            math.prod(s.shape) for n, s in model.shapes.items() if products.is_large_kernel(n, s)
        )
    return m.n_layers * m.d_model * (m.n_heads + m.n_kv_heads) * m.head_dim / mesh["tensor"]


def micro_shape(c, scoring: bool) -> tuple[PackShape, int]:
    """Static shape of a micro-batch, and how many an update or a scoring pass may need."""
    group = c.rollout.group if scoring else config_lib.train_group(c)
    prompts = c.data.prompts_per_step if scoring else config_lib.minibatch_prompts(c)
    rows = config_lib.score_rows(c) if scoring else config_lib.micro_rows(c)
    shape = PackShape.of(group, rows, config_lib.micro_prompts(c), config_lib.shards(c))
    return shape, shape.most(prompts, group)


def _head_and_layer(c, model: Model, shape: PackShape, platform: str, scoring: bool) -> tuple[float, float]:
    """Workspace of the output head, and of one layer, for one micro-batch on one device."""
    fit, m, tensor = FIT[platform], model.config, c.mesh.tensor
    units, itemsize = shape.units / config_lib.shards(c), item(model.config.compute_dtype)
    rows, width = units * shape.rows, c.rollout.response_buckets[-1]
    tokens, prompt = rows * width, shape.prompts * c.data.prompt_buckets[-1]
    chunk = min(tokens, max(1, head.CHUNK_ELEMENTS.of(platform) // m.vocab_size))
    head_bytes = fit["logits"] * chunk * m.vocab_size / tensor * 4
    table = 0
    if not scoring and tensor > 1 and tokens * m.vocab_size > head.KEPT_ELEMENTS.of(platform):
        # Its gradient goes by blocks of the vocabulary, which `tensor` splits: the table is gathered, ahead of
        # the loop over micro-batches, and the gradient with every block.
        table = m.vocab_size * m.d_model * itemsize
        head_bytes += table + m.vocab_size * m.d_model * item(m.param_dtype) / c.mesh.fsdp
    queries = min(width, attention_lib.QUERY_BLOCK)
    logits = rows * m.n_heads / tensor * queries * 4  # of one key
    if scoring:
        attention = logits * (fit["joined"] * (width + prompt) + fit["own"] * max(width, prompt))
    else:
        attention = logits * fit["attention"] * (width + prompt)
    if attention_lib.takes_kernel(m.attention, platform, width, m.head_dim):
        attention = 2 * rows * m.n_heads / tensor * width * 4  # a query's log-sum and its gradient's
    if scoring:
        return head_bytes, attention + itemsize * _beside(c, model, rows, width)
    return head_bytes, table + attention + (
        _layer(c, model, shape, platform) if _recomputes(c, platform) else 0
    )


def _beside(c, model: Model, rows: float, width: int) -> float:
    """Elements that lie beside attention's logits in a scoring pass, on one device.

    The residual stream, keys, values, and queries and outputs in blocks. Without a loop over the layers their
    zeros and those of a feed-forward, which every layer begins with, are made once and stay.
    """
    m, blocks = model.config, -(-width // attention_lib.QUERY_BLOCK)
    columns = width if blocks == 1 else blocks * attention_lib.QUERY_BLOCK
    queries = (2 if c.model.scan or blocks == 1 else 5) * columns * m.n_heads * m.head_dim
    features = 2 * m.n_kv_heads * m.head_dim + (0 if c.model.scan else m.d_ff)
    return rows * ((queries + width * features) / c.mesh.tensor + width * m.d_model)


def _recomputes(c, platform: str) -> bool:
    """Whether the backward pass makes a layer again.

    A CPU's compiler merges that with the first time, but in a loop, or where a layer sums over
    `tensor`: there mostly, docs/plan.md has an exception.
    """
    return c.model.remat and (c.model.scan or platform != "cpu" or c.mesh.tensor > 1)


def _layer(c, model: Model, shape: PackShape, platform: str) -> float:
    """What the backward pass of one layer needs of its forward pass, on one device."""
    fit, m, tensor = FIT[platform], model.config, c.mesh.tensor
    units, prompt = shape.units / config_lib.shards(c), c.data.prompt_buckets[-1]
    rows, width = units * shape.rows, c.rollout.response_buckets[-1]
    tokens = rows * width + units * shape.prompts * prompt
    features = fit["d"] * m.d_model + fit["f"] * m.d_ff / tensor
    features += (fit["q"] * m.n_heads + fit["kv"] * m.n_kv_heads) * m.head_dim / tensor
    kept = tokens * features * item(m.compute_dtype)
    if width <= attention_lib.QUERY_BLOCK:  # longer rows go in blocks that are recomputed
        kept += fit["scores"] * rows * m.n_heads / tensor * width * (width + prompt) * 4
    return kept


def score_memory(c, model: Model, platform: str = "tpu") -> dict[str, float]:
    """The compiled scoring pass, and the optimizer state that lies beside it."""
    shape, _ = micro_shape(c, scoring=True)
    head, layer = _head_and_layer(c, model, shape, platform, scoring=True)
    mesh, stored = dict(c.mesh), item(model.config.param_dtype)
    rows, width = config_lib.rows_per_step(c), c.rollout.response_buckets[-1]
    held = weight_elements(model, mesh, training=True)
    table, kernels = _gathered(c, model, platform, scoring=True)
    work = max(head, layer)
    if platform == "cpu":  # gathers ahead of the loop over micro-batches, and turns the table around there
        inside = kernels * c.model.scan
        work = max(table, work + inside)
        kernels -= inside
    return {
        "weights": held * stored,
        "optimizer": 2 * held * 4,
        "stacked layers": _layers_held(c, model) * stored * c.model.scan,
        "gathered table and kernels": table + kernels,
        "larger of head and layer": work,
        "outputs": 2 * 4 * 4 * rows * width,
    }


def update_memory(c, model: Model, platform: str = "tpu") -> dict[str, float]:
    """The compiled update: state, gradients, what the backward pass keeps, and the workspace of one place."""
    shape, count = micro_shape(c, scoring=False)
    head, layer = _head_and_layer(c, model, shape, platform, scoring=False)
    mesh, stored = dict(c.mesh), item(model.config.param_dtype)
    held = weight_elements(model, mesh, training=True)
    stacked = 3 * _layers_held(c, model) * c.model.scan
    rows = config_lib.minibatch_prompts(c) * config_lib.train_group(c)
    return {
        "weights": held * stored,
        "optimizer": 2 * held * 4,
        "gradients": (FIT[platform]["gradients"] if count > 1 else 1) * held * 4,
        "stacked layers and their gradients": stacked * stored,
        "kept activations": _kept(c, model, shape, platform),
        "gathered table and kernels": sum(_gathered(c, model, platform, scoring=False)),
        "larger of head and layer": max(head, layer),
        "batch": 4 * rows * c.rollout.response_buckets[-1] * 4,
    }


def _kept(c, model: Model, shape: PackShape, platform: str) -> float:
    """What the forward pass leaves for the backward pass, all layers, on one device."""
    m, units = model.config, shape.units / config_lib.shards(c)
    if _recomputes(c, platform):
        prompts = units * shape.prompts * c.data.prompt_buckets[-1]
        inputs = (units * shape.rows * c.rollout.response_buckets[-1] + prompts) * m.d_model
        keys = prompts * 2 * m.n_kv_heads * m.head_dim
        loop = (
            platform != "cpu" and c.model.scan
        )  # a TPU's compiler copies what one loop leaves to the next
        return m.n_layers * (inputs * (1 + loop) + keys * (2 + 2 * loop)) * item(m.compute_dtype)
    return m.n_layers * _layer(c, model, shape, platform)


def _layers_held(c, model: Model) -> int:
    """Parameters of the layers that a device holds in training, without embedding and head."""
    held = weight_elements(model, dict(c.mesh), training=True)
    return held - table_elements(model) // (c.mesh.fsdp * c.mesh.tensor)


def table_elements(model: Model) -> int:
    """Of the embedding, and of the head where it is not the same."""
    m = model.config
    return m.vocab_size * m.d_model * (1 if m.tied_head else 2)


def _gathered(c, model: Model, platform: str, scoring: bool) -> tuple[float, float]:
    """Output table, and kernels, whole along fsdp in the compute type: this layer's and the next.

    A CPU's compiler gathers all layers' kernels once, ahead of the loop over micro-batches, if they are no loop of their
    own: with remat in an update for the forward pass, for the same again and for the gradients.
    """
    m, layers = model.config, min(2, model.config.n_layers)
    if platform == "cpu":
        layers = 1 if c.model.scan else m.n_layers * (3 if c.model.remat and not scoring else 1)
    one = (model.parameters - table_elements(model)) / m.n_layers
    share = item(m.compute_dtype) / c.mesh.tensor
    table = m.vocab_size * m.d_model * (c.mesh.fsdp > 1 or m.compute_dtype != m.param_dtype)
    return table * share, layers * one * share * (c.mesh.fsdp > 1)


PHASES = {"rollout": rollout_memory, "score": score_memory, "update": update_memory}


def phases(c) -> tuple[str, ...]:
    """The programs that a run of this configuration has."""
    if c.mode != "rl":
        return ("update",)
    return ("rollout", "score", "update") if c.rollout.rescore or c.kl.coef else ("rollout", "update")


def memory(c, model: Model, platform: str = "tpu") -> dict[str, dict[str, float]]:
    """{phase: {part: bytes a device}}: all that lies in a device's memory in that phase."""
    mesh, stored = dict(c.mesh), item(model.config.param_dtype)
    held = weight_elements(model, mesh, training=True)
    reference = {"reference weights": held * stored} if c.kl.coef and c.kl.reference == "fixed" else {}
    out = {"update": update_memory(c, model, platform) | reference}
    if c.mode == "rl":
        state = {"train state beside": held * (stored + 8)}
        shared = c.mesh.fsdp == 1 and model.config.param_dtype == model.config.compute_dtype
        rollout = rollout_memory(c, model, platform)
        if shared:  # the rollout reads the training weights themselves
            rollout["weights"] = 0.0
        out = {"rollout": rollout | state | reference, **out}
        if c.rollout.rescore or c.kl.coef:
            out["score"] = score_memory(c, model, platform) | reference
    return out
