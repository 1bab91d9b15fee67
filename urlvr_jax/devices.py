"""A configuration on the devices there are: its mesh, and the sizes that have to divide over them."""

from __future__ import annotations

import math

import ml_collections

from urlvr_jax import config as config_lib
from urlvr_jax.config import ConfigError

AXES = ("data", "fsdp", "tensor")
REST = -1  # of an axis: the devices that the others leave
MANY_ROWS = 10**7  # a mini-batch beyond it is left to the checks


def fill(c, count: int) -> ml_collections.ConfigDict:
    """The configuration with numbers for its axes: one of -1 takes the devices that the others leave.

    ConfigError where they leave no whole number, or one is no size; `c` itself if there is nothing to do.
    """
    mesh = dict(c.mesh)
    for axis, size in mesh.items():
        if size is None or (size < 1 and size != REST):
            raise ConfigError(
                f"mesh.{axis} = {size} is not possible: give 1 or more devices, or -1 for all that are left"
            )
    rest = [axis for axis in AXES if mesh[axis] == REST]
    if not rest:
        return c
    if rest[0] == "data" and len(rest) > 1:  # its default: it stands back where another axis takes the rest
        mesh["data"] = 1
        rest = rest[1:]
    if len(rest) > 1:
        raise ConfigError(
            "mesh.fsdp = -1, mesh.tensor = -1: one axis takes the rest; give the other a number"
        )
    taken = math.prod(size for axis, size in mesh.items() if axis not in rest)
    if count % taken:
        named = [axis for axis in AXES if mesh[axis] > 1]
        raise ConfigError(
            f"{' * '.join(f'mesh.{axis}' for axis in named)} = {taken} does not divide {count} "
            f"device{'s' * (count > 1)}: choose a divisor, for example {' '.join(f'--config.mesh.{axis}=1' for axis in named)}"
        )
    filled = c.copy_and_resolve_references()
    filled.mesh.update({**mesh, rest[0]: count // taken})
    return filled


def elsewhere(c, count: int) -> ml_collections.ConfigDict:
    """A run's configuration, to be opened on `count` devices: where its mesh does not fit, weights are split over all."""
    if count % (c.mesh.fsdp * c.mesh.tensor) == 0:
        return c
    return _with(c, {"mesh.data": 1, "mesh.fsdp": REST, "mesh.tensor": 1})


def alone(c) -> ml_collections.ConfigDict:
    """The configuration on one device: to say more of one whose mesh cannot be filled."""
    return _with(c, {f"mesh.{axis}": 1 for axis in AXES})


def settle(c, count: int, *, trains: bool = True) -> tuple[ml_collections.ConfigDict, list[str]]:
    """(the configuration on `count` devices, a line for each size that was rounded); `c` itself if nothing changes.

    Its mesh is filled. Slots and micro-batches that do not divide over the devices are rounded up. Without training,
    so are the prompts of a step, which are then only a size. What is wrong on one device too is left to `validation`.
    """
    c = fill(c, count)
    sizes = (*c.mesh.values(), c.data.prompts_per_step, c.rollout.group)
    if None in config_lib.flat(c).values() or min(sizes) < 1 or c.optim.minibatch_prompts < 0:
        return c, []
    shards = config_lib.shards(c)
    if not trains and c.data.prompts_per_step % shards:
        prompts = _up(c.data.prompts_per_step, math.lcm(shards, 2))
        c = _with(c, {"data.prompts_per_step": prompts, "optim.minibatch_prompts": 0})
    said = []
    for key, size_of in (("rollout.slots", _slots), ("optim.micro_rows", _micro_rows)):
        before, size = config_lib.value_of(c, key), size_of(c)
        if size != before and not c.data.prompts_per_step % shards:
            if trains or key == "rollout.slots":
                said.append(f"{key} = {before} does not divide over {shards} devices: {size} is used")
            c = _with(c, {key: size})
    return c, said


def divides(rows: int, group: int, micro_rows: int, shards: int) -> bool:
    """Whether micro-batches fill a mini-batch, a shard's share of each being a part of a group or whole ones."""
    each = micro_rows / shards
    return not (rows % micro_rows or (group % each if each < group else each % group))


def _with(c, values: dict) -> ml_collections.ConfigDict:
    changed = c.copy_and_resolve_references()
    changed.update_from_flattened_dict(values)
    return changed


def _up(size: int, shards: int) -> int:
    return -(-size // shards) * shards


def _slots(c) -> int:
    """As they are, or so many more that each device has as many."""
    slots = c.rollout.slots
    rows = config_lib.rows_per_step(c)
    return min(_up(slots, config_lib.shards(c)), rows) if 0 < slots < rows else slots


def _micro_rows(c) -> int:
    """As they are if they can be, or are wrong on one device too; else the next larger, or smaller, that can be."""
    shards, group = config_lib.shards(c), config_lib.train_group(c)
    rows, micro = config_lib.minibatch_prompts(c) * group, config_lib.micro_rows(c)
    legal = lambda size, shards: size % shards == 0 and divides(rows, group, size, shards)
    if micro < 1 or rows > MANY_ROWS or legal(micro, shards) or not legal(micro, 1):
        return c.optim.micro_rows
    larger = (size for size in range(_up(micro, shards), rows + 1, shards) if legal(size, shards))
    smaller = (size for size in range(micro // shards * shards, 0, -shards) if legal(size, shards))
    return next(larger, None) or next(smaller, c.optim.micro_rows)
