"""One step by the engine: nothing moves between host and device unsaid, and the reference stays what it was."""

import jax
import numpy as np
import pytest
from helpers import experiment

from urlvr_jax.data import stream
from urlvr_jax.measure import metrics
from urlvr_jax.runtime.opening import open_run
from urlvr_jax.runtime.random_keys import random_key


@pytest.fixture(scope="module")
def run():
    how = {"kl.coef": 0.1, "kl.place": "loss", "optim.lr": 1e-2, "data.prompt_buckets": (16,)}
    return open_run(experiment(**how, **{"mesh.data": 2, "mesh.fsdp": 4}))


def step(run, state, number, reference, guard="allow"):
    """One rollout, score and update; what the updates say. Keys, three numbers, are made outside the guard."""
    engine, c = run.engine, run.c
    prompts = stream.prompts_at(run.questions, number, c.data.prompts_per_step, c.seed, c.data.shuffle)
    key = random_key(c.seed, "rollout", number)
    with jax.transfer_guard(guard):
        rollouts = engine.sample(engine.to_rollout(state.params), prompts, key, engine.rollout_shape(16))
        return learn(run, state, number, reference, prompts, rollouts)


def learn(run, state, number, reference, prompts, rollouts):
    ref_logp = run.engine.score(reference, prompts, rollouts)["logp"]
    advantages = np.random.default_rng(number).standard_normal(rollouts.tokens.shape).astype(np.float32)
    said = []
    for batch in run.engine.minibatches(prompts, rollouts, advantages, rollouts.stats["logp"], ref_logp):
        state, metrics = run.engine.update(state, batch)
        said.append(metrics)
    return state, jax.device_get(said)


def test_a_step_moves_nothing_between_host_and_device_unsaid(run):
    state = run.engine.new_state(run.base_params())
    reference = run.base_params()
    state, _ = step(run, state, 1, reference)  # compiles
    step(run, state, 2, reference, "disallow")


def test_updates_leave_the_reference_as_it_was(run):
    reference, base = run.base_params(), jax.device_get(run.base_params())
    state = run.engine.new_state(run.base_params())
    for number in range(1, 4):
        state, said = step(run, state, number, reference)
    assert sum(float(np.sum(x["actor/kl"])) for x in said) > 0, "the policy has left it"
    after, moved = jax.device_get(reference), jax.device_get(state.params)
    for name, x in base.items():
        np.testing.assert_array_equal(after[name], x, err_msg=name)
    assert any(np.any(moved[name] != x) for name, x in base.items())


def test_an_update_that_is_not_finite_changes_nothing_and_the_next_one_is_as_usual(run):
    engine = run.engine
    state = engine.new_state(run.base_params())
    prompts, rollouts = run.finish(run.begin(state.params, 1))
    zeros = np.zeros_like(rollouts.stats["logp"])
    before = jax.device_get(state)
    for value, skipped in ((np.inf, 1), (1.0, 0)):
        advantages = np.full(rollouts.tokens.shape, value, np.float32)
        (batch,) = engine.minibatches(prompts, rollouts, advantages, rollouts.stats["logp"], zeros)
        state, said = engine.update(state, batch)
        assert jax.device_get(said)["actor/skipped_updates"] == skipped
        after = jax.device_get(state)
        same = jax.tree.map(np.array_equal, before, after)
        assert jax.tree.all(same) == bool(skipped)
    assert all(np.isfinite(x).all() for x in after.params.values())


def test_a_step_whose_advantages_are_all_0_makes_no_update_and_tells_what_one_would():
    c = experiment(
        **{"mesh.data": 8, "data.prompt_buckets": (16,), "rollout.train_group": 2, "optim.epochs": 2}
    )
    run = open_run(c)
    state = run.engine.new_state(run.base_params())
    prompts, rollouts = run.finish(run.begin(state.params, 1))
    zeros = np.zeros_like(rollouts.stats["logp"])
    given = (prompts, rollouts, zeros, rollouts.stats["logp"], zeros)
    assert list(run.engine.minibatches(*given)) == []
    line = metrics.Line(1)
    metrics.add_updates(c, line, [], False, rollouts, rollouts.stats)
    assert line.free.pop("actor/idle_updates") == 2
    with c.unlocked():
        c.optim.weight_decay = 0.1  # which moves the policy whatever the advantages
    (batch, _) = run.engine.minibatches(*given)
    _, said = run.engine.update(state, batch)
    said = jax.device_get(said)
    for name, value in line.free.items():
        np.testing.assert_allclose(value, said[name], rtol=1e-5, atol=1e-6, err_msg=name)
    assert set(said) - set(line.free) == {
        "actor/sampler_logp_diff", "actor/sampler_logp_diff_max", "perf/update_padding",
    }  # fmt: skip
