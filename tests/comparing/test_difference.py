"""Differences of arms: what is claimed where there is none, what decides, and the numbers over sets."""

import math

import numpy as np
import pytest

from urlvr_jax.comparing import aggregates
from urlvr_jax.comparing.difference import (
    BETTER,
    HIGHER,
    NOT_SHOWN,
    ONE_SEED,
    WORSE,
    of_numbers,
    of_questions,
)
from urlvr_jax.errors import UserError

K = 8


def simulated(rng, seeds, questions, accuracy, seed_spread, shift=0.0):
    """Shares of K right responses `[S, Q]`: questions differ in how hard they are, seeds shift all, each a question a little.

    Questions are drawn by a generator of their own, so that the next arm is asked the same ones.
    """
    easy = np.random.default_rng(rng.integers(2**31)).normal(0, 1.5, questions)

    def arm(shift):
        moved = rng.normal(0, seed_spread, (seeds, 1)) + rng.normal(0, 0.3, (seeds, questions)) + shift
        p = 1 / (1 + np.exp(-(math.log(accuracy / (1 - accuracy)) + easy + moved)))
        return rng.binomial(K, p) / K

    return arm(shift), arm(0.0)


def test_of_1000_pairs_without_a_difference_at_most_one_in_twenty_is_claimed():
    rng = np.random.default_rng(7)
    claimed = 0
    for _ in range(28):  # of each of 36 kinds
        for seeds, questions in ((2, 30), (3, 83), (5, 30), (3, 600)):
            for accuracy in (0.02, 0.5, 0.98):
                for seed_spread in (0.0, 0.1, 0.4):
                    found = of_questions(*simulated(rng, seeds, questions, accuracy, seed_spread))
                    assert found.difference.low <= found.difference.mean <= found.difference.high
                    claimed += found.verdict != NOT_SHOWN
    assert claimed <= 0.05 * 1008


def test_where_training_seeds_scatter_most_one_in_twenty_is_claimed():
    """Welch's interval alone then decides: of 400 pairs 20 are expected, and 35 are one chance in 1,000."""
    rng = np.random.default_rng(11)
    found = [of_questions(*simulated(rng, 3, 200, 0.5, 1.0)) for _ in range(400)]
    assert sum(c.verdict != NOT_SHOWN for c in found) < 35


def test_a_known_difference_is_found_more_often_the_more_seeds_there_are():
    rng = np.random.default_rng(3)
    power = []
    for seeds in (2, 3, 5, 8):
        found = [of_questions(*simulated(rng, seeds, 200, 0.5, 0.1, 0.4)) for _ in range(100)]
        assert not any(c.verdict == WORSE for c in found)
        power.append(np.mean([c.verdict == BETTER for c in found]))
    np.testing.assert_allclose(power, [0.2, 0.67, 0.98, 1.0], atol=0.06)  # as docs/report.md says


def test_one_seed_ranks_nothing_however_far_apart():
    right, wrong = np.ones((1, 50)), np.zeros((3, 50))
    assert of_questions(right, wrong).verdict == ONE_SEED
    assert of_numbers([5.0], [1.0, 1.1, 1.2]).verdict == ONE_SEED
    assert of_questions(right, wrong).difference.low > 0.8, "of these two runs the interval is told"


def test_the_seeds_said_to_decide_would():
    rng = np.random.default_rng(0)
    a, b = simulated(rng, 3, 600, 0.5, 0.3, 0.25)
    found = of_questions(a, b)
    assert found.verdict == NOT_SHOWN and 3 < found.seeds < 100
    # The same means and spreads with so many seeds: each arm's seeds stand at their mean, one spread above and below.
    spread = lambda x: x.mean(axis=1).std(ddof=1)

    def repeated(x, n):
        signs = np.resize([1.0, -1.0], n) if n % 2 == 0 else np.r_[np.resize([1.0, -1.0], n - 1), 0.0]
        signs *= spread(x) / signs.std(ddof=1)
        return x.mean(axis=0) + signs[:, None]

    decided = lambda n: of_questions(repeated(a, n), repeated(b, n)).verdict != NOT_SHOWN
    assert decided(found.seeds) and not decided(found.seeds - 1)


def test_where_questions_are_too_few_no_number_of_seeds_is_named():
    rng = np.random.default_rng(1)
    a = np.tile(rng.random(20), (3, 1))
    b = np.clip(a + rng.normal(0, 0.2, 20) - 0.02, 0, 1)
    found = of_questions(a, b)
    assert found.verdict == NOT_SHOWN and found.seeds is None and found.questions > 20


def test_numbers_of_seeds_are_told_apart_as_welch_does():
    from scipy import stats

    a, b = np.array([3.1, 3.3, 2.9, 3.2]), np.array([1.0, 1.9, 1.2])
    found = of_numbers(a, b)
    theirs = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    np.testing.assert_allclose([found.difference.low, found.difference.high], theirs, rtol=1e-12)
    assert found.verdict == HIGHER and of_numbers(b, a).verdict == "lower"
    assert of_numbers(a, a + 0.01).verdict == NOT_SHOWN


def test_other_questions_are_not_compared():
    with pytest.raises(ValueError, match="20 questions against 21"):
        of_questions(np.ones((2, 20)), np.ones((2, 21)))


# ---- numbers over sets, and of sampling ------------------------------------------------------


def test_pass_at_k_is_the_mean_over_all_choices_of_k_responses():
    from itertools import combinations

    for samples in (1, 4, 6):
        for right in range(samples + 1):
            marks = [1] * right + [0] * (samples - right)
            for k in range(1, samples + 1):
                exact = np.mean([max(chosen) for chosen in combinations(marks, k)])
                assert aggregates.pass_at(np.array(right), samples, k) == pytest.approx(exact)


def test_pass_at_more_than_the_samples_is_refused():
    with pytest.raises(
        UserError, match=r"pass@9 needs 9 responses a question, there are 8: sample more, by eval.k"
    ):
        aggregates.pass_at(np.array([3]), 8, 9)


def test_bayes_at_n_is_the_mean_of_beta_posteriors():
    from scipy import stats

    correct = np.array([0, 3, 8, 8])
    each = [stats.beta(1 + c, 1 + 8 - c) for c in correct]
    mean, deviation = aggregates.bayes_at(correct, 8)
    assert mean == pytest.approx(np.mean([b.mean() for b in each]))
    assert deviation == pytest.approx(np.sqrt(sum(b.var() for b in each)) / 4)


def test_the_interquartile_mean_and_the_chance_of_improvement_are_those_of_their_paper():
    from scipy import stats

    rng = np.random.default_rng(0)
    a, b = rng.random((5, 4)) + 0.2, rng.random((6, 4))
    assert aggregates.interquartile_mean(a) == pytest.approx(stats.trim_mean(a, 0.25, axis=None))
    chance = np.mean([stats.mannwhitneyu(a[:, m], b[:, m]).statistic / 30 for m in range(4)])
    assert aggregates.probability_of_improvement(a, b) == pytest.approx(chance)
    assert aggregates.probability_of_improvement(a, a) == pytest.approx(0.5)


def test_the_stratified_bootstrap_covers_and_is_not_given_of_few_seeds():
    middle = aggregates.interquartile_mean
    rng = np.random.default_rng(5)
    covered = []
    for _ in range(60):
        found = aggregates.bootstrapped(middle, rng.normal(0.5, 0.1, (10, 3)), draws=200)
        covered.append(found.low <= 0.5 <= found.high)
    assert np.mean(covered) >= 0.85
    assert aggregates.bootstrapped(middle, np.ones((4, 3))) is None
