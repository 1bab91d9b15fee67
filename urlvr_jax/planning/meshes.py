"""Which meshes of a machine can hold an experiment, with the slots and micro-batches that suit each."""

from __future__ import annotations

import copy
from typing import NamedTuple

from urlvr_jax import config as config_lib
from urlvr_jax import validation
from urlvr_jax.planning.machines import Machine
from urlvr_jax.planning.memory import Model, expected_pages, memory, pages_here
from urlvr_jax.planning.seconds import MEAN_LENGTH, expected
from urlvr_jax.runtime import sharding


class Choice(NamedTuple):
    """A mesh with the slots and micro-batches that suit it."""

    mesh: dict[str, int]
    slots: int
    pages: int  # of a device; 0 = none, or all slots at full length
    micro_rows: int
    memory: dict[str, dict[str, float]]  # phase -> part -> bytes a device
    seconds: dict[str, float]  # phase -> of an expected step

    @property
    def peak(self) -> float:
        return max(sum(parts.values()) for parts in self.memory.values())


def why_not(c, model: Model, devices: int, platform: str) -> str:
    """Why this configuration's mesh cannot hold the model or the batch on such devices; "" if it can."""
    mesh = dict(c.mesh)
    heads = model.config.n_heads
    for name, leaf in model.shapes.items():
        for size, axis in zip(leaf.shape, tuple(sharding.partition_spec(name)), strict=False):
            if axis is not None and size % mesh[axis]:
                return f"{name}: {size} does not divide over {axis} = {mesh[axis]}"
    if heads % mesh["tensor"]:
        return f"{heads} heads do not divide over tensor = {mesh['tensor']}"
    try:
        validation.validate(c, devices, platform)
        validation.validate_heads(model.config.attention, model.config.head_dim, platform)
    except config_lib.ConfigError as error:
        return str(error)
    return ""


def fitted(c, model: Model, machine: Machine, mesh: dict) -> Choice | None:
    """The largest micro-batch, then the most slots, with which this mesh fits; None if none does.

    Slots that decode from pages fit if responses of the expected length do; what is left then goes to more pages.
    """
    platform = machine.chip.platform
    c = copy.deepcopy(c)
    c.mesh.update(mesh)
    shards = config_lib.shards(c)
    group = config_lib.train_group(c)
    rows = config_lib.minibatch_prompts(c) * group

    def fits(*phases: str) -> bool:
        found = memory(c, model, platform)
        return all(sum(found[p].values()) <= machine.usable for p in phases if p in found)

    def largest(key: str, sizes, *phases: str, beside=lambda size: {}) -> bool:
        """Set the key to the largest legal size with which these phases fit, and what goes with it."""
        for size in sorted(sizes, reverse=True):
            c.update_from_flattened_dict({key: size} | beside(size))
            if fits(*phases) and not why_not(c, model, machine.devices, platform):
                return True
        return False

    c.rollout.pages = 0
    c.rollout.slots = shards  # the least, so that only micro-batches can be illegal
    each = [n for n in range(1, rows // shards + 1) if group % n == 0 or n % group == 0]
    if not largest("optim.micro_rows", [shards * n for n in each], "update", "score"):
        return None
    slots = range(shards, config_lib.rows_per_step(c) + 1, shards)
    paged = config_lib.decodes_from_pages(c, platform)

    def with_pages(size: int) -> dict:
        c.update_from_flattened_dict({"rollout.slots": size, "rollout.pages": 0})
        return {"rollout.pages": expected_pages(c, MEAN_LENGTH * c.rollout.max_new_tokens)} if paged else {}

    if not largest("rollout.slots", slots, "rollout", "verify", beside=with_pages):
        return None
    if paged:
        fewer = c.rollout.pages
        fill_with_pages(c, model, machine)
        c.rollout.pages = c.rollout.pages if fits("verify") else fewer
    return Choice(
        mesh,
        c.rollout.slots,
        c.rollout.pages,
        c.optim.micro_rows,
        memory(c, model, platform),
        expected(c, model, machine.chip),
    )


def fill_with_pages(c, model: Model, machine: Machine) -> None:
    """Set rollout.pages to what the memory that is left holds; 0 if that is all slots at full length."""
    each = pages_here(c), sum(memory(c, model, machine.chip.platform)["rollout"].values())
    c.rollout.pages = 0
    whole = pages_here(c), sum(memory(c, model, machine.chip.platform)["rollout"].values())
    if whole[1] > machine.usable:
        a_page = (whole[1] - each[1]) / (whole[0] - each[0])
        c.rollout.pages = each[0] + int((machine.usable - each[1]) / a_page)


def meshes(c, model: Model, machine: Machine) -> list[Choice]:
    """Every legal mesh of a machine that fits, the quickest step first."""
    sizes = [n for n in range(1, machine.devices + 1) if machine.devices % n == 0]
    found = []
    for tensor in sizes:
        for fsdp in sizes:
            if machine.devices % (tensor * fsdp) == 0:
                mesh = {"data": machine.devices // (tensor * fsdp), "fsdp": fsdp, "tensor": tensor}
                found.append(fitted(c, model, machine, mesh))
    return sorted(filter(None, found), key=lambda choice: sum(choice.seconds.values()))
