"""What a finding is, and how its verdict is computed."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import math
import operator
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from urlvr_jax.measure.intervals import Difference, over_seeds, resampled
from urlvr_jax.studies.cell import Cell

HOLDS, FAILS, OPEN = "holds", "fails", "not decided with these seeds"
OPERATORS = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}

Runs = dict[str, dict]  # {arm: its line}, of one seed


class Arm(NamedTuple):
    """Runs that differ by their seed alone."""

    experiment: str
    overrides: dict[str, object] = {}
    curves: tuple[
        str, ...
    ] = ()  # that its lines must have: keys of watching alone are not in a configuration's hash


@dataclasses.dataclass(frozen=True)
class Rule:
    """A condition on one number a seed.

    With `null`, the value of no effect, it holds where the mean over the seeds meets the threshold and the 95 % interval
    excludes the null; without, where the whole interval meets the threshold. It fails where the whole interval misses
    the threshold. measure: the arms' lines of one seed -> a number, NaN where the runs cannot say.

    A pooled rule's number is that of several seeds together, such as a rank correlation of means over seeds: its measure
    takes a list, the arms' lines of each, and its interval is of seeds drawn again from the seeds there are.
    """

    text: str
    measure: Callable[[Runs], float] | Callable[[list[Runs]], float]
    op: str
    threshold: float
    null: float | None = None
    pooled: bool = False

    def digest(self) -> str:
        """Of all that decides."""
        text = f"{self.text}|{inspect.getsource(self.measure)}|{self.op}|{self.threshold}"
        text += "" if self.null is None else f"|{self.null}"
        text += "|pooled" if self.pooled else ""
        return hashlib.sha256(text.encode()).hexdigest()


class Outcome(NamedTuple):
    """What the runs say to one rule."""

    rule: Rule
    values: list[float]  # one a seed; a pooled rule's are of each seed alone
    interval: Difference | None  # over the seeds; None with fewer than two, or where a run cannot say
    verdict: str
    strict: str  # the verdict without the rule's `null`
    why: str = ""  # a run lacks what the rule reads

    @property
    def measured(self) -> str:
        if self.why:
            return self.why
        said = lambda v: f"{round(v, 4) + 0.0:.3g}"
        if self.interval:
            return f"{said(self.interval.mean)} [{said(self.interval.low)}, {said(self.interval.high)}]"
        return ", ".join(map(said, self.values)) or "no runs"


@dataclasses.dataclass(frozen=True, eq=False)
class Finding:
    """A claim of the paper as a study in the laboratory, and at the paper's own scale."""

    name: str  # F1
    title: str
    brief: tuple[str, str]  # the paper's number, and ours, where {1} is what rule 1 measured
    claim: str  # in our own words
    paper: str  # the paper's setting and numbers
    setting: str  # the laboratory's, and why it is a fair one
    arms: dict[str, Arm]
    rules: tuple[Rule, ...]
    panels: tuple[tuple[str, str], ...] = (("eval_avg", "held-out accuracy"),)  # (curve, label)
    at_scale: dict[str, Arm] = dataclasses.field(
        default_factory=dict
    )  # the paper's models, data and lengths
    notes: str = ""  # what was seen beside the rules, and what was tried
    first_seed: int = 0  # seeds are counted from here: those before it chose the setting or a definition
    earlier: Finding | None = None  # the attempt before this one, its own arms, setting and rules

    def seeds(self, asked) -> tuple[int, ...]:
        """Of the seeds that are asked for, 0 and up, those that decide."""
        return tuple(self.first_seed + seed for seed in asked)

    @functools.cache  # noqa: B019  there are fourteen, and they stay
    def cell(self, name: str, seed: int) -> Cell:
        """Of an arm and a seed."""
        arm = self.arms[name]
        return Cell(arm.experiment, seed, arm.overrides, {"finding": self.name, "arm": name})

    def cells(self, seeds) -> list[Cell]:
        return [self.cell(name, seed) for name in self.arms for seed in seeds]

    def digest(self) -> str:
        """Of the rules; a line keeps it, so that a rule changed after its runs is seen."""
        return hashlib.sha256("".join(rule.digest() for rule in self.rules).encode()).hexdigest()[:8]


