"""One update: micro-batches, gradients against float64, and updates that must not happen."""

import dataclasses
import functools
import re

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from urlvr_jax import config
from urlvr_jax.learning import optimizer as optimizer_lib
from urlvr_jax.learning.step import TrainState, UpdateConfig, gradients, update

AGGREGATIONS = ("token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm")
CONFIG = helpers.model_config(tied=True, n_layers=1)  # compiling is what costs
GRAPH, PARAMS = helpers.model(CONFIG)


def update_config(**changes) -> UpdateConfig:
    settings = dict(
        temperature=0.7,
        clip_low=0.2,
        clip_high=0.3,
        dual_clip=3.0,
        aggregation="token-mean",
        norm_length=7,
        kl_in_loss=("k3", 0.1),
        on_policy=False,
        clip_norm=0.05,
    )
    return UpdateConfig(**(settings | changes))


@functools.cache
def compiled_gradients(config, micro_rows=0, micro_prompts=0):
    """gradients(params, batch); without `micro_rows` in one piece and without packing."""
    run = jax.jit(functools.partial(gradients, GRAPH, config=config))
    return lambda params, batch: run(params, batch, *layouts(batch, micro_rows, micro_prompts))


@functools.cache
def compiled_update(config, micro_rows=0, micro_prompts=0):
    run = jax.jit(functools.partial(update, GRAPH, optax.adamw(1e-2), config))
    return lambda state, batch: run(state, batch, *layouts(batch, micro_rows, micro_prompts))


def layouts(batch, micro_rows, micro_prompts):
    if not micro_rows:
        return helpers.plain_layouts(batch)
    return helpers.packed_layouts(batch, micro_rows, micro_prompts)


def fresh_state():
    return TrainState(PARAMS, optax.adamw(1e-2).init(PARAMS), jnp.int32(0))


def reference_loss(params, batch, config) -> float:
    """The documented objective in float64, a token at a time."""
    logp = helpers.reference_score(
        params,
        CONFIG,
        batch.prompt_tokens,
        batch.prompt_lengths,
        batch.tokens,
        batch.lengths,
        config.temperature,
    )["logp"]
    per_row = []
    for b, length in enumerate(batch.lengths):
        losses = []
        for t in range(length):
            a, old = float(batch.advantages[b, t]), float(batch.old_logp[b, t])
            ratio = np.exp(np.clip(logp[b, t] - old, -20, 20))
            loss = max(-a * ratio, -a * np.clip(ratio, 1 - config.clip_low, 1 + config.clip_high))
            if a < 0:
                loss = min(loss, -a * config.dual_clip)
            if config.kl_in_loss is not None:
                d = logp[b, t] - float(batch.ref_logp[b, t])
                loss += config.kl_in_loss[1] * min(np.exp(-d) + d - 1, 10)  # k3
            losses.append(loss)
        per_row.append(losses)
    full = [row for row in per_row if row]
    return {
        "token-mean": lambda: np.mean(np.concatenate(full)),
        "seq-mean-token-mean": lambda: np.mean([np.mean(row) for row in full]),
        "seq-mean-token-sum": lambda: np.mean([np.sum(row) for row in full]),
        "seq-mean-token-sum-norm": lambda: np.mean([np.sum(row) for row in full]) / config.norm_length,
    }[config.aggregation]()


