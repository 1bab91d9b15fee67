"""Token statistics against float64, in chunks and whole, at extreme logits, and in bounded memory."""

import functools

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from urlvr_jax.models import products, transformer
from urlvr_jax.runtime.sharding import ByPlatform
from urlvr_jax.scoring import head as head_lib
from urlvr_jax.scoring import score, token_statistics
from urlvr_jax.types import STATISTICS

ROWS, WIDTH, D, VOCAB = 3, 5, 8, 37


def inputs(seed=0, vocab=VOCAB):
    rng = np.random.default_rng(seed)
    hidden = rng.standard_normal((ROWS, WIDTH, D)).astype(np.float32)
    head = rng.standard_normal((vocab, D)).astype(np.float32)
    return hidden, head, rng.integers(0, vocab, (ROWS, WIDTH)).astype(np.int32)


def set_chunk(monkeypatch, elements):
    monkeypatch.setattr(head_lib, "CHUNK_ELEMENTS", ByPlatform(elements, elements))


def reference(hidden, head, targets, temperature):
    z = hidden.astype(np.float64) @ head.astype(np.float64).T / temperature
    out = {name: np.zeros(targets.shape) for name in STATISTICS}
    for at in np.ndindex(targets.shape):
        for name, value in helpers.reference_statistics(z[at], targets[at]).items():
            out[name][at] = value
    return out


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_statistics_equal_float64(temperature):
    hidden, head, targets = inputs()
    got = jax.jit(head_lib.token_statistics, static_argnums=3)(hidden, head, targets, temperature)
    assert set(got) == set(STATISTICS)
    assert all(x.dtype == jnp.float32 and x.shape == targets.shape for x in got.values())
    want = reference(hidden, head, targets, temperature)
    helpers.assert_statistics_close(got, want, np.full(ROWS, WIDTH))


def test_bfloat16_hidden_states_have_float32_statistics():
    hidden, head, targets = inputs(1)
    rounded = jnp.asarray(hidden, jnp.bfloat16), jnp.asarray(head, jnp.bfloat16)
    got = jax.jit(head_lib.token_statistics, static_argnums=3)(rounded[0], head, targets, 1.0)
    assert {x.dtype for x in got.values()} == {jnp.dtype("float32")}
    want = reference(*(np.asarray(x, np.float32) for x in rounded), targets, 1.0)
    helpers.assert_statistics_close(got, want, np.full(ROWS, WIDTH))


@pytest.mark.parametrize("vocab", [products.LARGE_VOCABULARY, products.LARGE_VOCABULARY + 1, 50000])
def test_logits_of_few_tokens_and_a_large_vocabulary_equal_the_product(vocab):
    hidden, head, _ = inputs(3, vocab)
    flat = hidden.reshape(-1, D)
    got = jax.jit(token_statistics.logits_at, static_argnums=2)(flat, head, 0.7)
    np.testing.assert_allclose(got, flat @ head.T / 0.7, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "other", "platform", "parts"),
    [
        (7168, 151936, "gpu", [896] * 8),
        (7168, 151936, "cpu", [27] * 265 + [13]),
        (151936, 7168, "tpu", [16896] * 8 + [16768]),
        (512, 151936, "gpu", [512]),
        (1000, 128256, "gpu", [1000]),
        (2100, 128256, "gpu", [768, 768, 564]),
    ],
)
def test_the_heads_logits_come_in_equal_and_aligned_parts_off_the_cpu(size, other, platform, parts):
    part = head_lib.chunk_of(size, other, platform)
    assert [min(part, size - at) for at in range(0, size, part)] == parts