class LackingError(Exception):
    """A run's line lacks what a rule reads; the message says which run, and what."""


class Line(dict):
    """A run's line as rules read it: what it lacks is said by name."""

    def __init__(self, values: dict, of: str = ""):
        super().__init__(values)
        self.of = of or " ".join(str(values.get(name)) for name in ("finding", "arm", "seed"))
        self._known: dict[Callable, object] = {}

    def __getitem__(self, key):
        value = self.get(key)
        if value is None and key != "mcs":  # which is None of a run that never collapsed
            raise LackingError(f"no {key!r} in {self.of}")
        return Line(value, self.of) if isinstance(value, dict) else value

    def once(self, what: Callable):
        """what(self), computed once: seeds are drawn again a thousand times, and each has the same numbers."""
        if what not in self._known:
            self._known[what] = what(self)
        return self._known[what]


def outcome(rule: Rule, by_seed: dict[int, Runs]) -> Outcome:
    """Of the seeds whose runs are all there. A number that is not finite in any of them decides nothing."""
    nothing = lambda values, why="": Outcome(rule, values, None, OPEN, OPEN, why)
    one = (lambda runs: rule.measure([runs])) if rule.pooled else rule.measure
    try:
        values = [float(one(runs)) for runs in by_seed.values()]
    except (LackingError, LookupError, StopIteration, ValueError) as lacking:  # a curve cut short, say
        return nothing([], f"a run lacks what is asked: {str(lacking) or type(lacking).__name__}")
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return nothing(values)
    interval = resampled(rule.measure, list(by_seed.values())) if rule.pooled else over_seeds(values)
    meets = OPERATORS[rule.op]
    nearest, farthest = sorted((interval.low, interval.high), reverse=rule.op.startswith("<"))
    strict = HOLDS if meets(nearest, rule.threshold) else OPEN if meets(farthest, rule.threshold) else FAILS
    found = strict
    if strict == OPEN and rule.null is not None and meets(interval.mean, rule.threshold):
        found = HOLDS if OPERATORS[rule.op[0]](nearest, rule.null) else OPEN
    return Outcome(rule, values, interval, found, strict)


def verdict(outcomes: list[Outcome]) -> str:
    """Fails if any rule fails, holds if all hold."""
    said = [o.verdict for o in outcomes]
    return FAILS if FAILS in said else HOLDS if said and set(said) == {HOLDS} else OPEN


# ---- numbers of a line ------------------------------------------------------------------------------


def curve(line: dict, name: str, first: int = 1, last: int | None = None) -> np.ndarray:
    """Values of a curve at steps first..last, counted from 1, NaN where there is none."""
    if name not in line.get("curves", {}):
        raise LackingError(f"no curve {name!r} in {Line(line).of}")
    values = np.array([math.nan if v is None else v for v in line["curves"][name]], float)
    return values[first - 1 : last]


def early(line: dict, name: str, steps: int = 5) -> float:
    """Mean over the first steps."""
    return float(np.nanmean(curve(line, name, 1, steps)))


def late(line: dict, name: str, steps: int = 10) -> float:
    """Mean over the last steps."""
    return float(np.nanmean(curve(line, name)[-steps:]))


def near(line: dict, name: str, step: int, reach: int = 5) -> float:
    """Mean over the steps around one."""
    return float(np.nanmean(curve(line, name, max(1, step - reach), step + reach)))


def held_out(line: dict, step: int) -> float:
    """Held-out accuracy at an evaluated step, of the first question file."""
    found = next(iter(line["sets"].values()))
    return found["avg"][found["steps"].index(step)]
