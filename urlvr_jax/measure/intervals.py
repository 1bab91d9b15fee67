"""Intervals and correlations: how sure a number is. No JAX."""

from __future__ import annotations

import dataclasses

import numpy as np

BOOTSTRAP_DRAWS = 1000
INTERVAL = (2.5, 97.5)  # per cent


@dataclasses.dataclass(frozen=True)
class Difference:
    """A mean difference over questions with its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self):
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def paired(a: np.ndarray, b: np.ndarray) -> Difference:
    """a - b by question, `[Q]` each."""
    difference = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    return Difference(float(difference.mean()), *bootstrap_interval(difference))


def bootstrap_interval(per_question: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the mean, resampling questions (the unit that generalises)."""
    values = np.asarray(per_question, np.float64)
    rng = np.random.default_rng((seed, len(values)))
    picks = rng.integers(0, len(values), (BOOTSTRAP_DRAWS, len(values)))
    low, high = np.percentile(values[picks].mean(axis=1), INTERVAL)
    return float(low), float(high)


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Spearman's coefficient of two `[n]`, average ranks for ties; None where either is constant."""
    if np.min(a) == np.max(a) or np.min(b) == np.max(b):
        return None
    from scipy import stats  # imported late: it takes most of a second

    return float(stats.spearmanr(a, b).statistic)


def over_seeds(values) -> Difference:
    """Mean of one number a seed, with the 95 % interval of Student's t; at least two seeds."""
    values = np.asarray(values, np.float64)
    if len(values) < 2:
        raise ValueError(f"an interval over seeds needs at least two, has {len(values)}")
    from scipy import stats

    reach = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return Difference(float(values.mean()), float(values.mean() - reach), float(values.mean() + reach))


def spread(values: list) -> str:
    """Median and range over seeds; 'never' counts as later than any step."""
    if all(v is None for v in values):
        return "never"
    if any(v is None for v in values):
        return " ".join("never" if v is None else str(v) for v in values)
    if all(isinstance(v, int) for v in values):
        return " ".join(map(str, values))
    middle = sorted(values)[len(values) // 2]
    return f"{middle:.2f} ({min(values):.2f}–{max(values):.2f})"
