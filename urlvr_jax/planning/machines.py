"""Machines by name: chips with their makers' numbers, and how many of them."""

from __future__ import annotations

import re
from typing import NamedTuple

from urlvr_jax.config import ConfigError
from urlvr_jax.planning.memory import GIB

USABLE = 0.92  # of a chip's memory; the rest is the runtime's


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


class Machine(NamedTuple):
    name: str
    kind: str  # a key of CHIPS
    devices: int

    @property
    def chip(self) -> Chip:
        return CHIPS[self.kind]

    @property
    def usable(self) -> float:
        """Bytes of a device that a run may fill."""
        return USABLE * self.chip.memory


def machine(name: str) -> Machine:
    """v5e-16, h100-8: chip and size. Sizes of v4 and v5p count cores, two a chip, as their names do.

    Raises ConfigError for a name that is neither.
    """
    found = re.fullmatch(r"(\w+)-(\d+)", name.lower())
    if not found or found[1] not in CHIPS:
        raise ConfigError(
            f"--hardware={name}: give one of {', '.join(CHIPS)} and a size, for example v5e-16 or h100-8"
        )
    cores = CHIPS[found[1]].cores
    size = int(found[2])
    if size < cores or size % cores:
        raise ConfigError(
            f"--hardware={name}: its size counts cores, {cores} a chip; give a multiple of {cores}"
        )
    return Machine(name.lower(), found[1], size // cores)
