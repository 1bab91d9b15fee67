"""Losses against float64, and what each KL estimator's gradient is, by enumeration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from urlvr_jax.learning import objective

RNG = np.random.default_rng(0)
SHAPE = (6, 9)
OPTIONS = dict(clip_low=0.2, clip_high=0.28, dual_clip=3.0)


def reference_loss(logp, old, a, kl=0.0):
    ratio = np.exp(np.clip(logp - old, -20, 20))
    bounded = min(ratio, 1.28) if a >= 0 else min(max(ratio, 0.8), 3.0)
    return -a * bounded + kl


def test_token_losses_equal_float64_term_by_term():
    old = RNG.uniform(-5, -0.1, SHAPE).astype(np.float32)
    logp = (old + RNG.normal(0, 0.8, SHAPE)).astype(np.float32)
    ref = (logp + RNG.normal(0, 0.5, SHAPE)).astype(np.float32)
    advantages = RNG.normal(0, 1, SHAPE).astype(np.float32)
    logp[0, :4] = old[0, :4] + [30, -30, 30, -30]  # the clamp: exp(20), exp(-20)
    advantages[0, :5] = 1, 1, -1, -1, 0
    ratio = np.exp(np.clip(logp.astype(np.float64) - old, -20, 20))
    up, down = advantages > 0, advantages < 0
    for seen in (up & (ratio > 1.28), up & (ratio < 0.8), down & (ratio < 0.8), down & (ratio > 3)):
        assert seen.any()  # every branch is in here
    for kl in (None, ("k1", 0.3), ("k2", 0.3), ("k3", 0.3)):
        loss, facts = jax.jit(lambda *a, kl=kl: objective.token_losses(*a, kl_in_loss=kl, **OPTIONS))(
            logp, old, ref, advantages
        )
        d = logp.astype(np.float64) - ref
        estimate = {
            None: 0 * d,
            "k1": d,
            "k2": d * d / 2,
            "k3": np.minimum(np.exp(np.clip(-d, -20, 20)) + d - 1, 10),
        }[kl and kl[0]]
        want = np.vectorize(reference_loss)(
            logp.astype(np.float64), old.astype(np.float64), advantages.astype(np.float64), 0.3 * estimate
        )
        np.testing.assert_allclose(loss, want, rtol=2e-5, atol=2e-6)
        assert ("actor/kl" in facts) == (kl is not None)
        if kl:
            np.testing.assert_allclose(facts["actor/kl"], estimate, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(
        facts["actor/pg_clipfrac"], (up & (ratio > 1.28)) | (down & (ratio < 0.8))
    )
    np.testing.assert_array_equal(facts["actor/pg_clipfrac_lower"], down & (ratio > 3))
    np.testing.assert_allclose(
        facts["actor/ppo_kl"], -np.clip(logp.astype(np.float64) - old, -20, 20), rtol=1e-6
    )


def test_gradients_vanish_exactly_where_a_clip_acts():
    def gradient(ratio, a):
        fn = lambda x: objective.token_losses(x, 0.0, 0.0, a, kl_in_loss=None, **OPTIONS)[0]
        return float(jax.grad(fn)(jnp.float32(np.log(ratio))))

    for ratio, a, acts in (
        (1.0, 2.0, False), (1.2, 2.0, False), (1.3, 2.0, True), (0.5, 2.0, False),
        (1.0, -2.0, False), (0.85, -2.0, False), (0.7, -2.0, True), (2.9, -2.0, False),
        (3.1, -2.0, True),
    ):  # fmt: skip
        want = 0.0 if acts else -a * ratio
        np.testing.assert_allclose(gradient(ratio, a), want, rtol=1e-5, err_msg=f"{ratio}, {a}")


def test_facts_carry_no_gradient():
    fn = lambda x: sum(
        jnp.sum(v)
        for v in objective.token_losses(x, 0.1, 0.2, 1.0, kl_in_loss=("k2", 1.0), **OPTIONS)[1].values()
    )
    assert float(jax.grad(fn)(jnp.float32(0.5))) == 0


@pytest.mark.parametrize("name", objective.AGGREGATIONS)
def test_aggregation_equals_float64_with_an_empty_row(name):
    lengths = np.array([3, 0, 9, 1, 5, 0])
    losses = RNG.normal(size=SHAPE)
    rows = [losses[b, :n] for b, n in enumerate(lengths) if n]
    want = {
        "token-mean": np.concatenate(rows).mean(),
        "seq-mean-token-mean": np.mean([r.mean() for r in rows]),
        "seq-mean-token-sum": np.mean([r.sum() for r in rows]),
        "seq-mean-token-sum-norm": np.mean([r.sum() / 11 for r in rows]),
    }[name]
    weights = np.asarray(objective.token_weights(name, jnp.asarray(lengths), 9, 11), np.float64)
    np.testing.assert_allclose((weights * losses).sum(), want, rtol=1e-5)
    assert (weights[np.arange(9) >= lengths[:, None]] == 0).all()
    nothing = objective.token_weights(name, jnp.zeros(6, int), 9, 11)
    assert (np.asarray(nothing) == 0).all()


def test_an_unknown_aggregation_is_an_error():
    with pytest.raises(KeyError, match="token-median"):
        objective.token_weights("token-median", jnp.ones(2, int), 3, 3)


# ---- KL estimators: a vocabulary of five words, one word sampled, every word enumerated -----------

Z = RNG.normal(0, 0.7, 5)
REF = np.log(np.exp(Z + RNG.normal(0, 0.4, 5)))
REF = REF - np.log(np.exp(REF).sum())


def log_softmax(z):
    return z - z.max() - np.log(np.exp(z - z.max()).sum())


def numeric_gradient(fn):
    step = 1e-6
    return np.array([(fn(Z + step * e) - fn(Z - step * e)) / (2 * step) for e in np.eye(5)])


def forward(z):  # KL(pi || ref)
    return np.sum(np.exp(log_softmax(z)) * (log_softmax(z) - REF))


def backward(z):  # KL(ref || pi)
    return np.sum(np.exp(REF) * (REF - log_softmax(z)))


def expected_gradient(loss_of_logp):
    """Sum over sampled words y of pi(y) times the gradient of the loss of y, on policy."""

    def gradient(y):
        loss = lambda z: loss_of_logp(jax.nn.log_softmax(z)[y], y)
        return np.asarray(jax.grad(loss)(jnp.asarray(Z, jnp.float32)), np.float64)

    return sum(np.exp(log_softmax(Z))[y] * gradient(y) for y in range(5))


@pytest.mark.parametrize("name", ["k1", "k2", "k3"])
def test_the_expected_gradient_of_a_kl_estimator_in_the_loss(name):
    def loss(logp, y):  # advantages 0, the old policy is the current one
        value, _ = objective.token_losses(
            logp,
            jax.lax.stop_gradient(logp),
            jnp.float32(REF[y]),
            0.0,
            kl_in_loss=(name, 1.0),
            **OPTIONS,
        )
        return value

    want = {"k1": np.zeros(5), "k2": numeric_gradient(forward), "k3": numeric_gradient(backward)}[name]
    np.testing.assert_allclose(expected_gradient(loss), want, atol=2e-6)
    assert np.abs(numeric_gradient(forward) - numeric_gradient(backward)).max() > 1e-2
    assert np.abs(numeric_gradient(forward)).max() > 1e-2


def test_k1_in_the_reward_has_the_gradient_of_the_forward_kl():
    def loss(logp, y):  # the penalty -d is the advantage
        d = objective.KL_ESTIMATORS["k1"](jax.lax.stop_gradient(logp) - jnp.float32(REF[y]))
        value, _ = objective.token_losses(
            logp, jax.lax.stop_gradient(logp), 0.0, -d, kl_in_loss=None, **OPTIONS
        )
        return value

    np.testing.assert_allclose(expected_gradient(loss), numeric_gradient(forward), atol=2e-6)


def test_the_expected_value_of_every_estimator_is_near_the_kl():
    p, d = np.exp(log_softmax(Z)), log_softmax(Z) - REF
    value = {
        n: float(np.sum(p * np.asarray(fn(jnp.asarray(d))))) for n, fn in objective.KL_ESTIMATORS.items()
    }
    np.testing.assert_allclose(value["k1"], forward(Z), rtol=1e-4)
    np.testing.assert_allclose(value["k3"], forward(Z), rtol=1e-4)  # both unbiased
    np.testing.assert_allclose(value["k2"], forward(Z), rtol=0.5)


def test_far_from_the_reference_the_estimators_stay_finite():
    d = jnp.array([-200.0, -25.0, 0.0, 25.0, 200.0])
    k3 = np.asarray(objective.KL_ESTIMATORS["k3"](d))
    np.testing.assert_array_equal(k3, [10, 10, 0, 10, 10])
    gradient = np.asarray(jax.vmap(jax.grad(objective.KL_ESTIMATORS["k3"]))(d))
    np.testing.assert_array_equal(gradient, np.zeros(5))
