"""Intervals against Beta quantiles, and how often they hold the truth."""

import numpy as np
import pytest
from scipy import stats

from urlvr_jax.measure import intervals


@pytest.mark.parametrize("count, right", [(30, 0), (30, 1), (30, 15), (83, 81), (600, 12)])
def test_the_interval_of_right_and_wrong_has_ends_of_two_beta_quantiles(count, right):
    low, high = intervals.mean_interval(np.arange(count) < right)
    wrong = count - right
    want_low = stats.beta.ppf(0.025, right + 0.25, wrong + 0.75)
    want_high = stats.beta.ppf(0.975, right + 0.75, wrong + 0.25)
    np.testing.assert_allclose((low, high), (min(want_low, right / count), want_high), rtol=1e-9)


def test_all_right_and_all_wrong_leave_doubt():
    low, high = intervals.mean_interval(np.ones(30))
    assert 0.85 < low < 0.95 and high == 1
    low, high = intervals.mean_interval(np.zeros(30))
    assert low == 0 and 0.05 < high < 0.15
    same = intervals.paired(np.full(30, 0.5), np.full(30, 0.5))
    assert same.mean == 0 and -0.15 < same.low < -0.05 and 0.05 < same.high < 0.15


def test_an_interval_is_a_function_of_its_values_and_turns_with_their_sign():
    values = np.array([0, 1, 1, 0.5])
    assert intervals.mean_interval(values) == intervals.mean_interval(values.copy())
    low, high = intervals.mean_interval(values - 0.5, -1, 1)
    turned = intervals.mean_interval(0.5 - values, -1, 1)
    np.testing.assert_allclose(turned, (-high, -low), atol=1e-12)
    rows = intervals.mean_interval(np.stack([values, 1 - values]))
    np.testing.assert_allclose(np.array(rows)[:, 0], intervals.mean_interval(values))


def covered(values, truth, least=0.0):
    low, high = intervals.mean_interval(values, least)
    return np.mean((low <= truth) & (truth <= high))


@pytest.mark.parametrize("accuracy", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("count", [30, 83, 150])
def test_intervals_hold_the_truth_as_often_as_they_say(accuracy, count):
    """`benchmarks/checks/coverage.py` has more cells. Questions differ: their accuracy is a Beta variable."""
    rng = np.random.default_rng(count)
    p = rng.beta(2 * accuracy, 2 * (1 - accuracy), (600, count))
    eight = rng.binomial(8, p)
    assert covered(rng.random(p.shape) < p, accuracy) >= 0.93
    assert covered(eight / 8, accuracy) >= 0.93
    assert covered((rng.binomial(8, p) - eight) / 8, 0, -1.0) >= 0.93


def test_intervals_are_no_wider_than_many_questions_need():
    right = np.arange(600) < 300
    low, high = intervals.mean_interval(right)
    np.testing.assert_allclose(high - low, 2 * 1.96 * np.sqrt(0.25 / 600), rtol=0.06)
