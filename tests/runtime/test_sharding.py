"""Eight devices and one compute the same, and each holds its share."""

import functools

import helpers
import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from urlvr_jax.learning.step import gradients
from urlvr_jax.runtime import engine, random_keys, sharding
from urlvr_jax.runtime.sharding import ByPlatform
from urlvr_jax.scoring import head
from urlvr_jax.types import Prompts, Rollouts

CONFIG = helpers.model_config(tied=False, n_layers=1, vocab_size=16)
HOST = helpers.random_params(CONFIG, seed=3)
STOP = (2, 5)
BATCH = helpers.random_batch(seed=30, prompts=8, group=4, prompt_width=5, width=6, vocab=16)
MESHES = ((8, 1, 1), (2, 4, 1), (2, 2, 2))


def mesh_of(*shape):
    return sharding.make_mesh(*shape, jax.devices()[: int(np.prod(shape))])


@functools.cache
def engine_on(shape) -> engine.Engine:
    """An engine of the small experiment on some of the eight devices."""
    c = helpers.experiment(mesh__data=shape[0], mesh__fsdp=shape[1], mesh__tensor=shape[2])
    return engine.Engine(c, CONFIG, STOP, jax.devices()[: int(np.prod(shape))])


@functools.cache
def gradient_on(shape):
    """(gradients, loss) of the recorded rollouts, in the engine's own layouts."""
    e = engine_on(shape)
    run = jax.jit(
        functools.partial(gradients, e.graph, config=e.update_config()),
        out_shardings=(e.training_layout, e.replicated, e.replicated, e.replicated),
    )
    prompts, rollouts = prompts_and_rollouts()
    (packed,) = e.minibatches(prompts, rollouts, BATCH.advantages, BATCH.old_logp, BATCH.ref_logp)
    with sharding.tracing_for(e.mesh):
        out = run(e.place(HOST), *packed)
    return jax.tree.map(np.asarray, out[:2])


def prompts_and_rollouts():
    prompts = Prompts(tuple("abcdefgh"), ("",) * 8, BATCH.prompt_tokens, BATCH.prompt_lengths)
    ended = np.zeros(32, bool)
    return prompts, Rollouts(BATCH.tokens, BATCH.lengths, ended, {"logp": BATCH.old_logp})


@pytest.mark.parametrize("shape", MESHES)
def test_gradients_do_not_depend_on_the_mesh(shape):
    (ours, loss), (theirs, one_loss) = gradient_on(shape), gradient_on((1, 1, 1))
    helpers.assert_gradients_close(ours, theirs)
    np.testing.assert_allclose(loss, one_loss, rtol=1e-5, atol=1e-6)


def test_gradients_with_the_head_in_chunks_do_not_depend_on_the_mesh(monkeypatch):
    (theirs, one_loss) = gradient_on((1, 1, 1))
    monkeypatch.setattr(head, "CHUNK_ELEMENTS", ByPlatform(5 * CONFIG.vocab_size, 5 * CONFIG.vocab_size))
    monkeypatch.setattr(head, "KEPT_ELEMENTS", ByPlatform(0, 0))
    for shape in ((2, 2, 1), (2, 2, 2)):
        ours, loss = gradient_on.__wrapped__(shape)
        helpers.assert_gradients_close(ours, theirs)
        np.testing.assert_allclose(loss, one_loss, rtol=1e-5, atol=1e-6)


def test_an_update_of_the_engine_does_not_depend_on_the_mesh():
    moved = {}
    for shape in ((1, 1, 1), (2, 2, 2)):
        e = engine_on(shape)
        prompts, rollouts = prompts_and_rollouts()
        (packed,) = e.minibatches(prompts, rollouts, BATCH.advantages, BATCH.old_logp, BATCH.ref_logp)
        np.testing.assert_array_equal(packed.batch.tokens, BATCH.tokens)
        np.testing.assert_array_equal(packed.batch.advantages, BATCH.advantages)
        state, metrics = e.update(e.new_state(e.place(HOST)), packed)
        moved[shape] = sharding.to_host((state.params, metrics))
        assert int(state.updates) == 1 and float(metrics["actor/skipped_updates"]) == 0
        for leaf in (state.params, state.opt_state[0].mu, state.opt_state[0].nu):
            for name, x in leaf.items():  # moments lie where their parameter lies
                assert x.sharding.is_equivalent_to(e.training_layout[name], x.ndim), name
    (params, metrics), (one_params, one_metrics) = moved[2, 2, 2], moved[1, 1, 1]
    for name in ("actor/loss", "actor/grad_norm", "actor/entropy", "actor/nll"):
        np.testing.assert_allclose(metrics[name], one_metrics[name], rtol=1e-4, atol=1e-6)
    lr = engine_on((1, 1, 1)).c.optim.lr
    for name in params:
        step, one_step = params[name] - HOST[name], one_params[name] - HOST[name]
        # Adam's first step is the sign of the gradient where that is not rounding.
        clear = np.abs(gradient_on((1, 1, 1))[0][name]) > 1e-5
        assert clear.any() and (np.abs(one_step[clear]) > 0.5 * lr).all()
        np.testing.assert_allclose(step[clear], one_step[clear], atol=0.02 * lr)


