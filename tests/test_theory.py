"""Tabular policies against brute-force optima, Theorem 1 against exact iteration, fits against simulated votes."""

import functools

import numpy as np
import pytest
from scipy import optimize

from urlvr_jax import theory

REFERENCE = np.array([0.30, 0.25, 0.20, 0.15, 0.10])
ANSWERS = np.array([0, 1, 1, 0, 2])  # class masses 0.45, 0.45, 0.10: a tie
SPLIT = np.array([0, 1, 1, 2, 2])  # 0.30, 0.45, 0.25
TWO_TOKENS = np.array([0.10, 0.25, 0.05, 0.12, 0.08, 0.11, 0.09, 0.04, 0.16])  # V = 3, first token slowest


def best(reference, reward, beta, starts=3):
    """The maximum of E[r] - beta KL over softmax logits, climbed and polished from many starts."""

    def softmax(z):
        e = np.exp(z - z.max())
        return e / e.sum()

    def value(z):
        p = softmax(z)
        return p @ reward - beta * p @ np.log(p / reference)

    def slope(z):
        p = softmax(z)
        gain = reward - beta * np.log(p / reference)
        return p * (gain - p @ gain)

    found = []
    for seed in range(starts):
        z = np.random.default_rng(seed).normal(size=len(reference))
        z = optimize.minimize(lambda z: -value(z), z, jac=lambda z: -slope(z), tol=1e-9).x
        pinned = optimize.root(lambda rest: slope(np.append(0.0, rest))[1:], z[1:] - z[0], tol=1e-14).x
        found.append(np.append(0.0, pinned))
    policies = np.array([softmax(z) for z in found])
    np.testing.assert_allclose(policies, np.broadcast_to(policies[0], policies.shape), atol=1e-10)
    return policies[0], value(found[0])


def by_hand(name, policy):
    """Each reward written out for one policy, response by response."""
    if name == "trajectory_level_entropy":
        return np.log(policy)
    if name == "probability":
        return policy
    if name == "majority_voting":
        return np.array([0.0, 1.0, 1.0, 0.0, 0.0])
    if name == "ground_truth":
        return np.array([0.0, 0.0, 0.0, 1.0, 0.0])
    first = [sum(policy[3 * i + j] for j in range(3)) for i in range(3)]
    out = []
    for i in range(3):
        for _ in range(3):
            second = [policy[3 * i + j] / first[i] for j in range(3)]
            if name == "self_certainty":
                kl = [sum(np.log(1 / 3 / v) / 3 for v in p) for p in (first, second)]
                out.append(sum(kl) / 2)
            else:
                out.append(sum(v * np.log(v) for v in first + second) / 2)
    return np.array(out)


ONE_TOKEN = {
    "trajectory_level_entropy": {},
    "probability": {},
    "majority_voting": {"answers": SPLIT},
    "ground_truth": {"right": [False, False, False, True, False]},
}


