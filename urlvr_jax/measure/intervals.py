"""Intervals and correlations: how sure a number is. No JAX."""

from __future__ import annotations

import dataclasses

import numpy as np

# A question nobody asked: so much of it at the near end of the range, so much at the far end. Halfway between Jeffreys'
# prior (0.5, 0.5), which covers 88 % at worst, and Clopper and Pearson's ends (1, 0).
NEAR, FAR = 0.75, 0.25


@dataclasses.dataclass(frozen=True)
class Difference:
    """A mean difference over questions with its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self):
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def paired(a: np.ndarray, b: np.ndarray) -> Difference:
    """a - b by question, shares `[Q]` each."""
    difference = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    low, high = mean_interval(difference, -1.0, 1.0)
    return Difference(float(difference.mean()), float(low), float(high))


def mean_interval(per_question: np.ndarray, least: float = 0.0, most: float = 1.0) -> tuple:
    """95 % interval of the mean of values between `least` and `most`, `[..., Q]` -> two `[...]`.

    The Bayesian bootstrap over questions, the unit that generalises (Rubin 1981), with one more question: for the
    low end NEAR of it has the value `least` and FAR the value `most`, for the high end the other way round. The
    posterior of the mean is taken to be the Beta distribution of its mean and variance. Of values 0 and 1 it is that
    exactly: Beta(right + FAR, wrong + NEAR) and Beta(right + NEAR, wrong + FAR). The width is never 0, and the mean
    lies within. Where few questions differ from the rest it covers more than 95 %.
    """
    shares = (np.asarray(per_question, np.float64) - least) / (most - least)
    mean = shares.mean(axis=-1)
    low = np.minimum(_posterior_quantile(shares, FAR, 0.025), mean)
    high = np.maximum(_posterior_quantile(shares, NEAR, 0.975), mean)
    return least + (most - least) * low, least + (most - least) * high


def _posterior_quantile(shares: np.ndarray, right: float, quantile: float):
    """Of the mean of shares `[..., Q]` and of one more question, `right` of which is 1 and the rest 0."""
    from scipy.special import betaincinv  # imported late: it takes most of a second

    count = shares.shape[-1] + 1
    mean = (shares.sum(axis=-1) + right) / count
    square = ((shares**2).sum(axis=-1) + right) / count
    size = mean * (1 - mean) * (count + 1) / (square - mean**2) - 1
    return betaincinv(mean * size, (1 - mean) * size, quantile)


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Spearman's coefficient of two `[n]`, average ranks for ties; None where either is constant."""
    if np.min(a) == np.max(a) or np.min(b) == np.max(b):
        return None
    return float(np.corrcoef(_average_ranks(a), _average_ranks(b))[0, 1])


def _average_ranks(values: np.ndarray) -> np.ndarray:
    """Of `[n]`; equal values share the mean of their ranks. As scipy.stats.rankdata, whose import takes a second."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]


def over_seeds(values) -> Difference:
    """Mean of one number a seed, with the 95 % interval of Student's t; at least two seeds."""
    values = np.asarray(values, np.float64)
    if len(values) < 2:
        raise ValueError(f"an interval over seeds needs at least two, has {len(values)}")
    from scipy import stats

    reach = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return Difference(float(values.mean()), float(values.mean() - reach), float(values.mean() + reach))


def resampled(measure, seeds: list, draws: int = 1000) -> Difference:
    """A number of several seeds together, with the 95 % interval of the percentile bootstrap over them.

    measure: a list of what is known of each seed -> a finite number.
    """
    picks = np.sort(np.random.default_rng(0).integers(len(seeds), size=(draws, len(seeds))), axis=1)
    kinds, kind_of = np.unique(picks, axis=0, return_inverse=True)
    drawn = np.array([measure([seeds[i] for i in kind]) for kind in kinds])[kind_of.reshape(-1)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Difference(float(measure(seeds)), float(low), float(high))


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
