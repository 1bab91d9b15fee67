"""What an experiment will take before anything runs: memory, legal meshes, slots, seconds a step on named machines.

No weights are read and nothing is compiled. Memory is `footprint.py`'s; time is a roofline whose assumptions stand below
and in docs/plan.md.
"""

from __future__ import annotations

import copy
import math
import re
from typing import NamedTuple

from urlvr_jax import config as config_lib
from urlvr_jax.planning import memory as memory_lib
from urlvr_jax.planning.memory import GIB, Model
from urlvr_jax.runtime import sharding


class Chip(NamedTuple):
    """One device by its maker's data sheet."""

    flops: float  # dense bfloat16 FLOP/s
    memory: float  # bytes
    bandwidth: float  # bytes/s of that memory
    link: float  # bytes/s to other devices, all links together
    cores: int = 1  # what the size in a machine's name counts, per chip
    platform: str = "tpu"


CHIPS = {
    "v4": Chip(275e12, 32 * GIB, 1228e9, 300e9, cores=2),
    "v5e": Chip(197e12, 16 * GIB, 819e9, 200e9),
    "v5p": Chip(459e12, 95 * GIB, 2765e9, 600e9, cores=2),
    "v6e": Chip(918e12, 32 * GIB, 1640e9, 448e9),
    "h100": Chip(989e12, 80e9, 3350e9, 450e9, platform="gpu"),
    "h200": Chip(989e12, 141e9, 4800e9, 450e9, platform="gpu"),
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


# ---- seconds a step -------------------------------------------------------------------------


def seconds(c, model: Model, chip: Chip, length: float) -> dict[str, float]:
    """Predicted seconds of a step whose responses have `length` tokens on average, by phase."""
    m, mesh = model.config, dict(c.mesh)
    shards, devices = config_lib.shards(c), math.prod(mesh.values())
    rows, prompts = config_lib.rows_per_step(c), c.data.prompts_per_step
    prompt, items = c.data.prompt_buckets[-1], memory_lib.item(m.compute_dtype)
    table, body = m.vocab_size * m.d_model, model.parameters - memory_lib.table_elements(model)

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
    read = memory_lib.weight_elements(model, mesh, training=False) * items
    read += slots / shards * (prompt + window) * memory_lib.cache_bytes(model, mesh)
    column = max(read / (READING * chip.bandwidth),
                 passes(slots, prompt + window, 1) / devices / (PRODUCTS * chip.flops))  # fmt: skip
    spread = 2 * 2 * m.n_layers * slots / shards * m.d_model * items  # two sums a layer
    column += spread * (1 - 1 / mesh["tensor"]) / (LINKS * chip.link)
    column += 2 * m.n_layers * LATENCY * (mesh["tensor"] > 1)
    rollout = columns * column + passes(prompts * prompt, prompt / 2, 1) / devices / (PRODUCTS * chip.flops)

    def over_tokens(times, scoring):
        shape, _ = memory_lib.micro_shape(c, scoring)
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


def fitted(c, model: Model, chip: Chip, mesh: dict) -> Choice | None:
    """The most slots and the largest micro-batch with which this mesh fits the chip; None if none does."""
    devices, budget = math.prod(mesh.values()), USABLE * chip.memory
    c = copy.deepcopy(c)
    c.mesh.update(mesh)
    shards, group = config_lib.shards(c), config_lib.train_group(c)
    most = lambda phase: sum(memory_lib.memory(c, model, chip.platform).get(phase, {}).values())

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
    return Choice(mesh, c.rollout.slots, c.optim.micro_rows, memory_lib.memory(c, model, chip.platform),
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
    model = memory_lib.open_model(c)
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
        parts = memory_lib.memory(c, model, machine(hardware).chip.platform if hardware else "tpu")
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
