"""A finding's runs at the paper's own scale: checked without weights or data, and priced."""

from __future__ import annotations

from typing import NamedTuple

from urlvr_jax import config as config_lib
from urlvr_jax import devices, validation
from urlvr_jax.errors import UserError
from urlvr_jax.findings.finding import Finding
from urlvr_jax.planning.machines import Machine
from urlvr_jax.planning.memory import open_model
from urlvr_jax.planning.meshes import meshes
from urlvr_jax.planning.seconds import MEAN_LENGTH
from urlvr_jax.studies import page
from urlvr_jax.studies.cell import Cell


class Price(NamedTuple):
    """Of one run."""

    tokens: float  # sampled in training
    hours: float  # of one device, by `plan`: training alone, on the mesh it holds quickest
    problem: str  # why it cannot run there, "" if it can


def price(c, machine: Machine) -> Price:
    """By the assumed mean length, a share of max_new_tokens; ConfigError where the configuration cannot work."""
    c, _ = devices.settle(c, machine.devices)
    validation.validate(c, machine.devices, machine.chip.platform)
    tokens = c.steps * config_lib.rows_per_step(c) * MEAN_LENGTH * c.rollout.max_new_tokens
    try:
        choices = meshes(c, open_model(c), machine)
    except UserError as error:
        return Price(tokens, float("nan"), str(error))
    if not choices:
        return Price(tokens, float("nan"), "no mesh fits")
    seconds = sum(choices[0].seconds.values())
    return Price(tokens, c.steps * seconds * machine.devices / 3600, "")


def table(finding: Finding, seeds, machine: Machine) -> str:
    """A row a run, over its seeds; the sum last."""
    if not finding.at_scale:
        return f"{finding.name}: the paper has no run of it that stands in `experiments/paper`\n"
    rows, total = [], [0.0, 0.0]
    for name, arm in finding.at_scale.items():
        found = price(Cell(arm.experiment, seeds[0], arm.overrides).config, machine)
        keys = " ".join(f"{key}={value}" for key, value in arm.overrides.items())
        cost = found.problem or f"{found.hours * len(seeds):,.0f}"
        rows.append((name, f"{arm.experiment} {keys}", f"{found.tokens * len(seeds) / 1e9:.2f}", cost))
        total[0] += found.tokens * len(seeds) / 1e9
        total[1] += 0.0 if found.problem else found.hours * len(seeds)
    rows.append(("all", f"{len(seeds)} seeds each", f"{total[0]:.2f}", f"{total[1]:,.0f}"))
    return page.table(("run", "experiment", "10⁹ tokens", f"device hours, {machine.name}"), rows)
