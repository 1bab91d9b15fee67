"""The difference of two arms: its interval over questions and training seeds, a verdict, and what would decide.

Questions are paired, since all arms are asked the same ones; a seed is another draw of training. Both parts of an
interval are half widths, joined as the root of the sum of their squares: the seeds' part holds some of the
questions' again, so it covers 95 % or more. With one seed nothing is known of the next one, and no verdict is given.
"""

from __future__ import annotations

import bisect
import math
from typing import NamedTuple

import numpy as np

from urlvr_jax.measure.intervals import Difference, paired

BETTER, WORSE = "better", "worse"
HIGHER, LOWER = "higher", "lower"
NOT_SHOWN, ONE_SEED = "no difference shown", "one seed"
MOST_SEEDS = 1000  # more than these would not be made to decide a comparison


class Compared(NamedTuple):
    """a - b of two arms."""

    a: float
    b: float
    difference: Difference
    verdict: str
    seeds: (
        int | None
    )  # an arm that would decide it at these means and spreads; None where none or it is decided
    questions: int | None  # likewise, where seeds alone would not


def of_questions(a: np.ndarray, b: np.ndarray) -> Compared:
    """Of scores between 0 and 1, `[S, Q]` each, of the same questions. ValueError where these differ in number."""
    a, b = (np.asarray(x, np.float64) for x in (a, b))
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"paired by question: {a.shape[1]} questions against {b.shape[1]}")
    asked = paired(a.mean(axis=0), b.mean(axis=0))
    seeds = Spread.of(a.mean(axis=1), b.mean(axis=1))
    difference = _joined(asked, seeds.half() if seeds else 0.0)
    if seeds is None:
        return Compared(a.mean(), b.mean(), difference, ONE_SEED, None, None)
    verdict = _verdict(difference, BETTER, WORSE)
    wanted, questions = None, None
    if verdict == NOT_SHOWN and difference.mean:
        toward_zero = asked.mean - asked.low if asked.mean > 0 else asked.high - asked.mean
        wanted = seeds.wanted(abs(asked.mean), toward_zero)
        if wanted is None:  # their interval shrinks with the root of their number
            questions = math.ceil(a.shape[1] * (1.1 * toward_zero / asked.mean) ** 2)
    return Compared(a.mean(), b.mean(), difference, verdict, wanted, questions)


def of_numbers(a, b) -> Compared:
    """Of one number a seed, `[S]` each: of what has no direction that is good."""
    a, b = (np.asarray(x, np.float64) for x in (a, b))
    mean = float(a.mean() - b.mean())
    seeds = Spread.of(a, b)
    if seeds is None:
        return Compared(a.mean(), b.mean(), Difference(mean, math.nan, math.nan), ONE_SEED, None, None)
    half = seeds.half()
    if not half:  # all seeds alike say nothing of how far apart they could be
        return Compared(a.mean(), b.mean(), Difference(mean, math.nan, math.nan), NOT_SHOWN, None, None)
    difference = Difference(mean, mean - half, mean + half)
    verdict = _verdict(difference, HIGHER, LOWER)
    wanted = seeds.wanted(abs(mean), 0.0) if verdict == NOT_SHOWN and mean else None
    return Compared(a.mean(), b.mean(), difference, verdict, wanted, None)


class Spread(NamedTuple):
    """Of the seeds of two arms: the variance of each, and how many there are."""

    variances: tuple[float, float]
    counts: tuple[int, int]

    @classmethod
    def of(cls, a: np.ndarray, b: np.ndarray) -> Spread | None:
        """From one number a seed; None where an arm has a single one."""
        if min(len(a), len(b)) < 2:
            return None
        return cls((float(a.var(ddof=1)), float(b.var(ddof=1))), (len(a), len(b)))

    def half(self) -> float:
        """Half the 95 % interval of the difference of means by Welch's t.

        Seeds are not paired: what two arms share of a seed (prompts and their order) makes differences smaller, if
        anything, and pairs of three seeds would have half the degrees of freedom.
        """
        from scipy.stats import t  # imported late: it takes most of a second

        shares = [v / n for v, n in zip(self.variances, self.counts, strict=True)]
        if not sum(shares):
            return 0.0
        freedom = sum(shares) ** 2 / sum(s**2 / (n - 1) for s, n in zip(shares, self.counts, strict=True))
        return float(t.ppf(0.975, freedom)) * math.sqrt(sum(shares))

    def wanted(self, mean: float, beside: float) -> int | None:
        """The fewest seeds an arm whose interval, joined with a half width `beside`, would leave out 0; None if no number."""
        if mean <= beside:
            return None
        first = max(self.counts) + 1
        enough = lambda n: math.hypot(self._replace(counts=(n, n)).half(), beside) < mean
        found = first + bisect.bisect_left(range(first, MOST_SEEDS + 1), True, key=enough)
        return found if found <= MOST_SEEDS else None


def _joined(asked: Difference, half: float) -> Difference:
    low = asked.mean - math.hypot(asked.mean - asked.low, half)
    high = asked.mean + math.hypot(asked.high - asked.mean, half)
    return Difference(asked.mean, max(low, -1.0), min(high, 1.0))


def _verdict(difference: Difference, above: str, below: str) -> str:
    return above if difference.low > 0 else below if difference.high < 0 else NOT_SHOWN
