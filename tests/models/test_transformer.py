"""The policy: one pass or step by step, padded or not, shared or not, in blocks or whole."""

import dataclasses

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from urlvr_jax.models import attention, transformer
from urlvr_jax.models.transformer import Cache
from urlvr_jax.scoring import score, token_statistics

CONFIG = helpers.model_config(tied=False)
GRAPH, PARAMS = helpers.model(CONFIG)
RNG_PROMPTS, RNG_LENGTHS = helpers.random_prompts(np.random.default_rng(1), 3, 5)  # lengths 1 .. 5
TOKENS, LENGTHS = helpers.random_responses(np.random.default_rng(2), 6, 7)


def scored(graph=GRAPH, params=PARAMS, prompts=RNG_PROMPTS, lengths=RNG_LENGTHS, tokens=TOKENS):
    return jax.tree.map(np.asarray, helpers.jitted_score(graph, params, prompts, lengths, tokens, 1.0))


@pytest.mark.parametrize("tied", [True, False])
def test_one_pass_equals_a_float64_policy(tied):
    config = helpers.model_config(tied=tied)
    graph, params = helpers.model(config, seed=4)
    assert ("head" in params) is not tied
    want = helpers.reference_score(params, config, RNG_PROMPTS, RNG_LENGTHS, TOKENS, LENGTHS, 1.0)
    helpers.assert_statistics_close(scored(graph, params), want, LENGTHS)


def test_decoding_step_by_step_equals_one_pass():
    rows, width, group = *TOKENS.shape, 2

    @jax.jit
    def one_pass(params):
        model = transformer.bind(GRAPH, params)
        prompt = transformer.prefill(model, RNG_PROMPTS)
        first = jnp.repeat(transformer.last_prompt_token(RNG_PROMPTS, RNG_LENGTHS), group)
        inputs = jnp.concatenate([first[:, None], TOKENS[:, :-1]], axis=1)
        start = jnp.repeat(RNG_LENGTHS - 1, group)
        context = (transformer.prompt_segment(prompt, RNG_LENGTHS),)
        hidden, _ = model(inputs, start[:, None] + jnp.arange(width), context=context)
        return hidden, inputs, start, prompt

    @jax.jit
    def step(params, token, position, prompt, cache):
        written = lambda _: (jnp.arange(width) <= cache.index)[None, None, None]
        context = (transformer.prompt_segment(prompt, RNG_LENGTHS),)
        model = transformer.bind(GRAPH, params)
        hidden, layers = model(token[:, None], position[:, None], written, context, cache)
        return hidden[:, 0], layers

    hidden, inputs, start, prompt = one_pass(PARAMS)
    layers = transformer.empty_cache(CONFIG, rows, width)
    # Columns not yet written must not be read, whatever they hold.
    layers = jax.tree.map(lambda x: x + 1e3, layers)
    statistics = scored()
    for t in range(width):
        got, layers = step(PARAMS, inputs[:, t], start + t, prompt, Cache(layers, jnp.int32(t)))
        live = t < LENGTHS
        np.testing.assert_allclose(got[live], hidden[live, t], atol=1e-5)
        z = token_statistics.logits_at(got, transformer.head_table(PARAMS), 1.0)
        logp = token_statistics.statistics_of(z, TOKENS[:, t])["logp"]
        np.testing.assert_allclose(logp[live], statistics["logp"][live, t], atol=1e-5)


def test_a_wider_prompt_bucket_changes_nothing():
    wide = np.pad(RNG_PROMPTS, ((0, 0), (0, 4)), constant_values=9)  # pad is never looked at
    helpers.assert_statistics_close(scored(prompts=wide), scored(), LENGTHS, 2e-6)
    dirty = np.where(np.arange(5) < RNG_LENGTHS[:, None], RNG_PROMPTS, 11).astype(np.int32)
    helpers.assert_statistics_close(scored(prompts=dirty), scored(), LENGTHS, 0)


def test_sharing_a_prompt_equals_a_copy_for_each_row():
    copied = np.repeat(RNG_PROMPTS, 2, axis=0), np.repeat(RNG_LENGTHS, 2)
    helpers.assert_statistics_close(scored(prompts=copied[0], lengths=copied[1]), scored(), LENGTHS, 2e-6)