@pytest.mark.parametrize("beta", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("name", theory.OPTIMA)
def test_closed_forms_are_what_brute_force_finds(name, beta):
    policy = REFERENCE if name in ONE_TOKEN else TWO_TOKENS
    given = ONE_TOKEN.get(name, {"length": 2})
    reward = by_hand(name, policy)
    want, value = best(policy, reward, beta)
    np.testing.assert_allclose(theory.OPTIMA[name](policy, beta, **given), want, rtol=0, atol=1e-8)
    np.testing.assert_allclose(theory.optimum(policy, reward, beta), want, rtol=0, atol=1e-8)
    np.testing.assert_allclose(theory.objective(want, policy, reward, beta), value, rtol=1e-12)
    np.testing.assert_allclose(beta * theory.log_partition(policy, reward, beta), value, rtol=1e-12)


def test_the_rewards_of_one_policy_are_those_written_out_by_hand():
    rewards = {n: getattr(theory, n) for n in ("trajectory_level_entropy", "probability")}
    for name, reward in rewards.items():
        np.testing.assert_allclose(reward(REFERENCE), by_hand(name, REFERENCE), rtol=1e-14)
    np.testing.assert_array_equal(
        theory.majority_voting(REFERENCE, SPLIT), by_hand("majority_voting", REFERENCE)
    )
    certainty = theory.self_certainty(TWO_TOKENS, 2) - np.log(3)
    np.testing.assert_allclose(certainty, by_hand("self_certainty", TWO_TOKENS), rtol=1e-12)
    entropy = theory.token_level_entropy(TWO_TOKENS, 2)
    np.testing.assert_allclose(entropy, by_hand("token_level_entropy", TWO_TOKENS), rtol=1e-12)
    halved = theory.trajectory_level_entropy(TWO_TOKENS, 2)
    np.testing.assert_allclose(halved, np.log(TWO_TOKENS) / 2, rtol=1e-14)


def test_token_rewards_of_one_token_move_nothing_and_of_two_they_do():
    for name in ("self_certainty", "token_level_entropy"):
        np.testing.assert_allclose(theory.OPTIMA[name](REFERENCE, 0.1), REFERENCE, atol=1e-15)
        moved = theory.OPTIMA[name](TWO_TOKENS, 0.1, length=2)
        assert np.abs(moved - TWO_TOKENS).max() > 0.01
        # The last token alone decides no statistic, so what follows one prefix keeps its proportions.
        ratio = (moved / TWO_TOKENS).reshape(3, 3)
        np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1], (3, 3)), rtol=1e-12)


def test_power_sharpening_ends_in_the_mode_and_a_tie_is_shared():
    reward = theory.trajectory_level_entropy
    path = theory.iterate(REFERENCE, reward, 2.0, 12)
    np.testing.assert_allclose(path[12], theory.power(REFERENCE, 2.0, steps=12), rtol=1e-9)
    np.testing.assert_allclose(theory.power(REFERENCE, 2.0, steps=40), [1, 0, 0, 0, 0], rtol=0, atol=1e-12)
    tied = np.array([0.1, 0.35, 0.2, 0.35, 0.0])
    end = theory.iterate(tied, reward, 2.0, 30)[-1]
    np.testing.assert_allclose(end, [0, 0.5, 0, 0.5, 0], rtol=0, atol=1e-8)
    np.testing.assert_allclose(theory.mode(tied), [0, 0.5, 0, 0.5, 0])
    np.testing.assert_allclose(theory.mode([0.1 + 0.2, 0.3, 0.25, 0.15]), [0.5, 0.5, 0, 0])
    two = functools.partial(theory.trajectory_level_entropy, length=2)
    path = theory.iterate(TWO_TOKENS, two, 1.5, 4)
    np.testing.assert_allclose(theory.power(TWO_TOKENS, 1.5, length=2, steps=4), path[4], rtol=1e-10)
    np.testing.assert_allclose(theory.iterate(REFERENCE, theory.probability, 0.1, 60)[-1][0], 1, rtol=1e-8)


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("right", [1, 2])  # class 1 is the majority: right in one case, wrong in the other
def test_majority_voting_goes_geometrically_to_the_reference_on_its_majority(beta, right):
    reward_of = functools.partial(theory.majority_voting, answers=SPLIT)
    steps = int(30 * beta) + 5
    path = theory.iterate(REFERENCE, reward_of, beta, steps)
    missing = path[:, SPLIT != 1].sum(axis=1)
    np.testing.assert_allclose(missing[-1] / missing[-2], np.exp(-1 / beta), rtol=0, atol=1e-6)
    np.testing.assert_allclose(theory.rate(beta), np.exp(-1 / beta), rtol=1e-14)
    p = 0.45
    for k in range(steps + 1):
        np.testing.assert_allclose(1 - missing[k], p, rtol=1e-12)
        np.testing.assert_allclose(theory.sharpened(0.45, beta, k), p, rtol=1e-12)
        p = p * np.exp(1 / beta) / (p * np.exp(1 / beta) + 1 - p)
    np.testing.assert_allclose(path[-1], [0, 5 / 9, 4 / 9, 0, 0], rtol=0, atol=1e-8)
    np.testing.assert_allclose(theory.limit(REFERENCE, SPLIT), [0, 5 / 9, 4 / 9, 0, 0], rtol=1e-14)
    assert round(path[-1][right == SPLIT].sum()) == (right == 1)


