"""Advantages against float64 NumPy, estimator by estimator."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from urlvr_jax import config
from urlvr_jax.learning import advantages, objective
from urlvr_jax.rewards.expression import batch_z, group_z
from urlvr_jax.types import Rollouts

P, G, T = 5, 4, 6
RNG = np.random.default_rng(3)
REWARDS = RNG.normal(size=(P, G)).astype(np.float32)
LENGTHS = RNG.integers(1, T + 1, P * G).astype(np.int32)
LENGTHS[:4] = 1, T, 0, 3
MASK = np.arange(T) < LENGTHS[:, None]
PENALTY = -RNG.random((P * G, T)).astype(np.float32)  # columns past the length hold junk
run = jax.jit(advantages.token_advantages, static_argnums=0)


def reference(name, rewards, penalty, lengths):
    rewards, rows = rewards.astype(np.float64), []
    penalty = [row[:n].astype(np.float64) for row, n in zip(penalty, lengths, strict=True)]
    if name == "reinforce_pp":
        returns = [
            rewards.flat[b] + np.array([k[t:].sum() for t in range(len(k))]) for b, k in enumerate(penalty)
        ]
        all_tokens = np.concatenate(returns)
        mean, variance = all_tokens.mean(), all_tokens.var(ddof=1)
        rows = [(r - mean) / np.sqrt(variance + 1e-8) for r in returns]
    else:
        for p, group in enumerate(rewards):
            n = len(group)
            s = np.array([r + penalty[p * n + g].sum() for g, r in enumerate(group)])
            for g in range(n):
                a = {
                    "grpo": lambda g=g, s=s: (s[g] - s.mean()) / (s.std(ddof=1) + 1e-6),
                    "dr_grpo": lambda g=g, s=s: s[g] - s.mean(),
                    "rloo": lambda g=g, s=s: s[g] - np.delete(s, g).mean(),
                    "none": lambda g=g, s=s: s[g],
                }[name]()
                rows.append(np.full(lengths[p * n + g], a))
    out = np.zeros((len(lengths), T))
    for b, row in enumerate(rows):
        out[b, : len(row)] = row
    return out


@pytest.mark.parametrize("name", advantages.ESTIMATORS)
@pytest.mark.parametrize("kl", [False, True])
def test_advantages_equal_float64(name, kl):
    penalty = PENALTY if kl else np.zeros_like(PENALTY)
    got = run(name, REWARDS, penalty, LENGTHS)
    assert got.dtype == jnp.float32 and got.shape == (P * G, T)
    helpers.assert_close(got, reference(name, REWARDS, penalty, LENGTHS))
    assert (np.asarray(got)[~MASK] == 0).all()
    if kl:  # the penalty moves the advantage, and not through columns past the length
        assert np.abs(got - run(name, REWARDS, 0 * penalty, LENGTHS)).max() > 1e-2
        clean = run(name, REWARDS, np.where(MASK, penalty, np.nan), LENGTHS)
        np.testing.assert_array_equal(got, clean)


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "rloo"])
def test_advantages_of_votes_equal_float64_and_a_group_without_an_answer_has_none(name):
    """Ties, a silent group, all right, one right: {0, 1} rewards of groups of 4, and shares of them."""
    votes = np.array(
        [[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 1, 0], [0.5, 0.5, 0.25, 0]], np.float32
    )
    got = run(name, votes, np.zeros_like(PENALTY), LENGTHS)
    helpers.assert_close(got, reference(name, votes, np.zeros_like(PENALTY), LENGTHS))
    assert (np.asarray(got)[4:12] == 0).all()


@pytest.mark.parametrize("name", ["reinforce_pp", "none"])
def test_groups_of_one_equal_float64_where_the_configuration_allows_them(name):
    rewards = REWARDS.reshape(-1, 1)
    got = run(name, rewards, PENALTY, LENGTHS)
    helpers.assert_close(got, reference(name, rewards, PENALTY, LENGTHS))


def test_one_hit_among_eight_is_worth_what_the_paper_says():
    rewards = np.zeros((1, 8), np.float32)
    rewards[0, 3] = 1
    got = np.asarray(advantages.grpo(jnp.asarray(rewards)))[0]
    want = np.full(8, -0.3536)
    want[3] = 2.4749
    np.testing.assert_allclose(got, want, atol=5e-5)
    rloo = np.asarray(advantages.rloo(jnp.asarray(rewards)))[0]
    np.testing.assert_allclose(rloo, np.where(np.arange(8) == 3, 1, -1 / 7), atol=1e-6)


SPREADS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
AT_22 = {spread: (22 + spread * RNG.uniform(-1, 1, (P, 8))).astype(np.float32) for spread in SPREADS}


def worst_error(got, want):
    """The largest error of `got`, in units of the largest exact value."""
    return np.abs(np.asarray(got, np.float64) - want).max() / np.abs(want).max()


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "rloo", "reinforce_pp"])
def test_advantages_keep_a_spread_that_is_small_beside_the_mean(name, spread):
    """Self-certainty stands near 22, and its spread dies in collapse; the penalty is of the spread's size."""
    lengths = np.arange(P * 8) % T + 1
    for penalty in (np.zeros((P * 8, T), np.float32), np.resize(spread * PENALTY, (P * 8, T))):
        got = run(name, AT_22[spread], penalty, lengths)
        want = reference(name, AT_22[spread], penalty, lengths)
        for rows in [slice(None)] if name == "reinforce_pp" else np.split(np.arange(P * 8), P):
            assert worst_error(got[rows], want[rows]) <= 2e-6