def numeric_derivative(params, name, direction, loss, step=1e-5) -> float:
    """Central difference of a float64 loss along a direction of one parameter."""
    moved = lambda sign: params | {name: np.asarray(params[name], np.float64) + sign * step * direction}
    return (loss(moved(+1)) - loss(moved(-1))) / (2 * step)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_neither_packing_nor_the_number_of_micro_batches_changes_anything(aggregation):
    batch = helpers.random_batch()  # 4 prompts of 4 rows, lengths from 1 to 7
    config = update_config(aggregation=aggregation)
    grads, loss, sums, worst = compiled_gradients(config)(PARAMS, batch)
    assert float(sums["tokens"]) == batch.lengths.sum()
    # Whole groups, half a group, and rows that hold responses to up to three prompts.
    cuts = ((8, 0), (4, 0), (2, 0), (4, 2), (4, 3), (8, 4), (16, 4))
    for micro_rows, micro_prompts in cuts if aggregation == "token-mean" else ((2, 0), (4, 3)):
        run = compiled_gradients(config, micro_rows, micro_prompts)
        got, got_loss, got_sums, got_worst = run(PARAMS, batch)
        helpers.assert_gradients_close(got, grads)
        np.testing.assert_allclose(got_loss, loss, rtol=2e-6, atol=1e-6)
        np.testing.assert_allclose(got_worst, worst, rtol=1e-6)
        for name in sums:
            np.testing.assert_allclose(got_sums[name], sums[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_the_loss_is_the_documented_one_in_float64(aggregation):
    config = update_config(aggregation=aggregation)
    for seed in (3, 4):
        batch = helpers.random_batch(seed=seed)
        empty = dataclasses.replace(batch, lengths=np.where(np.arange(16) % 5 == 1, 0, batch.lengths))
        for one in (batch, empty):  # an empty row has no weight
            loss = compiled_gradients(config)(PARAMS, one)[1]
            np.testing.assert_allclose(loss, reference_loss(PARAMS, one, config), rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("tail", ["embed", "final_norm.scale", "layers.0.attention.k.kernel",
                                  "layers.0.attention.q_norm.scale", "layers.0.feedforward.down.kernel"])  # fmt: skip
def test_gradients_equal_differences_of_the_float64_loss(tail):
    batch, config = helpers.random_batch(seed=5), update_config()
    grads = compiled_gradients(config)(PARAMS, batch)[0]
    host = {n: np.asarray(x) for n, x in PARAMS.items()}
    direction = np.random.default_rng(8).standard_normal(host[tail].shape)
    want = numeric_derivative(host, tail, direction, lambda p: reference_loss(p, batch, config))
    got = np.sum(np.asarray(grads[tail], np.float64) * direction)
    assert abs(want) > 1e-3
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5)


def test_on_policy_the_gradient_is_minus_the_advantage_times_the_score():
    batch = helpers.random_batch(seed=7)
    config = update_config(on_policy=True, kl_in_loss=None, aggregation="seq-mean-token-mean")
    grads, loss, sums, _ = compiled_gradients(config)(PARAMS, batch)
    rows = len(batch.lengths)

    def surrogate(params):  # sum of -A log pi with the row's weight: no ratio, no clip
        logp = helpers.reference_score(
            params, CONFIG, batch.prompt_tokens, batch.prompt_lengths, batch.tokens, batch.lengths, 0.7
        )["logp"]
        return sum(
            -float(batch.advantages[b, t]) * logp[b, t] / n / rows
            for b, n in enumerate(batch.lengths)
            for t in range(n)
        )

    host = {n: np.asarray(x) for n, x in PARAMS.items()}
    for name in ("embed", "layers.0.attention.q.kernel", "layers.0.feedforward.gate.kernel"):
        direction = np.random.default_rng(9).standard_normal(host[name].shape)
        want = numeric_derivative(host, name, direction, surrogate)
        got = np.sum(np.asarray(grads[name], np.float64) * direction)
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5)
    mask = np.arange(7) < batch.lengths[:, None]
    per_row = (batch.advantages * mask).sum(axis=1) / batch.lengths
    np.testing.assert_allclose(loss, -per_row.mean(), rtol=1e-5)  # the ratio is one
    assert float(sums["actor/pg_clipfrac"]) == 0
    # The old log-probability given must not matter.
    other = dataclasses.replace(batch, old_logp=batch.old_logp - 3)
    helpers.assert_gradients_close(compiled_gradients(config)(PARAMS, other)[0], grads, 1e-7)


def test_what_lies_past_a_rows_length_does_not_matter():
    batch = helpers.random_batch(seed=11)
    padding = np.arange(7) >= batch.lengths[:, None]
    dirty = dataclasses.replace(
        batch,
        tokens=np.where(padding, 5, batch.tokens).astype(np.int32),
        old_logp=np.where(padding, 1e9, batch.old_logp).astype(np.float32),
        ref_logp=np.where(padding, -1e9, batch.ref_logp).astype(np.float32),
    )
    config = update_config()
    clean, loss, sums, worst = compiled_gradients(config)(PARAMS, batch)
    got, got_loss, got_sums, got_worst = compiled_gradients(config)(PARAMS, dirty)
    helpers.assert_gradients_close(got, clean, 1e-7)
    assert float(got_loss) == float(loss) and float(got_worst) == float(worst)
    assert {n: float(x) for n, x in got_sums.items()} == {n: float(x) for n, x in sums.items()}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("micro_rows", [16, 4])
def test_a_non_finite_advantage_changes_nothing_and_is_counted(bad, micro_rows):
    batch = helpers.random_batch(seed=13)
    run = compiled_update(update_config(), micro_rows, micro_prompts=2)
    state, metrics = run(fresh_state(), batch)  # moments that are not zero
    assert int(state.updates) == 1 and float(metrics["actor/skipped_updates"]) == 0
    advantages = batch.advantages.copy()
    advantages[5, 0] = bad
    after, metrics = run(state, dataclasses.replace(batch, advantages=advantages))
    assert float(metrics["actor/skipped_updates"]) == 1
    assert int(after.updates) == 1
    jax.tree.map(np.testing.assert_array_equal, after, state)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(after))