def test_against_a_fixed_reference_the_optimum_is_reached_once_and_stays_below_one():
    reward_of = functools.partial(theory.majority_voting, answers=SPLIT)
    path = theory.iterate(REFERENCE, reward_of, 1.0, 6, fixed=True)
    shares = path[:, SPLIT == 1].sum(axis=1)
    once = 0.45 * np.e / (0.45 * np.e + 0.55)
    np.testing.assert_allclose(shares, [0.45] + [once] * 6, rtol=1e-12)
    assert once < 0.7


def test_ties_go_to_the_lowest_class_and_silence_moves_nothing():
    assert theory.majority_answer(REFERENCE, ANSWERS) == 0
    assert theory.majority_answer(REFERENCE, [1, 0, 0, 1, 2]) == 0
    assert 0.1 + 0.2 > 0.3 and theory.majority_answer([0.3, 0.1, 0.2, 0.4], [0, 1, 1, -1]) == 0
    silent = np.full(5, -1)
    assert not theory.majority_voting(REFERENCE, silent).any()
    assert theory.majority_answer(REFERENCE, silent) == -1
    np.testing.assert_array_equal(theory.limit(REFERENCE, silent), REFERENCE)
    np.testing.assert_allclose(theory.OPTIMA["majority_voting"](REFERENCE, 1.0, silent), REFERENCE)
    mostly = [-1, -1, -1, 3, 1]  # those without an answer do not vote
    np.testing.assert_array_equal(theory.majority_voting(REFERENCE, mostly), [0, 0, 0, 1, 0])


def test_several_questions_are_each_alone():
    rng = np.random.default_rng(0)
    policies = rng.dirichlet(np.ones(8), 6)
    answers = rng.integers(-1, 3, (6, 8))
    right = rng.random((6, 8)) < 0.3
    given = {
        "majority_voting": lambda q: {"answers": answers[q]},
        "ground_truth": lambda q: {"right": right[q]},
        "self_certainty": lambda q: {"length": 3},
        "token_level_entropy": lambda q: {"length": 3},
    }
    for name, form in theory.OPTIMA.items():
        options = given.get(name, lambda q: {})
        whole = form(policies, 0.7, **options(slice(None)))
        alone = [form(policies[q], 0.7, **options(q)) for q in range(6)]
        np.testing.assert_allclose(whole, alone, rtol=1e-12, err_msg=name)
    ends = [theory.limit(policies[q], answers[q]) for q in range(6)]
    np.testing.assert_allclose(theory.limit(policies, answers), ends, rtol=1e-12)


def test_what_has_no_mass_gets_none_and_costs_everything():
    reference, reward = np.array([0.5, 0.5, 0.0]), np.array([0.0, 1.0, 9.0])
    np.testing.assert_allclose(
        theory.optimum(reference, reward, 1.0), [1 / (1 + np.e), np.e / (1 + np.e), 0]
    )
    assert theory.objective([0.4, 0.4, 0.2], reference, reward, 1.0) == -np.inf
    np.testing.assert_allclose(theory.objective([0.0, 1.0, 0.0], reference, reward, 2.0), 1 - 2 * np.log(2))
    np.testing.assert_allclose(theory.predicted([0.0, 1.0, 0.2], 5.0, 40), [0, 1, 1])
    with pytest.raises(ValueError, match="not finite at a response"):
        theory.OPTIMA["self_certainty"](reference, 1.0)


