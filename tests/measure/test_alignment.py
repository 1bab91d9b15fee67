"""Alignment of rewards with being right: numbers worked out by hand, by enumeration, and under chance."""

import itertools

import numpy as np
import pytest

from urlvr_jax.learning.advantages import GROUP_ESTIMATORS
from urlvr_jax.measure import alignment


def drawn(questions=200, group=8, seed=0):
    """Which responses are right, questions of every difficulty: bool `[Q, G]`."""
    rng = np.random.default_rng(seed)
    return rng.random((questions, group)) < rng.beta(1, 1, (questions, 1)), rng


def grpo(rewards):
    return np.asarray(GROUP_ESTIMATORS["grpo"](np.asarray(rewards, np.float32)))


def of(rewards, correct):
    return alignment.of_reward(rewards, grpo(rewards), correct)


# ---- one reward -----------------------------------------------------------------------------


def test_the_rank_agreement_of_a_question_by_hand():
    correct = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1], [1, 0, 1, 0]], bool)
    rewards = np.array([[4, 1, 3, 1], [2, 2, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4], [0, 0, 0, 0]], float)
    each = alignment.aucs(rewards, correct)
    # Pairs 4>3, 4>1, 1<3, 1=1; then 2=2, 2=2, 2<3; two questions without pairs; nothing but ties.
    np.testing.assert_allclose(each, [2.5 / 4, 1 / 3, np.nan, np.nan, 1 / 2])
    found = of(rewards, correct)
    assert found["auc/questions"] == 3 and found["auc"] == pytest.approx((2.5 / 4 + 1 / 3 + 1 / 2) / 3)


def test_the_highest_paid_response_is_shared_where_several_tie():
    correct = np.array([[1, 0, 0], [1, 0, 1], [0, 1, 1], [0, 0, 0]], bool)
    rewards = np.array([[3.0, 2, 1], [1, 3, 2], [5, 5, 5], [1, 0, 0]])
    np.testing.assert_allclose(alignment.highest_paid(rewards, correct), [1, 0, 2 / 3, 0])
    found = of(rewards, correct)
    assert found["highest_paid_right"] == pytest.approx(5 / 12)
    assert found["highest_paid_gain"] == pytest.approx(5 / 12 - (1 / 3 + 2 / 3 + 2 / 3 + 0) / 4)
    assert found["equal_groups"] == 1 / 4


def test_the_direction_of_a_question_is_a_covariance_by_hand():
    advantages = np.array([[1.0, -1, 0, 0], [2, 0, 0, -2], [3, 1, 1, 1]])
    correct = np.array([[1, 0, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1]], bool)
    np.testing.assert_allclose(alignment.directions(advantages, correct), [1 / 4, -1 / 2, 0], atol=1e-15)
    shifted = alignment.directions(advantages + 7, correct)
    np.testing.assert_allclose(shifted, [1 / 4, -1 / 2, 0], atol=1e-15)


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "rloo"])
def test_the_expected_direction_is_the_derivative_of_the_accuracy(name):
    """Three responses, all 27 groups of three: the policy is moved by its expected advantages, a small step."""
    policy, correct = np.array([0.5, 0.3, 0.2]), np.array([False, True, True])
    rewards = np.array([0.2, 1.0, -0.7], np.float32)
    groups = np.array(list(itertools.product(range(3), repeat=3)))
    chance = policy[groups].prod(axis=1)
    advantages = np.asarray(GROUP_ESTIMATORS[name](rewards[groups]), np.float64)
    expected = chance @ alignment.directions(advantages, correct[groups])
    # Of each response: its expected advantage given that it was sampled, by the first rollout of the group.
    each = [(chance * advantages[:, 0])[groups[:, 0] == y].sum() / policy[y] for y in range(3)]
    step = 1e-5
    moved = policy * np.exp(step * np.array(each))
    moved /= moved.sum()
    assert expected == pytest.approx((moved - policy) @ correct / step, rel=1e-3)
    assert abs(expected) > 0.01