@pytest.mark.parametrize("spread", SPREADS)
def test_normalisers_keep_a_spread_that_is_small_beside_the_mean(spread):
    values = AT_22[spread]
    exact = values.astype(np.float64)
    z = lambda x, axis: (x - x.mean(axis, keepdims=True)) / (x.std(axis, ddof=1, keepdims=True) + 1e-6)
    for got, want in zip(jax.jit(group_z)(values), z(exact, 1), strict=True):
        assert worst_error(got, want) <= 2e-6
    assert worst_error(jax.jit(batch_z)(values), z(exact, None)) <= 2e-6


def test_two_rewards_of_neighbouring_floats_are_told_apart():
    """22.000002 is 22 + 2^-19 in float32, and that difference is exact."""
    got = jax.jit(advantages.grpo)(np.array([[22, 22.000002]], np.float32))
    half = 2.0**-20
    exact = half / (half * 2**0.5 + 1e-6)
    np.testing.assert_allclose(got, [[-exact, exact]], rtol=1e-6)
    np.testing.assert_allclose(exact, 0.406, atol=1e-3)


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "rloo"])
@pytest.mark.parametrize("value", [0.1, 0.7, 1e-3, 1 / 3, -2.3, 123456.7, 0.0])
def test_equal_rewards_have_no_advantage_at_all(name, value):
    for group in (2, 3, 5, 7, 8):
        rewards = np.full((2, group), value, np.float32)
        rewards[1, 0] += 1  # the other group is not equal
        got = run(name, rewards, np.zeros((2 * group, 2), np.float32), np.full(2 * group, 2))
        assert (np.asarray(got)[:group] == 0).all()
        assert (np.asarray(got)[group:] != 0).all()


def test_whitening_weighs_every_token_the_same():
    """Two long rows and a short one: the mean is over tokens, not over rows."""
    rewards = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    lengths = np.array([6, 1, 2, 3])
    got = np.asarray(run("reinforce_pp", rewards, np.zeros((4, T), np.float32), lengths), np.float64)
    values = np.repeat([1.0, 0, 0, 1], lengths)
    want = (values - values.mean()) / np.sqrt(values.var(ddof=1) + 1e-8)
    np.testing.assert_allclose(got[np.arange(T) < lengths[:, None]], want, rtol=1e-5)
    np.testing.assert_allclose(got.sum(), 0, atol=1e-5)


def test_the_penalty_of_later_tokens_is_what_reinforce_pp_returns():
    """A penalty on the last token pulls on all tokens, one on the first only on the first."""
    rewards, lengths = np.zeros((1, 2), np.float32), np.array([3, 3])
    penalty = np.zeros((2, T), np.float32)
    penalty[0, 2] = -1
    last = np.asarray(run("reinforce_pp", rewards, penalty, lengths))
    assert len(set(last[0, :3])) == 1 and last[0, 0] < last[1, 0]
    penalty = np.zeros((2, T), np.float32)
    penalty[0, 0] = -1
    first = np.asarray(run("reinforce_pp", rewards, penalty, lengths))
    assert first[0, 0] < first[0, 1] == first[0, 2] == first[1, 0]


def test_groups_do_not_mix():
    changed = REWARDS.copy()
    changed[2] += 7 * RNG.random(G).astype(np.float32)
    for name in ("grpo", "dr_grpo", "rloo"):
        before, after = (run(name, r, 0 * PENALTY, LENGTHS) for r in (REWARDS, changed))
        rows = np.arange(P * G) // G != 2
        np.testing.assert_array_equal(np.asarray(before)[rows], np.asarray(after)[rows])


