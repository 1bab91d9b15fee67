"""Where each token of a mini-batch stands while it is scored: responses packed into full rows.

Responses differ in length, so rows of one response each are mostly padding (in the laboratory 60 %).
Here a row of C columns takes several whole responses. A unit is J such rows and the M prompts that
they answer, so a prompt is computed once for all its responses in the unit.

Units are the same shape always; only their number follows the lengths. The update loops over as many as
there are, so nothing is compiled again.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Layout(NamedTuple):
    """Where the tokens of a batch stand while it is scored.

    A unit holds M prompts and J columns-wide rows; each row holds whole responses to these prompts, one
    after the other. `plain_layout` is the layout without packing: a unit a prompt, a row a response.
    """

    source: jax.Array  # int32 [U, J, C]: token b * T + t of the batch's [B, T], or -1
    prompts: jax.Array  # int32 [U, M]: prompt of the batch's [P], or -1


def plain_layout(prompts: int, group: int, width: int) -> Layout:
    source = jnp.arange(prompts * group * width, dtype=jnp.int32).reshape(prompts, group, width)
    return Layout(source, jnp.arange(prompts, dtype=jnp.int32)[:, None])


@dataclasses.dataclass(frozen=True)
class PackShape:
    """Static shape of one micro-batch, `units` of them side by side (one or more a shard)."""

    units: int  # U
    rows: int  # J, rows a unit
    prompts: int  # M, prompts a unit

    @classmethod
    def of(cls, group: int, micro_rows: int, micro_prompts: int, shards: int) -> PackShape:
        """`micro_rows` rows and at least the prompts that fill them; spare prompts let short rows share."""
        whole = micro_rows // group  # prompts of a micro-batch whose responses are all full length
        if micro_prompts <= whole and whole % shards == 0 and whole:
            return cls(whole, group, 1)
        return cls(shards, micro_rows // shards, max(1, -(-micro_prompts // shards)))

    def most(self, prompts: int, group: int) -> int:
        """Micro-batches that always suffice: without sharing of rows."""
        if self.rows % group and group % self.rows:
            raise ValueError(
                f"{self.rows} rows a unit neither divide a group of {group} nor hold whole groups"
            )
        if self.rows < group:
            return -(-prompts * (group // self.rows) // self.units)
        return -(-prompts // (self.units * min(self.prompts, self.rows // group)))


def pack(lengths: np.ndarray, width: int, columns: int, shape: PackShape) -> tuple[Layout, int]:
    """Lengths int `[P, G]` of responses in `[B, width]` -> layouts `[n, U, ...]`, and how many are used.

    Best fit, longest response of each prompt first; responses of length 0 are left out. The number n is
    static: the largest that any lengths can need.
    """
    prompts, group = lengths.shape
    most = shape.most(prompts, group)
    units = _fill(lengths, columns, shape, limit=most * shape.units)
    source = np.full((most * shape.units, shape.rows, columns), -1, np.int32)
    owners = np.full((most * shape.units, shape.prompts), -1, np.int32)
    for u, (members, places) in enumerate(units):
        owners[u, : len(members)] = members
        for b, j, start in places:
            n = lengths[b // group, b % group]
            source[u, j, start : start + n] = b * width + np.arange(n)
    split = lambda x: x.reshape(most, shape.units, *x.shape[1:])
    return Layout(split(source), split(owners)), -(-len(units) // shape.units)


def _fill(lengths, columns: int, shape: PackShape, limit: int):
    """Units as (prompts, [(row b of the batch, row j of the unit, first column)])."""
    prompts, group = lengths.shape
    free = np.zeros((0, shape.rows), np.int64)  # columns left, of every row of every unit
    units: list[tuple[list[int], list[tuple[int, int, int]]]] = []
    for p in np.argsort(-lengths.sum(axis=1), kind="stable"):
        for g in np.argsort(-lengths[p], kind="stable"):
            n = int(lengths[p, g])
            if n == 0:
                break
            open_to_p = np.array([p in m or len(m) < shape.prompts for m, _ in units], bool)
            room = np.where(open_to_p[:, None] & (free >= n), free, columns + 1)
            member = np.array([p in m for m, _ in units], bool)
            for candidates in (np.where(member[:, None], room, columns + 1), room):
                if candidates.size and candidates.min() <= columns:
                    u, j = np.unravel_index(np.argmin(candidates), candidates.shape)
                    break
            else:
                u = len(units)
                j = 0
                units.append(([], []))
                free = np.concatenate([free, np.full((1, shape.rows), columns)])
            members, places = units[u]
            if p not in members:
                members.append(int(p))
            places.append((int(p) * group + int(g), int(j), int(columns - free[u, j])))
            free[u, j] -= n
    return units if len(units) <= limit else _one_each(lengths, shape)


def _one_each(lengths, shape: PackShape):
    """The packing that needs exactly `shape.most`: a row a response."""
    prompts, group = lengths.shape
    each = max(1, min(shape.prompts, shape.rows // group))  # prompts a unit
    units = []
    for first in range(0, prompts, each):
        members = list(range(first, min(first + each, prompts)))
        rows = [p * group + g for p in members for g in range(group)]
        for start in range(0, len(rows), shape.rows):
            part = rows[start : start + shape.rows]
            units.append((members, [(b, j, 0) for j, b in enumerate(part)]))
    return units