@pytest.mark.parametrize("kept", [0, 2**24])
@pytest.mark.parametrize("first", [False, True])
def test_neither_chunks_nor_kept_logits_nor_their_order_change_values_or_gradients(
    kept, first, monkeypatch
):
    hidden, head, targets = inputs(2)
    cotangent = np.random.default_rng(4).standard_normal((ROWS, WIDTH)).astype(np.float32)

    def loss(hidden, head):
        stats = head_lib.token_statistics(hidden, head, targets, 0.7)
        return jnp.sum(cotangent * stats["logp"]), stats

    run = lambda: jax.jit(jax.value_and_grad(lambda *a: loss(*a), argnums=(0, 1), has_aux=True))
    (value, stats), grads = run()(hidden, head)
    # 15 tokens in all: one by one, a padded last chunk, even, one chunk; and 37 entries backwards: blocks
    # of 2, 9, 12 and a rest, one block.
    for tokens in (1, 4, 5, 15):
        set_chunk(monkeypatch, tokens * VOCAB)
        monkeypatch.setattr(head_lib, "KEPT_ELEMENTS", ByPlatform(kept, kept))
        monkeypatch.setattr(products, "LARGE_VOCABULARY", 1 if first else 4096)
        assert products.vocabulary_axis(tokens, VOCAB) == (0 if first else -1)
        compiled = run().lower(hidden, head)
        assert ("while" in compiled.as_text()) == (tokens < 15 and not kept)
        (got_value, got), got_grads = compiled.compile()(hidden, head)
        np.testing.assert_allclose(got_value, value, rtol=1e-5)
        helpers.assert_statistics_close(got, stats, np.full(ROWS, WIDTH), 1e-6)
        names = ("hidden", "head")
        helpers.assert_gradients_close(
            dict(zip(names, got_grads, strict=True)), dict(zip(names, grads, strict=True)), 1e-6
        )
    # Gradients of log pi against the formula: d logp / d z = onehot - p.
    monkeypatch.undo()
    logp = lambda h: jnp.sum(cotangent * head_lib.token_statistics(h, head, targets, 0.7)["logp"])
    z = hidden.astype(np.float64) @ head.T / 0.7
    p = np.exp(z - z.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    want = cotangent[..., None] * ((np.eye(VOCAB)[targets] - p) @ head) / 0.7
    np.testing.assert_allclose(jax.jit(jax.grad(logp))(hidden), want, atol=1e-5)


def test_an_offset_common_to_all_logits_is_harmless():
    rng = np.random.default_rng(6)
    z = (rng.integers(-600, 600, (20, VOCAB)) / 128).astype(np.float32)  # exact after the shift, too
    y = rng.integers(0, VOCAB, 20)
    run = jax.jit(token_statistics.statistics_of)
    plain = run(z, y)
    for offset in (1000, -1000):
        shifted = z + np.float32(offset)
        np.testing.assert_array_equal(shifted - np.float32(offset), z)
        for name, x in run(shifted, y).items():
            np.testing.assert_allclose(x, plain[name], atol=1e-6, err_msg=name)


def test_sharp_logits_stay_finite_with_finite_gradients():
    z = np.zeros((4, 6), np.float32)
    z[0, 2], z[1, 2], z[2, :] = 1e4, -1e4, [80, 80, -90, -90, -90, -90]
    z[3] = np.linspace(-3e4, 3e4, 6)
    y = np.array([2, 2, 4, 0])
    got = jax.jit(token_statistics.statistics_of)(z, y)
    for i in range(4):
        z64 = z[i].astype(np.float64)
        log_p = z64 - z64.max() - np.log(np.exp(z64 - z64.max()).sum())
        p = np.exp(log_p)
        want = {
            "logp": log_p[y[i]],
            "entropy": -np.sum(np.where(p > 0, p * log_p, 0)),
            "self_certainty": -log_p.mean(),
            "top2_gap": np.sort(p)[-1] - np.sort(p)[-2],
        }
        for name, value in want.items():
            np.testing.assert_allclose(got[name][i], value, rtol=1e-6, atol=1e-6, err_msg=name)
    # The gradient of the log-probability, through a head of one column that makes these logits.
    for row, target in zip(z, y, strict=True):
        logp = lambda h, head, target=target: head_lib.token_statistics(h, head, np.array([target]), 1.0)[
            "logp"
        ][0]
        for grad in jax.jit(jax.grad(logp, argnums=(0, 1)))(np.ones((1, 1), np.float32), row[:, None]):
            assert np.isfinite(grad).all()


@pytest.mark.parametrize("kept", [0, 2**24])
@pytest.mark.parametrize("offset", [0, 100, 980])
def test_the_gradient_keeps_its_small_components(kept, offset, monkeypatch):
    """Logits [20, 12, 0] make the first token nearly certain; an offset common to all changes nothing."""
    monkeypatch.setattr(head_lib, "KEPT_ELEMENTS", ByPlatform(kept, kept))
    z = np.array([20, 12, 0], np.float32) + offset
    e = np.exp(np.array([20.0, 12, 0]) - 20)
    for target in range(3):
        logp = lambda h, y=target: head_lib.token_statistics(
            h[None], np.eye(3, dtype=np.float32), np.array([y]), 1.0
        )["logp"][0]
        want = -e / e.sum()
        want[target] = np.delete(e, target).sum() / e.sum()  # 1 - p without a difference
        np.testing.assert_allclose(jax.jit(jax.grad(logp))(z), want, rtol=1e-4)


def test_a_tie_for_the_first_place_has_no_gap():
    z = np.array([[1.0, 3.0, 3.0, 2.0]], np.float32)
    assert float(token_statistics.statistics_of(z, np.array([1]))["top2_gap"][0]) == 0
    uniform = {
        n: float(x[0])
        for n, x in token_statistics.statistics_of(np.zeros((1, 8), np.float32), np.array([3])).items()
    }
    np.testing.assert_allclose(uniform["entropy"], np.log(8), rtol=1e-6)
    np.testing.assert_allclose(uniform["self_certainty"], np.log(8), rtol=1e-6)


@pytest.mark.parametrize("gradient", [False, True])
def test_the_logits_of_all_tokens_never_exist_at_once(monkeypatch, gradient):
    rows, width, vocab = 4, 64, 32768
    set_chunk(monkeypatch, 16 * vocab)
    monkeypatch.setattr(head_lib, "KEPT_ELEMENTS", ByPlatform(0, 0))
    config = helpers.model_config(tied=False, n_layers=1, vocab_size=vocab)
    graph, shapes = helpers.transformer.structure(config)
    ints = lambda *s: jax.ShapeDtypeStruct(s, jnp.int32)
    fn = functools.partial(score.score, graph)
    if gradient:
        fn = jax.grad(lambda *a: score.score(graph, *a)["logp"].sum())
    args = (shapes, ints(2, 3), ints(2), ints(rows, width))
    memory = jax.jit(lambda *a: fn(*a, 1.0)).lower(*args).compile().memory_analysis()
    whole = rows * width * vocab * 4
    assert 0 < memory.temp_size_in_bytes < whole / 2, memory.temp_size_in_bytes / whole


def test_the_first_input_of_a_response_is_the_last_prompt_token():
    tokens = np.array([[5, 6, 7], [8, 9, 0]], np.int32)
    assert transformer.last_prompt_token(tokens, np.array([3, 1])).tolist() == [7, 8]


def test_scores_at_a_temperature_equal_float64():
    config = helpers.model_config(tied=True, n_layers=1)
    graph, params = helpers.model(config, seed=9)
    prompts, lengths = helpers.random_prompts(np.random.default_rng(1), 3, 5)
    tokens, sizes = helpers.random_responses(np.random.default_rng(2), 6, 7)
    got = helpers.jitted_score(graph, params, prompts, lengths, tokens, 0.7)
    want = helpers.reference_score(params, config, prompts, lengths, tokens, sizes, 0.7)
    helpers.assert_statistics_close(got, want, sizes)