@pytest.mark.parametrize("shape", MESHES)
def test_a_device_holds_its_share_of_every_parameter(shape):
    e = engine_on(shape)
    state = e.new_state(e.place(HOST))
    first = jax.devices()[0]
    sizes = dict(zip(sharding.AXES, shape, strict=True))
    whole = here = 0
    for name, host in HOST.items():
        parts = [a for a in sharding.partition_spec(name) if a is not None]
        assert len(parts) == (0 if name.endswith("norm.scale") else 2), name
        want = host.size // int(np.prod([sizes[a] for a in parts]))
        for x in (state.params[name], state.opt_state[0].mu[name], state.opt_state[0].nu[name]):
            held = [s.data.size for s in x.addressable_shards if s.device == first]
            assert sum(held) == want, name
        # While decoding weights are whole along fsdp.
        rollout = e.to_rollout(state.params)[name]
        held = sum(s.data.size for s in rollout.addressable_shards if s.device == first)
        assert held == host.size // (sizes["tensor"] if parts else 1), name
        np.testing.assert_array_equal(rollout, host)
        whole, here = whole + host.size, here + want
    assert here < 1.1 * whole / (shape[1] * shape[2])


def test_sampling_on_eight_devices_gives_the_tokens_of_one():
    prompts, _ = prompts_and_rollouts()
    out = {}
    for shape in ((1, 1, 1), (2, 2, 2)):
        e = engine_on(shape)
        params = e.to_rollout(e.place(HOST))
        key = random_keys.random_key(0, "rollout", 1)
        out[shape] = e.sample(params, prompts, key, e.rollout_shape(prompts.tokens.shape[1]))
    one, eight = out[1, 1, 1], out[2, 2, 2]
    np.testing.assert_array_equal(eight.tokens, one.tokens)
    np.testing.assert_array_equal(eight.lengths, one.lengths)
    np.testing.assert_array_equal(eight.ended, one.ended)
    helpers.assert_statistics_close(eight.stats, one.stats, one.lengths)
    want = helpers.reference_score(
        HOST, CONFIG, prompts.tokens, prompts.lengths, eight.tokens, eight.lengths, 1.0
    )
    helpers.assert_statistics_close(eight.stats, want, eight.lengths)
    assert len(np.unique(one.tokens)) > 8


def test_rescoring_on_eight_devices_is_zero_past_each_length():
    e = engine_on((2, 2, 2))
    prompts, rollouts = prompts_and_rollouts()
    out = e.score(e.place(HOST), prompts, rollouts)
    want = helpers.reference_score(
        HOST, CONFIG, prompts.tokens, prompts.lengths, rollouts.tokens, rollouts.lengths, 1.0
    )
    helpers.assert_statistics_close(out, want, rollouts.lengths)
    assert all((x[~rollouts.mask] == 0).all() for x in out.values())


def test_micro_batches_share_the_work_among_the_devices():
    """Each device does an eighth of the multiplications, not all of them again."""
    flops = {}
    for shape in ((1, 1, 1), (8, 1, 1)):
        c = helpers.experiment(
            data__prompts_per_step=16,
            optim__micro_rows=32,
            mesh__data=shape[0],
        )
        e = engine.Engine(c, CONFIG, STOP, jax.devices()[: int(np.prod(shape))])
        assert e.pack_shape().most(16, 4) == 2  # two micro-batches of eight prompts
        flops[shape] = e.updater(5, 6).cost_analysis()["flops"]
    assert flops[8, 1, 1] < 0.4 * flops[1, 1, 1], flops


def test_the_mesh_takes_all_devices_in_order():
    mesh = sharding.make_mesh(2, 2, 2)
    assert dict(mesh.shape) == {"data": 2, "fsdp": 2, "tensor": 2}
    assert list(mesh.devices.flat) == jax.devices()


def test_rows_are_split_over_data_and_fsdp():
    e = engine_on((2, 2, 2))
    tokens = sharding.put(BATCH.tokens, e.rows_sharding)
    assert {s.data.shape for s in tokens.addressable_shards} == {(8, 6)}
    np.testing.assert_array_equal(sharding.to_host(tokens), BATCH.tokens)


def test_every_parameter_has_exactly_one_rule(monkeypatch):
    for name in (*HOST, "layers.11.attention.q_norm.scale"):
        assert isinstance(sharding.partition_spec(name), PartitionSpec)
    for unknown in ("layers.0.attention.bias", "embedding", "layers.0.moe.gate.kernel", ""):
        with pytest.raises(ValueError, match="matches 0 sharding rules") as error:
            sharding.partition_spec(unknown)
        assert repr(unknown) in str(error.value)
    monkeypatch.setattr(sharding, "RULES", (*sharding.RULES, (r"emb.*", PartitionSpec())))
    with pytest.raises(ValueError, match="'embed' matches 2 sharding rules"):
        sharding.partition_spec("embed")


def test_a_dimension_that_does_not_divide_names_its_parameter():
    odd = helpers.random_params(helpers.model_config(vocab_size=13, n_layers=1))
    with pytest.raises(sharding.MeshError, match=r"parameter 'embed'.*13.*mesh\.tensor = 2"):
        sharding.training_layout(mesh_of(1, 1, 2), odd)
    with pytest.raises(sharding.MeshError, match=r"does not divide over mesh\.fsdp = 3"):
        sharding.training_layout(mesh_of(1, 3, 1), HOST)
    assert set(sharding.training_layout(mesh_of(1, 2, 1), odd)) == set(odd)
