"""Numbers over several question sets and seeds, and of sampling alone, as reports of the field give them.

Interquartile mean, stratified bootstrap and probability of improvement: Agarwal et al. 2021, 'Deep RL at the Edge of
the Statistical Precipice', and its library rliable, archived in 2025. Bayes@N: arXiv 2510.04265. pass@k: Chen et al.
2021, 'Evaluating Large Language Models Trained on Code'.

    M  question sets
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from urlvr_jax.errors import UserError
from urlvr_jax.measure.intervals import Difference

DRAWS = 2000
FEWEST = (
    5  # seeds of an arm from which a bootstrap over them is given: of three it covers far less than 95 %
)


def pass_at(correct: np.ndarray, samples: int, k: int) -> np.ndarray:
    """The chance that one of k responses is right, unbiased, float64 `[...]`; correct: how many of `samples` are.

    UserError where k is more than the samples: the estimate would be a guess.
    """
    if not 1 <= k <= samples:
        raise UserError(
            f"pass@{k} needs {k} responses a question, there are {samples}: sample more, by eval.k"
        )
    wrong = samples - np.asarray(correct, np.float64)
    drawn = np.arange(k)  # C(wrong, k) / C(samples, k), as a product
    missed = np.prod(np.clip(wrong[..., None] - drawn, 0, None) / (samples - drawn), axis=-1)
    return 1 - missed


def bayes_at(correct: np.ndarray, samples: int) -> tuple[float, float]:
    """Bayes@N of questions `[Q]`, N = samples: mean and standard deviation of the posterior, by sampling alone.

    A flat prior on each question's accuracy; questions and training are taken as they are.
    """
    share = (np.asarray(correct, np.float64) + 1) / (samples + 2)
    variance = share * (1 - share) / (samples + 3)
    return float(share.mean()), float(np.sqrt(variance.sum()) / len(share))


def interquartile_mean(scores: np.ndarray) -> float:
    """The mean of the middle half of runs' scores on all sets, `[S, M]` taken together."""
    ordered = np.sort(scores, axis=None)
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def probability_of_improvement(a: np.ndarray, b: np.ndarray) -> float:
    """The chance that a run of a is above a run of b on a set drawn at random, ties half; `[S, M]` each."""
    above = np.sign(a[:, None] - b[None]) / 2 + 0.5
    return float(above.mean())


def bootstrapped(measure: Callable[..., float], *arms: np.ndarray, draws: int = DRAWS) -> Difference | None:
    """A number of arms `[S, M]` with the 95 % percentile interval of the stratified bootstrap.

    Within each set the seeds are drawn again, each set for itself. None where an arm has fewer than FEWEST seeds.
    """
    if min(len(arm) for arm in arms) < FEWEST:
        return None
    rng = np.random.default_rng(0)
    again = lambda arm: np.take_along_axis(arm, rng.integers(len(arm), size=arm.shape), axis=0)
    drawn = [measure(*map(again, arms)) for _ in range(draws)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Difference(measure(*arms), float(low), float(high))