def test_wrong_policies_and_betas_are_refused():
    with pytest.raises(ValueError, match="sum to 1"):
        theory.optimum([0.5, 0.6], [0, 1], 1.0)
    with pytest.raises(ValueError, match="sum to 1"):
        theory.mode([1.5, -0.5])
    for beta in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="beta is a positive number"):
            theory.sharpened(0.5, beta)
    with pytest.raises(ValueError, match="not all those of 2 tokens"):
        theory.self_certainty(REFERENCE, 2)


# ---- fits


def votes_of(rng, p0, inverse_beta, steps, votes):
    odds = np.log(p0 / (1 - p0)) + inverse_beta * steps
    return rng.binomial(votes, 1 / (1 + np.exp(-odds))) / votes


def test_a_fit_maximises_the_penalised_likelihood_written_with_matrices():
    rng = np.random.default_rng(1)
    steps, rows = np.tile([1, 4, 5, 9], 3), np.repeat([7, 3, 5], 4)
    shares = votes_of(rng, np.array([0.3, 0.6, 0.5]).repeat(4), 0.2, steps, 8)
    design = np.concatenate([(rows[:, None] == [3, 5, 7]), steps[:, None]], axis=1).astype(float)

    def loss(theta):
        p = 1 / (1 + np.exp(-design @ theta))
        information = design.T @ (design * (8 * p * (1 - p))[:, None])
        likelihood = 8 * (shares * np.log(p) + (1 - shares) * np.log(1 - p)).sum()
        return -likelihood - 0.5 * np.linalg.slogdet(information)[1]

    want = optimize.minimize(loss, np.zeros(4), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 9000}).x  # fmt: skip
    fit = theory.fit_common_rate(shares, steps, rows, 8)
    np.testing.assert_array_equal(fit.questions, [3, 5, 7])
    np.testing.assert_allclose(fit.inverse_beta, want[3], atol=1e-6)
    np.testing.assert_allclose(fit.p0, 1 / (1 + np.exp(-want[:3])), atol=1e-6)
    assert fit.low < fit.inverse_beta < fit.high


def test_a_fit_of_one_question_holds_the_true_rate_as_often_as_it_says():
    steps = np.arange(0, 60, 5)
    held, errors, stated = 0, [], []
    for seed in range(100):
        shares = votes_of(np.random.default_rng(seed), 0.3, 0.05, steps, 8)
        fit = theory.fit_rate(shares, steps, 8)
        held += abs(fit.inverse_beta - 0.05) < 1.96 * fit.error
        errors.append(fit.inverse_beta - 0.05)
        stated.append(fit.error)
    assert held >= 90
    assert abs(np.mean(errors)) < 0.003
    np.testing.assert_allclose(np.std(errors), np.mean(stated), rtol=0.2)


def test_a_common_fit_holds_the_true_rate_as_often_as_it_says():
    rows, steps = np.repeat(np.arange(40), 4), np.tile([2, 11, 20, 29], 40)
    held, errors = 0, []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        shares = votes_of(rng, rng.uniform(0.15, 0.9, 40)[rows], 0.08, steps, 8)
        fit = theory.fit_common_rate(shares, steps, rows, 8, seed=seed)
        held += fit.low < 0.08 < fit.high
        errors.append(fit.inverse_beta - 0.08)
    assert held >= 90
    assert abs(np.mean(errors)) < 0.003 and np.std(errors) < 0.02


def test_questions_that_differ_widen_the_interval_and_a_seed_repeats_it():
    rng = np.random.default_rng(0)
    rows, steps = np.repeat(np.arange(40), 4), np.tile([2, 11, 20, 29], 40)
    alike = votes_of(rng, 0.4, 0.05, steps, 32)
    unlike = votes_of(rng, 0.4, np.where(rows % 2, 0.0, 0.1), steps, 32)
    fits = [theory.fit_common_rate(s, steps, rows, 32) for s in (alike, unlike)]
    widths = [f.high - f.low for f in fits]
    assert widths[1] > 2 * widths[0]
    again = theory.fit_common_rate(alike, steps, rows, 32)
    assert (again.low, again.high) == (fits[0].low, fits[0].high)
    mixed = rng.permutation(len(rows))
    shuffled = theory.fit_common_rate(alike[mixed], steps[mixed], rows[mixed], 32)
    np.testing.assert_allclose(shuffled.inverse_beta, fits[0].inverse_beta, rtol=1e-9)
    np.testing.assert_allclose(shuffled.p0, fits[0].p0, rtol=1e-9)


