"""Adapters on meshes: one device and eight agree, one base serves policy and reference, rollouts have it merged."""

import functools

import helpers
import jax
import numpy as np
import pytest

from urlvr_jax.learning.step import gradients
from urlvr_jax.models import lora, transformer
from urlvr_jax.models.lora import LoRA
from urlvr_jax.runtime import engine, random_keys, sharding
from urlvr_jax.types import Prompts, Rollouts

BASE = helpers.model_config(tied=False, n_layers=1, vocab_size=16)
HOST = helpers.random_params(BASE, seed=3)
BATCH = helpers.random_batch(seed=30, prompts=8, group=4, prompt_width=5, width=6, vocab=16)
PROMPTS = Prompts(tuple("abcdefgh"), ("",) * 8, BATCH.prompt_tokens, BATCH.prompt_lengths)
ROLLOUTS = Rollouts(BATCH.tokens, BATCH.lengths, np.zeros(32, bool), {"logp": BATCH.old_logp})
ONE, MESHES = (1, 1, 1), ((2, 4, 1), (2, 2, 2))


@functools.cache
def engine_on(shape, base="param_dtype") -> engine.Engine:
    c = helpers.experiment(mesh__data=shape[0], mesh__fsdp=shape[1], mesh__tensor=shape[2], kl__coef=0.1)
    config = helpers.model_config(tied=False, n_layers=1, vocab_size=16, lora=LoRA(2, 4.0, base=base))
    return engine.Engine(c, config, (2, 5), jax.devices()[: int(np.prod(shape))])


def params_of(e) -> dict:
    """The base with adapters that are far from fresh."""
    params = e.adapted(e.place(HOST))
    rng = np.random.default_rng(1)
    draw = {
        n: x + 0.2 * rng.standard_normal(x.shape).astype(np.float32)
        for n, x in sorted(lora.trained(params).items())
    }
    return params | e.place({n: np.asarray(x) for n, x in draw.items()})


@functools.cache
def gradient_on(shape, base):
    e = engine_on(shape, base)
    layout = lora.trained(e.training_layout)
    run = jax.jit(
        functools.partial(gradients, e.graph, config=e.update_config()),
        out_shardings=(layout, e.replicated, e.replicated, e.replicated),
    )
    (packed,) = e.minibatches(PROMPTS, ROLLOUTS, BATCH.advantages, BATCH.old_logp, BATCH.ref_logp)
    with sharding.tracing_for(e.mesh):
        out = run(params_of(e), *packed)
    return jax.tree.map(np.asarray, out[:2])


@pytest.mark.parametrize("base", lora.BASES)
@pytest.mark.parametrize("shape", MESHES)
def test_gradients_do_not_depend_on_the_mesh(shape, base):
    (ours, loss), (theirs, one_loss) = gradient_on(shape, base), gradient_on(ONE, base)
    assert set(ours) == set(lora.trained(engine_on(shape, base).shapes))
    helpers.assert_gradients_close(ours, theirs)
    np.testing.assert_allclose(loss, one_loss, rtol=1e-5, atol=1e-6)


def test_a_device_holds_its_share_of_adapters_kernels_and_moments():
    e = engine_on((2, 2, 2), "int8")
    state = e.new_state(params_of(e))
    held = lambda x: sum(s.data.size for s in x.addressable_shards if s.device == jax.devices()[0])
    for name, x in state.params.items():
        share = {"kernel": 4, "lora_a": 2, "lora_b": 2}.get(name.rpartition(".")[2])
        assert share is None or held(x) == x.size // share, name
    for name, x in state.opt_state[0].mu.items():
        assert x.sharding.is_equivalent_to(e.training_layout[name], x.ndim), name
    assert set(state.opt_state[0].mu) == set(lora.trained(state.params))


@pytest.mark.parametrize("base", lora.BASES)
def test_sampler_and_scorer_agree_and_eight_devices_sample_the_tokens_of_one(base):
    """The sampler's weights are merged, the scorer's are not: in float32 that is 1e-5."""
    out = {}
    for shape in (ONE, (2, 2, 2)):
        e = engine_on(shape, base)
        params = params_of(e)
        key = random_keys.random_key(0, "rollout", 1)
        out[shape] = e.sample(e.to_rollout(params), PROMPTS, key, e.rollout_shape(5))
        scored = e.score(params, PROMPTS, out[shape])
        helpers.assert_statistics_close(out[shape].stats, scored, out[shape].lengths)
    one, eight = out.values()
    np.testing.assert_array_equal(eight.tokens, one.tokens)
    helpers.assert_statistics_close(eight.stats, one.stats, one.lengths)
    merged = lora.merged(params_of(engine_on(ONE, base)), LoRA(2, 4.0, base=base), np.float32)
    args = (BATCH.prompt_tokens, BATCH.prompt_lengths, one.tokens, one.lengths, 1.0)
    helpers.assert_statistics_close(one.stats, helpers.reference_score(merged, BASE, *args), one.lengths)


def test_the_reference_is_the_base_without_a_second_copy():
    e = engine_on((2, 2, 2))
    params = params_of(e)
    reference = e.base(params)
    for name, x in params.items():
        assert (reference[name] is x) != name.endswith(".lora_b"), name
    got = e.score(reference, PROMPTS, ROLLOUTS)["logp"]
    plain = transformer.structure(BASE)[0]
    want = helpers.jitted_score(plain, HOST, BATCH.prompt_tokens, BATCH.prompt_lengths, BATCH.tokens, 1.0)[
        "logp"
    ]
    helpers.assert_statistics_close({"logp": got}, {"logp": np.asarray(want)}, BATCH.lengths)
    moved = e.score(params, PROMPTS, ROLLOUTS)["logp"]
    assert np.abs(moved - got).max() > 0.01


def test_an_update_leaves_the_base_where_it_lies():
    e = engine_on(ONE)
    (packed,) = e.minibatches(PROMPTS, ROLLOUTS, BATCH.advantages, BATCH.old_logp, BATCH.ref_logp)
    at = lambda params: {n: x.unsafe_buffer_pointer() for n, x in lora.split(params)[1].items()}
    state, _ = e.update(e.new_state(params_of(e)), packed)  # what the host gave may be copied, once
    first = at(state.params)
    state, said = e.update(state, packed)
    assert at(state.params) == first, "no copy was made"
    for name in first:
        np.testing.assert_array_equal(state.params[name], HOST[name])
    assert float(said["actor/grad_norm"]) > 0


def test_one_merged_copy_serves_until_the_rollouts_are_on_the_host():
    e = engine_on(ONE)
    params = params_of(e)
    merged = e.to_rollout(params)
    assert e.to_rollout(params) is merged and set(merged) == set(HOST)
    assert merged["embed"] is params["embed"] and merged["final_norm.scale"] is params["final_norm.scale"]
    assert e.to_rollout(dict(params)) is not merged, "other parameters, though they are equal"
    key = random_keys.random_key(0, "rollout", 1)
    merged = e.to_rollout(params)
    e.sample(merged, PROMPTS, key, e.rollout_shape(5))
    assert e.to_rollout(params) is not merged