def test_an_update_is_one_step_of_adamw_on_the_clipped_gradient():
    batch = helpers.random_batch(seed=14)
    config = update_config()
    grads = compiled_gradients(config)(PARAMS, batch)[0]
    norm = helpers.global_norm(grads)
    assert norm > 0.05  # so clipping acts
    state, metrics = compiled_update(config)(fresh_state(), batch)
    np.testing.assert_allclose(metrics["actor/grad_norm"], norm, rtol=1e-5)  # before clipping
    for name in PARAMS:
        g = np.asarray(grads[name], np.float64) * 0.05 / norm
        before = np.asarray(PARAMS[name], np.float64)
        # First step of Adam: the bias-corrected moments are g and g^2; optax decays by 1e-4.
        want = before - 1e-2 * (g / (np.abs(g) + 1e-8) + 1e-4 * before)
        clear = np.abs(g) > 1e-5
        assert clear.any()
        np.testing.assert_allclose(np.asarray(state.params[name])[clear], want[clear], atol=2e-5)
    assert int(state.updates) == 1


def test_an_update_copies_no_moments():
    batch = helpers.random_batch(seed=14)
    fn = functools.partial(update, GRAPH, optax.adamw(1e-2), update_config())
    lowered = jax.jit(fn, donate_argnums=0).lower(fresh_state(), batch, *helpers.plain_layouts(batch))
    text = lowered.compile().as_text()
    assert "__mu__embed__" in text
    assert not re.findall(r" copy\([^)]*__(?:mu|nu)__", text)


def test_metrics_are_means_over_the_tokens_of_all_micro_batches():
    batch = helpers.random_batch(seed=15)
    stats = helpers.reference_score(
        PARAMS, CONFIG, batch.prompt_tokens, batch.prompt_lengths, batch.tokens, batch.lengths, 0.7
    )
    mask = np.arange(7) < batch.lengths[:, None]
    difference = np.abs(stats["logp"] - batch.old_logp)[mask]
    a, ratio = batch.advantages[mask], np.exp(stats["logp"] - batch.old_logp)[mask]
    clipped = -a * np.clip(ratio, 0.8, 1.3) > -a * ratio
    metrics = compiled_update(update_config(), 4, 3)(fresh_state(), batch)[1]
    for name, want in {
        "actor/entropy": stats["entropy"][mask].mean(),
        "actor/nll": -stats["logp"][mask].mean(),
        "actor/sampler_logp_diff": difference.mean(),
        "actor/sampler_logp_diff_max": difference.max(),
        "actor/ppo_kl": -np.log(ratio).mean(),
        "actor/pg_clipfrac": clipped.mean(),
    }.items():
        np.testing.assert_allclose(metrics[name], want, rtol=2e-5, atol=1e-6, err_msg=name)
    assert 0 < clipped.mean() < 1


def test_layers_as_one_loop_give_the_same_gradients():
    batch = helpers.random_batch()
    out = {}
    for scan in (False, True):
        config = helpers.model_config(n_layers=2, remat=True, scan=scan)
        graph, params = helpers.model(config)
        run = jax.jit(functools.partial(gradients, graph, config=update_config()))
        out[scan] = run(params, batch, *helpers.packed_layouts(batch, 4, 2))
    helpers.assert_gradients_close(out[True][0], out[False][0])
    np.testing.assert_allclose(out[True][1], out[False][1], rtol=1e-5)


def test_bfloat16_weights_have_float32_gradients_and_moments():
    half = {n: x.astype(jnp.bfloat16) for n, x in PARAMS.items()}
    batch, settings = helpers.random_batch(seed=12), config.default().optim
    settings.lr = 1e-2
    whole, pieces = (compiled_gradients(update_config(), rows)(half, batch)[0] for rows in (0, 2))
    assert {x.dtype for x in (*whole.values(), *pieces.values())} == {jnp.dtype("float32")}
    helpers.assert_gradients_close(pieces, whole, 0.02)
    optimizer = optimizer_lib.optimizer(settings, 10)
    state = TrainState(half, optimizer.init(half), jnp.int32(0))
    run = jax.jit(functools.partial(update, GRAPH, optimizer, update_config()))
    moved, _ = run(state, batch, *layouts(batch, 2, 0))
    assert jax.tree.map(lambda x: x.dtype, moved) == jax.tree.map(lambda x: x.dtype, state)
    assert {x.dtype for x in jax.tree.leaves(moved.opt_state) if x.ndim} == {jnp.dtype("float32")}
    assert any((moved.params[n] != half[n]).any() for n in half)