def test_exact_iteration_is_fitted_with_its_own_beta():
    reward_of = functools.partial(theory.majority_voting, answers=SPLIT)
    path = theory.iterate(REFERENCE, reward_of, 4.0, 20)
    votes = 10**9
    shares = np.round(path[:, SPLIT == 1].sum(axis=1) * votes) / votes
    fit = theory.fit_rate(shares, np.arange(21), votes)
    np.testing.assert_allclose((fit.p0, fit.inverse_beta), (0.45, 0.25), rtol=1e-6)
    expected = theory.predicted(fit.p0, fit.inverse_beta, np.arange(21))
    agreement = theory.agreement(shares, expected, np.zeros(21), votes)
    assert agreement.explained > 1 - 1e-9 and agreement.rmse < 1e-6 and agreement.freedom == 19


@pytest.mark.parametrize(
    "shares", [[1, 1, 1], [0, 0, 0], [0, 1, 1], [0, 0, 1], [0, 0.5, 1], [1, 0, 0], [1, 0, 1]]
)
@pytest.mark.parametrize("votes", [2, 1000])
def test_shares_of_nothing_and_all_give_finite_fits(shares, votes):
    fit = theory.fit_rate(shares, [0, 100, 200], votes)
    assert 0 < fit.p0 < 1 and np.isfinite([fit.inverse_beta, fit.error]).all() and fit.error > 0
    if len(set(shares)) == 1:
        assert abs(fit.inverse_beta) < 1e-9 < fit.error
        assert fit.p0 > 0.7 if shares[0] else fit.p0 < 0.3
    mirrored = theory.fit_rate(1 - np.array(shares), [0, 100, 200], votes)
    np.testing.assert_allclose(mirrored.inverse_beta, -fit.inverse_beta, atol=1e-9)


@pytest.mark.parametrize("top", [10, 10_000])
def test_shares_that_leap_from_nothing_to_all_at_different_steps_are_fitted(top):
    rng = np.random.default_rng(top)
    rows, steps = np.repeat(np.arange(40), 12), rng.integers(0, top, 480)
    shares = (steps > rng.uniform(0.2 * top, 0.8 * top, 40)[rows]).astype(float)
    fit = theory.fit_common_rate(shares, steps, rows, 64)
    assert 1 / top < fit.low < fit.inverse_beta < fit.high < np.inf
    found = theory.predicted(fit.p0[rows], fit.inverse_beta, steps)
    assert theory.agreement(shares, found, rows, 64).explained > 0.99


def test_a_common_fit_takes_questions_that_never_move_and_visits_that_stand_alone():
    shares, steps, rows = [1, 1, 0, 0, 0.25, 0.75, 0.5], [0, 10, 0, 10, 0, 10, 5], [0, 0, 1, 1, 2, 2, 3]
    fit = theory.fit_common_rate(shares, steps, rows, 8)
    assert fit.low < 0.1 < fit.inverse_beta < 0.3 < fit.high
    at_five = theory.predicted(fit.p0, fit.inverse_beta, 5)
    np.testing.assert_allclose(at_five[2:], 0.5, atol=1e-9)
    np.testing.assert_allclose(at_five[0], 1 - at_five[1], rtol=1e-9)
    assert 0.9 < at_five[0] < 1


def test_questions_that_are_all_alike_leave_doubt():
    rows, steps = np.repeat(np.arange(10), 3), np.tile([0, 10, 20], 10)
    for share in (0.0, 1.0):
        fit = theory.fit_common_rate(np.full(30, share), steps, rows, 8)
        assert fit.low < -0.02 and abs(fit.inverse_beta) < 1e-9 and fit.high > 0.02


