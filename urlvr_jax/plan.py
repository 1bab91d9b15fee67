"""What a configuration needs before anything runs: parameters, bytes a device, legal meshes, seconds a step.

No weights are read and nothing is compiled: shapes come from config.json, sizes from the formulas below. They follow
what `sample.py`, `score.py` and `train_step.py` keep in memory; `benchmarks/plan_against_compiler.py` sets them
against the compiler's own count, docs/plan.md has the table, and every constant of `FIT` comes from there.

    R  devices with different rows = data * fsdp      M = fsdp * tensor, shares of a weight in training
"""

from __future__ import annotations

import copy
import math
import pathlib
import re
from collections import Counter
from typing import NamedTuple

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
LATENCY = 10e-6  # seconds that a collective takes however little it moves: felt by every decoded column
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
    from urlvr_jax.loading import model_folder
    from urlvr_jax.models import hf

    name = c.model.path
    short = name.split("@")[0].rpartition("/")[2]
    if not pathlib.Path(name).expanduser().exists() and short in hf.known_names():
        name = f"known:{short}"
    config = hf.model_config(
        model_folder(name), param_dtype=c.model.param_dtype, compute_dtype=c.model.compute_dtype,
        remat=c.model.remat, scan=c.model.scan,
    )  # fmt: skip
    return Model(config)


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
_LAYER = dict(d=5.5, q=9.7, kv=6.3, f=3.75, scores=3.0)
FIT = {
    "tpu": dict(gradients=2.0, window=2.0, attention=2.0, scoring=2.0, logits=3.0, **_LAYER),
    "cpu": dict(gradients=3.0, window=1.0, attention=2.1, scoring=3.6, logits=3.0, **_LAYER),
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
        "window, copied from the cache": fit["window"] * window * width * here * position,
        "prompts": prompts * prompt * position,
        "prompts of the slots": here * prompt * position * refill,
        "kernels in another order": _reordered(model, mesh) * item_bytes * (platform != "cpu"),
        "block": 2 * here * width * position,
        "logits": fit["logits"] * here * m.vocab_size / mesh["tensor"] * 4,
        "outputs": 2 * rows * longest * 5 * 4,
    }


