"""Rules as data: what a study says of its runs, fixed in a commit, and counted by one function."""

from __future__ import annotations

import dataclasses
import operator
from typing import NamedTuple

from urlvr_jax.measure import drawing
from urlvr_jax.measure.intervals import over_seeds, spread
from urlvr_jax.studies import page

OPERATORS = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt, "is": operator.is_}
STATISTICS = (".mean", ".low", ".high")  # of an interval


def value(line: dict, path: str):
    """What stands in a line of findings under "held_out.rise.low" or "length.0"."""
    found = line
    for name in path.split("."):
        found = found[int(name)] if isinstance(found, list) else found[name]
    return found


class Need(NamedTuple):
    """A condition on one line of findings, or on the difference of two groups of lines."""

    path: str
    op: str  # of OPERATORS
    threshold: float | None
    times: str = ""  # a path: the threshold is so many times what stands there

    def met(self, line: dict) -> bool:
        unit = value(line, self.times) if self.times else None
        threshold = self.threshold if unit is None else self.threshold * unit
        return OPERATORS[self.op](value(line, self.path), threshold)


@dataclasses.dataclass(frozen=True, eq=False)
class Rule:
    """What should hold of the runs that `where` names.

    Without `against` each run is judged, and meets all of `needs` or not. With it the one need is of the mean, over
    seeds, of these runs' value minus that of the runs of `against` with the same seed.
    """

    text: str
    where: dict[str, object]  # {key of a line: value}
    needs: tuple[Need, ...]
    fixed_in: str  # the commit that first had this text and these thresholds
    against: dict[str, object] | None = None


class Verdict(NamedTuple):
    """What the runs say to a rule."""

    measured: str  # of its first need
    holds: str


def verdict(rule: Rule, lines: list[dict]) -> Verdict:
    """Computed from the lines of findings, nothing else."""
    runs = _those(lines, rule.where)
    shown = rule.needs[0].path
    if rule.against is None:
        met = [all(need.met(run) for need in rule.needs) for run in runs]
        return Verdict(_measured(runs, shown), f"{sum(met)} of {len(met)} seeds")
    (need,) = rule.needs
    others = {run["seed"]: run for run in _those(lines, rule.against)}
    differences = [value(r, shown) - value(others[r["seed"]], shown) for r in runs if r["seed"] in others]
    if len(differences) < 2:
        return Verdict("-", "too few seeds")
    difference = over_seeds(differences)
    return Verdict(str(difference), "yes" if OPERATORS[need.op](difference.mean, need.threshold) else "no")


def verdict_table(rules: tuple[Rule, ...], lines: list[dict]) -> str:
    """Each rule, the runs it is about, and its verdict."""
    rows = [
        (
            rule.text,
            ", ".join(map(drawing.number, rule.where.values())),
            *verdict(rule, lines),
            f"`{rule.fixed_in}`",
        )
        for rule in rules
    ]
    return page.table(("finding", "runs", "measured", "holds", "fixed in"), rows)


def _those(lines: list[dict], where: dict[str, object]) -> list[dict]:
    return [line for line in lines if all(line[key] == wanted for key, wanted in where.items())]


def _measured(runs: list[dict], path: str) -> str:
    """The intervals of the runs where the path is a statistic of one, else the values' median and range."""
    of_interval, dot, _ = path.rpartition(".")
    if path.endswith(STATISTICS):
        return page.intervals([value(run, of_interval) for run in runs])
    return spread([value(run, path) for run in runs])