WRONG = [
    ([0.5, np.nan, 1], [0, 1, 2], 2, r"shares are not finite at visits \[1\]"),
    ([0.5, 0.5], [0, np.inf], 2, r"steps are not finite at visits \[1\]"),
    ([0.5], [3], 2, "two different steps"),
    ([0.5, 1], [3, 3], 2, "two different steps"),
    ([], [], 2, "two different steps"),
    ([0.5, 1.5], [0, 1], 2, "between 0 and 1"),
    ([0.5, -0.5], [0, 1], 2, "between 0 and 1"),
    ([0.5, 0.3], [0, 1], 8, "0.3 is no count out of 8 votes"),
    ([0.5, 0.5], [0, 1], 0, "one vote or more"),
    ([0.5, 0.5], [0, 1, 2], 2, r"are \[N\] each"),
]


@pytest.mark.parametrize("shares, steps, votes, message", WRONG)
def test_what_cannot_be_fitted_is_named(shares, steps, votes, message):
    with pytest.raises(ValueError, match=message):
        theory.fit_rate(shares, steps, votes)


def test_a_common_fit_needs_two_questions_at_two_steps_each():
    for rows in ([4, 4, 4], [4, 4, 5]):
        with pytest.raises(ValueError, match="two questions at two different steps each, has 1"):
            theory.fit_common_rate([0.5, 1, 1], [0, 1, 1], rows, 2)
    with pytest.raises(ValueError, match="two different steps"):
        theory.fit_common_rate([0.5, 1], [0, 1], [4, 5], 2)


def test_agreement_says_what_was_explained_and_how_far_off():
    shares, rows = np.array([0.25, 0.75, 0.5, 1.0]), [0, 0, 1, 1]
    perfect = theory.agreement(shares, shares, rows, 4)
    assert (perfect.explained, perfect.rmse, perfect.deviance, perfect.freedom) == (1, 0, 0, 1)
    constant = theory.agreement(shares, [0.5, 0.5, 0.75, 0.75], rows, 4)
    assert constant.explained == 0 and constant.rmse == 0.25
    likelihood = lambda p: (4 * shares * np.log(p) + 4 * (1 - shares) * np.log1p(-p)).sum()
    want = 2 * (
        likelihood(np.array([0.25, 0.75, 0.5, 1 - 1e-15])) - likelihood(np.array([0.5, 0.5, 0.75, 0.75]))
    )
    np.testing.assert_allclose(constant.deviance, want, rtol=1e-9)
    assert theory.agreement(shares, [0.75, 0.25, 1.0, 0.5], rows, 4).explained == -3
    assert theory.agreement([1.0, 1.0], [0.9, 0.9], [0, 0], 4).explained is None
    with pytest.raises(ValueError, match="shares are not finite"):
        theory.agreement([np.nan, 1.0], [0.9, 0.9], [0, 0], 4)


def test_the_deviance_is_about_its_freedom_where_the_law_holds_and_above_it_where_not():
    rng = np.random.default_rng(3)
    rows, steps = np.repeat(np.arange(30), 10), np.tile(np.arange(0, 50, 5), 30)
    lawful = votes_of(rng, 0.4, 0.04, steps, 64)
    rise_and_fall = votes_of(
        rng, 0.4, 0.04 * np.minimum(steps, 50 - steps) / np.maximum(steps, 1), steps, 64
    )
    ratios, explained = [], []
    for shares in (lawful, rise_and_fall):
        fit = theory.fit_common_rate(shares, steps, rows, 64)
        found = theory.agreement(shares, theory.predicted(fit.p0[rows], fit.inverse_beta, steps), rows, 64)
        ratios.append(found.deviance / found.freedom)
        explained.append(found.explained)
    assert 0.8 < ratios[0] < 1.2 and ratios[1] > 2
    assert explained[0] > 0.8 > explained[1]