def _reordered(model: Model, mesh: dict) -> float:
    """Elements of query and key kernels, which a TPU's compiler turns around once for decoding."""
    m = model.config
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
    from urlvr_jax import score

    fit, m, tensor = FIT[platform], model.config, c.mesh.tensor
    units = shape.units / config_lib.shards(c)
    rows, width = units * shape.rows, c.rollout.response_buckets[-1]
    tokens, prompt = rows * width, shape.prompts * c.data.prompt_buckets[-1]
    chunk = min(tokens, max(1, score.chunk_elements(platform) // m.vocab_size))
    head = fit["logits"] * chunk * m.vocab_size / tensor * 4
    attention = fit["scoring" if scoring else "attention"] * rows * m.n_heads / tensor * min(width, transformer.QUERY_BLOCK)
    attention *= (width + prompt) * 4
    if scoring:
        return head, attention + 6 * tokens * m.d_model * item(m.compute_dtype)
    return head, attention + (_layer(c, model, shape, platform) if _recomputes(c, platform) else 0)


def _recomputes(c, platform: str) -> bool:
    """Whether the backward pass makes a layer again; a CPU's compiler merges that with the first time, but in a loop."""
    return c.model.remat and (c.model.scan or platform != "cpu")


def _layer(c, model: Model, shape: PackShape, platform: str) -> float:
    """What the backward pass of one layer needs of its forward pass, on one device."""
    fit, m, tensor = FIT[platform], model.config, c.mesh.tensor
    units, prompt = shape.units / config_lib.shards(c), c.data.prompt_buckets[-1]
    rows, width = units * shape.rows, c.rollout.response_buckets[-1]
    tokens = rows * width + units * shape.prompts * prompt
    features = fit["d"] * m.d_model + fit["f"] * m.d_ff / tensor
    features += (fit["q"] * m.n_heads + fit["kv"] * m.n_kv_heads) * m.head_dim / tensor
    kept = tokens * features * item(m.compute_dtype)
    if width <= transformer.QUERY_BLOCK:  # longer rows go in blocks that are recomputed
        kept += fit["scores"] * rows * m.n_heads / tensor * width * (width + prompt) * 4
    return kept


def score_memory(c, model: Model, platform: str = "tpu") -> dict[str, float]:
    """The compiled scoring pass, and the optimizer state that lies beside it."""
    shape, _ = micro_shape(c, scoring=True)
    head, layer = _head_and_layer(c, model, shape, platform, scoring=True)
    mesh, stored = dict(c.mesh), item(model.config.param_dtype)
    rows, width = config_lib.rows_per_step(c), c.rollout.response_buckets[-1]
    held = weight_elements(model, mesh, training=True)
    return {
        "weights": held * stored,
        "optimizer": 2 * held * 4,
        "gathered table": _table(c, model),
        "larger of head and layer": max(head, layer),
        "outputs": 2 * 4 * 4 * rows * width,
    }


def update_memory(c, model: Model, platform: str = "tpu") -> dict[str, float]:
    """The compiled update: state, gradients, what the backward pass keeps, and the workspace of one place."""
    shape, count = micro_shape(c, scoring=False)
    head, layer = _head_and_layer(c, model, shape, platform, scoring=False)
    mesh, stored = dict(c.mesh), item(model.config.param_dtype)
    held = weight_elements(model, mesh, training=True)
    stacked = 3 * (held - _table_elements(model) // (mesh["fsdp"] * mesh["tensor"])) * c.model.scan
    rows, width = (
        config_lib.minibatch_prompts(c) * config_lib.train_group(c),
        c.rollout.response_buckets[-1],
    )
    return {
        "weights": held * stored,
        "optimizer": 2 * held * 4,
        "gradients": (FIT[platform]["gradients"] if count > 1 else 1) * held * 4,
        "stacked layers and their gradients": stacked * stored,
        "kept activations": _kept(c, model, shape, platform),
        "gathered table": _table(c, model),
        "larger of head and layer": max(head, layer),
        "batch": 4 * rows * width * 4,
    }


def _kept(c, model: Model, shape: PackShape, platform: str) -> float:
    """What the forward pass leaves for the backward pass, all layers, on one device."""
    m, units = model.config, shape.units / config_lib.shards(c)
    if _recomputes(c, platform):
        prompts = units * shape.prompts * c.data.prompt_buckets[-1]
        inputs = (units * shape.rows * c.rollout.response_buckets[-1] + prompts) * m.d_model
        keys = prompts * 2 * m.n_kv_heads * m.head_dim
        loop = platform != "cpu" and c.model.scan  # a TPU's compiler copies what one loop leaves to the next
        return m.n_layers * (inputs * (1 + loop) + keys * (2 + 2 * loop)) * item(m.compute_dtype)
    return m.n_layers * _layer(c, model, shape, platform)


def _table_elements(model: Model) -> int:
    """Of the embedding, and of the head where it is not the same."""
    m = model.config
    return m.vocab_size * m.d_model * (1 if m.tied_head else 2)


def _table(c, model: Model) -> float:
    """The output table gathered along fsdp in the compute type; none where nothing is gathered."""
    m = model.config
    return (
        m.vocab_size * m.d_model // c.mesh.tensor * item(m.compute_dtype) if config_lib.shards(c) > 1 else 0
    )


PHASES = {"rollout": rollout_memory, "score": score_memory, "update": update_memory}


def memory(c, model: Model, platform: str = "tpu") -> dict[str, dict[str, float]]:
    """{phase: {part: bytes a device}}: all that lies in a device's memory in that phase."""
    mesh, stored = dict(c.mesh), item(model.config.param_dtype)
    held = weight_elements(model, mesh, training=True)
    reference = {"reference weights": held * stored} if c.kl.coef and c.kl.reference == "fixed" else {}
    out = {"update": update_memory(c, model, platform) | reference}
    if c.mode == "rl":
        state = {"train state beside": held * (stored + 8)}
        shared = (
            config_lib.shards(c) == c.mesh.data and model.config.param_dtype == model.config.compute_dtype
        )
        rollout = rollout_memory(c, model, platform)
        if shared:  # the rollout reads the training weights themselves
            rollout["weights"] = 0.0
        out = {"rollout": rollout | state | reference, **out}
        if c.rollout.rescore or c.kl.coef:
            out["score"] = score_memory(c, model, platform) | reference
    return out


# ---- seconds a step -------------------------------------------------------------------------


def seconds(c, model: Model, chip: Chip, length: float) -> dict[str, float]:
    """Predicted seconds of a step whose responses have `length` tokens on average, by phase."""
    m, mesh = model.config, dict(c.mesh)
    shards, devices = config_lib.shards(c), math.prod(mesh.values())
    rows, prompts = config_lib.rows_per_step(c), c.data.prompts_per_step
    prompt, items = c.data.prompt_buckets[-1], item(m.compute_dtype)
    table, body = m.vocab_size * m.d_model, model.parameters - _table_elements(model)

    def passes(tokens, context, times):  # FLOPs of `times` forward passes over so many tokens
        attention = 4 * m.n_layers * m.n_heads * m.head_dim * context
        return times * tokens * (2 * body + 2 * table + attention)

    # Decoding: every column reads the weights once and each slot's keys and values.
    slots = config_lib.slots(c)
    columns = rows * length / slots
    window = (
        c.rollout.max_new_tokens / 2
        if length == c.rollout.max_new_tokens
        else min(c.rollout.max_new_tokens / 2, 2 * length)
    )
    read = weight_elements(model, mesh, training=False) * items
    read += slots / shards * (prompt + window) * cache_bytes(model, mesh)
    column = max(read / (READING * chip.bandwidth),
                 passes(slots, prompt + window, 1) / devices / (PRODUCTS * chip.flops))  # fmt: skip
    spread = 2 * 2 * m.n_layers * slots / shards * m.d_model * items  # two sums a layer
    column += spread * (1 - 1 / mesh["tensor"]) / (LINKS * chip.link)
    column += 2 * m.n_layers * LATENCY * (mesh["tensor"] > 1)
    rollout = columns * column + passes(prompts * prompt, prompt / 2, 1) / devices / (PRODUCTS * chip.flops)

    def over_tokens(times, scoring):
        shape, _ = micro_shape(c, scoring)
        packed = max(1.0, rows * length / (shape.units * shape.rows * c.rollout.response_buckets[-1]))
        shown = packed * shape.units * shape.prompts * prompt  # prompts, once a unit
        work = passes(rows * length, c.rollout.response_buckets[-1], times) + passes(shown, prompt, times)
        gathered = (1 - 1 / mesh["fsdp"]) * model.parameters * items / mesh["tensor"]
        moved = packed * gathered * (times - (1 if times > 1 else 0))
        return work / devices / (PRODUCTS * chip.flops) + moved / (LINKS * chip.link)

    update = over_tokens(4 if c.model.remat else 3, scoring=False) * c.optim.epochs
    out = {"rollout": rollout, "update": update}
    if c.rollout.rescore or c.kl.coef:
        out["score"] = over_tokens(1, scoring=True)
    return out


# ---- meshes ---------------------------------------------------------------------------------


class Choice(NamedTuple):
    """A mesh with the slots and micro-batches that suit it."""

    mesh: dict[str, int]
    slots: int
    micro_rows: int
    memory: dict[str, dict[str, float]]
    seconds: dict[str, float]

    @property
    def peak(self) -> float:
        return max(sum(parts.values()) for parts in self.memory.values())


def why_not(c, model: Model, devices: int) -> str:
    """Why this configuration's mesh cannot hold the model or the batch; "" if it can."""
    mesh, m = dict(c.mesh), model.config
    for name, leaf in model.shapes.items():
        for size, axis in zip(leaf.shape, tuple(sharding.partition_spec(name)), strict=False):
            if axis is not None and size % mesh[axis]:
                return f"{name}: {size} does not divide over {axis} = {mesh[axis]}"
    if m.n_heads % mesh["tensor"]:
        return f"{m.n_heads} heads do not divide over tensor = {mesh['tensor']}"
    try:
        config_lib.validate(c, devices)
    except config_lib.ConfigError as error:
        return str(error)
    return ""


def fitted(c, model: Model, chip: Chip, mesh: dict, platform: str = "tpu") -> Choice | None:
    """The most slots and the largest micro-batch with which this mesh fits the chip; None if none does."""
    devices, budget = math.prod(mesh.values()), USABLE * chip.memory
    c = copy.deepcopy(c)
    c.mesh.update(mesh)
    shards, group = config_lib.shards(c), config_lib.train_group(c)
    most = lambda phase: sum(memory(c, model, platform).get(phase, {}).values())

    def largest(key: str, sizes, fits) -> bool:
        """Set the key to the largest legal size that fits."""
        for size in sorted(set(sizes), reverse=True):
            c.update_from_flattened_dict({key: size})
            if fits() and not why_not(c, model, devices):
                return True
        return False

    rows = config_lib.minibatch_prompts(c) * group
    c.rollout.slots = shards  # the least, so that only micro-batches can be illegal
    micro = [
        shards * each for each in range(1, rows // shards + 1) if group % each == 0 or each % group == 0
    ]
    if not largest("optim.micro_rows", micro, lambda: max(most("update"), most("score")) <= budget):
        return None
    each = config_lib.rows_per_step(c) // shards
    slots = [shards * n for n in range(1, each + 1)]
    if not largest("rollout.slots", slots, lambda: most("rollout") <= budget):
        return None
    length = MEAN_LENGTH * c.rollout.max_new_tokens
    return Choice(mesh, c.rollout.slots, c.optim.micro_rows, memory(c, model, platform),
                  seconds(c, model, chip, length))  # fmt: skip


def meshes(c, model: Model, machine: Machine) -> list[Choice]:
    """Every legal mesh of a machine that fits, the quickest step first."""
    out = []
    for tensor in range(1, machine.devices + 1):
        for fsdp in range(1, machine.devices // tensor + 1):
            if machine.devices % (tensor * fsdp) == 0:
                mesh = {"data": machine.devices // tensor // fsdp, "fsdp": fsdp, "tensor": tensor}
                choice = fitted(c, model, machine.chip, mesh)
                out += [choice] if choice else []
    return sorted(out, key=lambda choice: sum(choice.seconds.values()))


# ---- what the verb prints -------------------------------------------------------------------


def report(c, hardware: str = "") -> dict:
    """All numbers of the verb `plan`, ready for JSON; sizes in bytes, times in seconds."""
    model = open_model(c)
    own = math.prod(dict(c.mesh).values())
    out = {
        "model": c.model.path,
        "parameters": model.parameters,
        "rollouts_a_step": config_lib.rows_per_step(c),
        "configured": {
            "mesh": dict(c.mesh),
            "slots": config_lib.slots(c),
            "micro_rows": config_lib.micro_rows(c),
            "problem": why_not(c, model, own),
        },
    }
    if not out["configured"]["problem"]:
        parts = memory(c, model)
        out["configured"] |= {"bytes": parts, "peak": max(sum(p.values()) for p in parts.values())}
    longest = model.config.max_positions
    if longest and c.data.prompt_buckets[-1] + c.rollout.max_new_tokens > longest:
        out["configured"]["problem"] = f"prompt and response exceed the model's {longest} positions"
    if not hardware:
        return out
    on = machine(hardware)
    choices = meshes(c, model, on)
    out["hardware"] = {"name": on.name, "devices": on.devices, **on.chip._asdict(), "usable": USABLE}
    if own == on.devices and "peak" in out["configured"]:
        out["configured"]["fits"] = out["configured"]["peak"] <= USABLE * on.chip.memory
        out["configured"]["seconds"] = {
            "expected": seconds(c, model, on.chip, MEAN_LENGTH * c.rollout.max_new_tokens),
            "longest": seconds(c, model, on.chip, c.rollout.max_new_tokens),
        }
    out["meshes"] = [
        {"mesh": x.mesh, "slots": x.slots, "micro_rows": x.micro_rows, "peak": x.peak, "bytes": x.memory,
         "seconds": x.seconds}
        for x in choices
    ]  # fmt: skip
    return out


def text(found: dict) -> str:
    """The report to be read: sizes in GiB, times in seconds."""
    own = found["configured"]
    lines = [
        f"{found['model']}: {found['parameters']:,} parameters, {found['rollouts_a_step']} rollouts a step"
    ]
    shape = lambda x: "x".join(str(x["mesh"][axis]) for axis in sharding.AXES)
    lines.append(f"configured: mesh {shape(own)} (data x fsdp x tensor), {own['slots']} slots, "
                 f"{own['micro_rows']} rows a micro-batch")  # fmt: skip
    if own["problem"]:
        lines.append(f"    not possible: {own['problem']}")
    for phase, parts in own.get("bytes", {}).items():
        lines.append(f"    {phase}: {sum(parts.values()) / GIB:.2f} GiB a device")
        lines += [f"        {size / GIB:8.3f}  {name}" for name, size in parts.items() if size > 1e-3 * GIB]
    if "hardware" not in found:
        return "\n".join(lines)
    on = found["hardware"]
    if "fits" in own:
        lines.append(f"    {'fits' if own['fits'] else 'does not fit'} {on['name']} "
                     f"({USABLE:.0%} of {on['memory'] / GIB:.1f} GiB)")  # fmt: skip
        for case, phases in own["seconds"].items():
            each = ", ".join(f"{name} {s:.0f}" for name, s in phases.items())
            lines.append(f"    {case} step: {sum(phases.values()):.0f} s ({each})")
    lines.append(
        f"{on['name']}, {on['devices']} devices: {len(found['meshes'])} meshes fit; the quickest by prediction:"
    )
    for x in found["meshes"][:6]:
        lines.append(
            f"    mesh {shape(x):>8}  {x['slots']:>4} slots  micro_rows {x['micro_rows']:>4}  "
            f"{x['peak'] / GIB:6.2f} GiB  {sum(x['seconds'].values()):6.0f} s a step"
        )
    if found["meshes"]:
        best = found["meshes"][0]
        keys = {f"mesh.{k}": v for k, v in best["mesh"].items()}
        keys |= {"rollout.slots": best["slots"], "optim.micro_rows": best["micro_rows"]}
        lines.append("    " + " ".join(f"--config.{k}={v}" for k, v in keys.items()))
    return "\n".join(lines)