def test_rollouts_that_only_vote_have_no_advantage_and_no_part_in_the_baseline():
    c = helpers.experiment(rollout__train_group=2)
    rollouts = Rollouts(np.zeros((P * G, T), np.int32), LENGTHS, np.zeros(P * G, bool), {})
    got = advantages.step_advantages(c, REWARDS, PENALTY, rollouts).reshape(P, G, T)
    kept = np.arange(P * G) % G < 2
    want = reference("grpo", REWARDS[:, :2], PENALTY[kept], LENGTHS[kept]).reshape(P, 2, T)
    np.testing.assert_allclose(got[:, :2], want, rtol=1e-5, atol=1e-5)
    assert (got[:, 2:] == 0).all() and np.abs(want).max() > 0.1
    # All are trained, and there is no penalty.
    got = advantages.step_advantages(helpers.experiment(), REWARDS, None, rollouts)
    want = reference("grpo", REWARDS, 0 * PENALTY, LENGTHS)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["k1", "k2", "k3"])
def test_the_kl_penalty_in_the_reward_is_minus_the_estimator(name):
    c = helpers.experiment(kl__coef=0.25, kl__place="reward", kl__estimator=name)
    logp, ref = RNG.uniform(-3, 0, (2, P * G, T)).astype(np.float32)
    got = advantages.kl_penalty(c, logp, ref, MASK)
    d = logp.astype(np.float64) - ref
    want = -0.25 * {"k1": d, "k2": d * d / 2, "k3": np.minimum(np.exp(-d) + d - 1, 10)}[name]
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, np.where(MASK, want, 0), rtol=1e-4, atol=1e-6)


def corrected(kind, cap=2.0):
    c = config.default()
    c.loss.sampler_correction, c.loss.sampler_cap = kind, cap
    return c


def test_sampler_weights_are_truncated_ratios_of_tokens_or_of_rollouts():
    rng = np.random.default_rng(0)
    logp, sampler = (rng.normal(size=(P * G, T)).astype(np.float32) for _ in range(2))
    logp[2], sampler[0, LENGTHS[0] :] = 1000.0, np.nan  # no row, and past a row's end
    d = np.where(MASK, logp - sampler, 0).astype(np.float64)
    token = advantages.sampler_weights(corrected("token"), logp, sampler, MASK)
    np.testing.assert_allclose(token, np.where(MASK, np.minimum(np.exp(d), 2), 1), rtol=1e-5)
    sequence = advantages.sampler_weights(corrected("sequence", 3.0), logp, sampler, MASK)
    whole = np.minimum(np.exp(d.sum(axis=1, keepdims=True)), 3)
    np.testing.assert_allclose(sequence, np.where(MASK, whole, 1), rtol=1e-5)
    assert advantages.sampler_weights(corrected("none"), logp, sampler, MASK) is None


def test_weighing_advantages_weighs_the_losses_clipped_or_not():
    rng = np.random.default_rng(1)
    logp, old, a = (jnp.asarray(rng.normal(size=(64, T)), jnp.float32) for _ in range(3))
    weights = jnp.asarray(rng.uniform(0.1, 2, (64, T)), jnp.float32)
    losses = lambda a: objective.token_losses(
        logp, old, old, a, clip_low=0.2, clip_high=0.3, dual_clip=3.0, kl_in_loss=None
    )[0]
    np.testing.assert_allclose(losses(weights * a), weights * losses(a), rtol=1e-5)


def test_with_the_weights_the_gradient_is_that_of_the_trainers_own_samples():
    """Over all tokens of a vocabulary, each as often as the sampler draws it."""
    rng = np.random.default_rng(2)
    z, other, a = (jnp.asarray(rng.normal(size=7), jnp.float32) for _ in range(3))
    sampler = jax.nn.log_softmax(z + other)
    trainer = np.asarray(jax.nn.log_softmax(z))
    weights = advantages.sampler_weights(
        corrected("token", 1e6), trainer[:, None], np.asarray(sampler)[:, None], np.ones((7, 1), bool)
    )[:, 0]

    def loss(z, probability, weights):
        logp = jax.nn.log_softmax(z)
        each = objective.token_losses(
            logp, jax.lax.stop_gradient(logp), logp, weights * a,
            clip_low=0.2, clip_high=0.2, dual_clip=3.0, kl_in_loss=None,
        )[0]  # fmt: skip
        return jnp.sum(probability * each)

    own = jax.grad(loss)(z, np.exp(trainer), jnp.ones(7))
    np.testing.assert_allclose(jax.grad(loss)(z, jnp.exp(sampler), weights), own, atol=1e-6)
    assert np.abs(jax.grad(loss)(z, jnp.exp(sampler), jnp.ones(7)) - own).max() > 0.01
