"""Curves of an arm as one band: the mean over its seeds and its interval, along one of four axes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from urlvr_jax.comparing.arms import Arm, Run
from urlvr_jax.measure import collapse
from urlvr_jax.measure.definitions import limits
from urlvr_jax.measure.record import is_number

ALIGNMENTS = {
    "step": "training step",
    "tokens": "million tokens sampled",
    "peak": "steps after the peak",
    "collapse": "steps after the collapse",
}
WORST = "collapse/*"  # the highest of all detectors' scores over their thresholds
NO_DETECTORS = ("collapse/alarm", "collapse/onset", "collapse/reason")
POINTS = 400  # of a curve, at most; more are means of as many bins


class Band(NamedTuple):
    """Along x ascending: the mean over the seeds, and its 95 % interval, NaN where one seed is alone; float32 `[N]` each."""

    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def alarm_of(lines: list[dict]) -> tuple[int, str] | None:
    """When a run's own watch raised its alarm, and by which detector."""
    found = next((line for line in lines if line.get("collapse/alarm")), None)
    return found and (found["step"], str(found.get("collapse/reason", "")))


def alarm_step(run: Run) -> int | None:
    found = alarm_of(run.record.lines)
    return found and found[0]


def collapse_step(run: Run) -> int | None:
    """Where its true reward fell below half the base's, else the alarm; None of a run without either."""
    found = collapse.collapse_step(run.record.lines)
    return alarm_step(run) if found is None else found


def along(run: Run, alignment: str, steps: list[int]) -> np.ndarray | None:
    """Where steps lie on an axis, float64 `[N]`; None of a run without what it is aligned at."""
    steps = np.asarray(steps, np.float64)
    if alignment == "step":
        return steps
    if alignment == "tokens":
        made, tokens = run.record.curve("perf/rollout_tokens")
        return np.interp(steps, [0, *made], [0, *np.cumsum(tokens)]) / 1e6 if made else None
    origin = run.peak if alignment == "peak" else collapse_step(run)
    return None if origin is None else steps - origin


def curve(run: Run, metric: str) -> tuple[list[int], list[float]]:
    """Steps and values of a metric, of WORST, or of one such as eval/heldout/avg@* at the run's own k, in the order of steps."""
    if metric.endswith("@*"):
        names = dict.fromkeys(n for line in run.record.lines for n in line if n.startswith(metric[:-1]))
        metric = next((n for n in names if n[len(metric) - 1 :].isdecimal()), metric)
    if metric != WORST:
        return run.record.curve(metric)
    of = {}
    for line in run.record.lines:
        scores = [
            v
            for n, v in line.items()
            if n.startswith("collapse/") and n not in NO_DETECTORS and is_number(v)
        ]
        if scores:
            of[line["step"]] = max(scores)
    return list(of), list(of.values())


def band(arm: Arm, metric: str, alignment: str = "step", points: int = POINTS) -> Band | None:
    """Of a metric over the runs that have it; None where none does."""
    curves = []
    for run in arm.runs:
        steps, values = curve(run, metric)
        x = along(run, alignment, steps) if steps else None
        if x is not None:
            curves.append((x, np.asarray(values, np.float64)))
    if not curves:
        return None
    x = np.unique(np.concatenate([x for x, _ in curves]))
    if alignment == "tokens" and len(curves) > 1:
        x, table = _between(curves, min(points, max(len(x) for x, _ in curves)))
    elif len(x) > points:
        x, table = _binned(curves, points)
    else:
        table = np.full((len(curves), len(x)), np.nan)
        for row, (at, values) in zip(table, curves, strict=True):
            row[np.searchsorted(x, at)] = values
    return _band(x, table, limits(metric))


def _between(curves: list, points: int) -> tuple[np.ndarray, np.ndarray]:
    """A grid `[N]`, and each curve there `[S, N]`, straight between its points: no two seeds have sampled the same tokens."""
    x = np.linspace(min(x[0] for x, _ in curves), max(x[-1] for x, _ in curves), points)
    return x, np.array([np.interp(x, at, values, np.nan, np.nan) for at, values in curves])


def _binned(curves: list, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Middles of equal bins that are not empty `[N]`, and in each the mean of every curve `[S, N]`."""
    low, high = min(x[0] for x, _ in curves), max(x[-1] for x, _ in curves)
    edges = np.linspace(low, high, bins + 1)
    sums, counts = np.zeros((2, len(curves), bins))
    for i, (x, values) in enumerate(curves):
        at = np.clip(np.searchsorted(edges, x, "right") - 1, 0, bins - 1)
        np.add.at(sums[i], at, values)
        np.add.at(counts[i], at, 1)
    some = counts.any(axis=0)
    with np.errstate(invalid="ignore"):
        return ((edges[:-1] + edges[1:]) / 2)[some], (sums / counts)[:, some]


def _band(x: np.ndarray, table: np.ndarray, ends: tuple[float, float] | None) -> Band:
    """table float64 `[S, N]`, NaN where a seed has no value."""
    known = np.isfinite(table)
    count = known.sum(axis=0)
    mean = np.where(known, table, 0).sum(axis=0) / count
    low = high = np.full(len(x), np.nan)
    if (count > 1).any():
        from scipy.stats import t  # imported late: it takes most of a second

        square = np.where(known, table - mean, 0) ** 2
        freedom = np.maximum(count - 1, 1)
        reach = t.ppf(0.975, freedom) * np.sqrt(square.sum(axis=0) / freedom / count)
        reach = np.where(count > 1, reach, np.nan)
        low, high = mean - reach, mean + reach
        if ends:
            low, high = np.maximum(low, ends[0]), np.minimum(high, ends[1])
    return Band(*(np.asarray(a, np.float32) for a in (x, mean, low, high)))