def test_a_reward_that_is_the_truth_helps_and_its_contrary_harms():
    correct, _ = drawn()
    truth, contrary = of(correct.astype(float), correct), of(-correct.astype(float), correct)
    assert truth["auc"] == truth["rank_correlation"] == pytest.approx(1) and truth["verdict"] == "helps"
    assert truth["highest_paid_right"] == correct.any(axis=1).mean() and truth["highest_paid_gain/low"] > 0
    assert contrary["auc"] == 0 and contrary["correlation"] == pytest.approx(-1)
    assert contrary["verdict"] == "harms" and contrary["highest_paid_gain/high"] < 0
    assert truth["direction"] == pytest.approx(-contrary["direction"]) and truth["direction"] < 1 / 2


def test_a_reward_whose_responses_are_permuted_tells_nothing_as_often_as_the_intervals_say():
    held = {"auc": 0, "direction": 0, "highest_paid_gain": 0, "verdict": 0}
    middle = {"auc": 0.5, "direction": 0, "highest_paid_gain": 0}
    for seed in range(200):
        correct, rng = drawn(questions=60, seed=seed)
        found = of(rng.permuted(correct + rng.normal(size=correct.shape), axis=1), correct)
        for name, value in middle.items():
            held[name] += found[f"{name}/low"] <= value <= found[f"{name}/high"]
        held["verdict"] += found["verdict"] == "not decided"
        assert found["auc/high"] - found["auc/low"] < 0.25
        assert found["direction/high"] - found["direction/low"] < 0.2
    assert min(held.values()) >= 0.92 * 200, held


def test_what_cannot_be_computed_is_absent():
    correct = np.array([[True, True], [False, False]])
    found = of(np.array([[1.0, 2], [3, 4]]), correct)
    assert found["auc/questions"] == 0 and "auc" not in found and found["direction"] == 0
    found = of(np.ones((2, 2)), correct)
    assert "correlation" not in found and "rank_correlation" not in found and found["equal_groups"] == 1
    assert found["direction/low"] == found["direction/high"] == 0 and found["verdict"] == "not decided"


# ---- votes ----------------------------------------------------------------------------------


def test_the_calibration_of_votes_by_hand():
    votes = np.array([1, 2, 2, 3, 5, 5, 0])
    majority = np.array([False, True, False, True, True, True, False])
    bins = alignment.calibration(votes, majority, group=5)
    assert [(b["from"], b["questions"]) for b in bins] == [(0.0, 1), (0.2, 1), (0.4, 2), (0.6, 1), (0.8, 2)]
    assert [b["right"] for b in bins] == [0, 0, 1 / 2, 1, 1]
    np.testing.assert_allclose([b["share"] for b in bins], [0, 0.2, 0.4, 0.6, 1])
    correct = np.zeros((7, 5), bool)
    correct[1, :2] = correct[3, :3] = correct[4] = correct[5] = correct[2, 4] = True
    found = alignment.of_votes(votes, majority, correct)
    assert found["calibration_error"] == pytest.approx((0.2 + 2 * 0.1 + 0.4) / 7)
    assert found["majority_share"] == pytest.approx(18 / 35) and found["unanswered"] == 1 / 7
    assert found["predicted_limit"] == pytest.approx(4 / 7)
    assert found["predicted_gain"] == pytest.approx(4 / 7 - 16 / 35)


def test_shares_that_are_probabilities_are_calibrated():
    rng = np.random.default_rng(1)
    votes = rng.integers(1, 11, 20000)
    majority = rng.random(20000) < votes / 10
    correct = np.zeros((20000, 10), bool)
    assert alignment.of_votes(votes, majority, correct)["calibration_error"] < 0.02
    assert alignment.of_votes(votes, ~majority, correct)["calibration_error"] > 0.3