def test_a_later_token_does_not_change_an_earlier_statistic():
    other = TOKENS.copy()
    other[:, 4:] = (other[:, 4:] + 1) % 13
    before, after = scored(), scored(tokens=other)
    np.testing.assert_array_equal(before["logp"][:, :4], after["logp"][:, :4])
    np.testing.assert_array_equal(before["entropy"][:, :5], after["entropy"][:, :5])
    assert np.abs(before["entropy"][:, 5:] - after["entropy"][:, 5:]).max() > 1e-3


def test_a_prompt_of_one_token_works():
    assert RNG_LENGTHS[0] == 1
    one = scored(prompts=RNG_PROMPTS[:1, :1], lengths=RNG_LENGTHS[:1], tokens=TOKENS[:2])
    want = helpers.reference_score(
        PARAMS, CONFIG, RNG_PROMPTS[:1, :1], RNG_LENGTHS[:1], TOKENS[:2], LENGTHS[:2], 1.0
    )
    helpers.assert_statistics_close(one, want, LENGTHS[:2])


def test_query_blocks_and_remat_change_neither_values_nor_gradients(monkeypatch):
    cotangent = np.random.default_rng(3).standard_normal(TOKENS.shape)
    cotangent = (cotangent * (np.arange(TOKENS.shape[1]) < LENGTHS[:, None])).astype(np.float32)

    def value_and_gradient(config):
        graph = transformer.structure(config)[0]

        def loss(p):
            stats = score.score(graph, p, RNG_PROMPTS, RNG_LENGTHS, TOKENS, 1.0)
            return jnp.sum(cotangent * stats["logp"]), stats

        compiled = jax.jit(jax.value_and_grad(loss, has_aux=True)).lower(params).compile()
        (value, stats), grads = compiled(params)
        return float(value), stats, grads

    config = helpers.model_config(tied=False, n_layers=1)
    params = helpers.model(config)[1]
    value, stats, grads = value_and_gradient(config)
    calls = []
    lax_map = jax.lax.map

    def counted(fn, *a, **k):
        calls.extend([1] * ("rope" not in fn.__module__))
        return lax_map(fn, *a, **k)

    monkeypatch.setattr(jax.lax, "map", counted)
    monkeypatch.setattr(attention, "QUERY_BLOCK", 3)  # 7 queries: two whole blocks and a padded one
    for name, changed in (
        ("blocks", config),
        ("blocks and remat", dataclasses.replace(config, remat=True)),
    ):
        calls.clear()
        got_value, got_stats, got_grads = value_and_gradient(changed)
        assert calls, "the blocks were not used"
        np.testing.assert_allclose(got_value, value, rtol=1e-5, err_msg=name)
        helpers.assert_statistics_close(got_stats, stats, LENGTHS, 2e-6)
        helpers.assert_gradients_close(got_grads, grads)
    monkeypatch.setattr(attention, "QUERY_BLOCK", 512)
    calls.clear()
    got_value, _, got_grads = value_and_gradient(dataclasses.replace(config, remat=True))
    assert not calls
    np.testing.assert_allclose(got_value, value, rtol=1e-5)
    helpers.assert_gradients_close(got_grads, grads)


def test_remat_recomputes_the_layers():
    batch = jnp.zeros((4, 16), jnp.int32)
    text = {}
    for remat in (False, True):
        graph = transformer.structure(helpers.model_config(tied=False, remat=remat))[0]
        loss = lambda p, graph=graph: transformer.bind(graph, p)(batch, batch)[0].sum()
        text[remat] = str(jax.make_jaxpr(jax.grad(loss))(PARAMS))
    assert "remat" in text[True] or "checkpoint" in text[True]
    assert "remat" not in text[False] and "checkpoint" not in text[False]


def test_parameters_round_trip_through_bind():
    graph, shapes = transformer.structure(CONFIG)
    assert {n: s.shape for n, s in shapes.items()} == {n: x.shape for n, x in PARAMS.items()}
    first, again = transformer.initialise(CONFIG, 3), transformer.initialise(CONFIG, 3)
    other = transformer.initialise(CONFIG, 4)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert set(first) == set(shapes)
    for name, x in first.items():
        if name.endswith("norm.scale"):
            assert (x == 1).all()
        else:
            assert 0.01 < float(x.std()) < 0.03 and (x != other[name]).any()
