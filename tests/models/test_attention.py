"""Attention: the kernels for long rows, run by their interpreter, and prefixes of causal columns."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh

from urlvr_jax.models import attention, flash, flash_gpu, flash_parts
from urlvr_jax.models.attention import KV, SameId
from urlvr_jax.runtime import sharding
from urlvr_jax.scoring import score

U, J, K, R, H = 2, 2, 2, 2, 8  # units, rows a unit, key heads, query heads of each, width


def use_kernel(platform: str, monkeypatch) -> None:
    """Let "pallas" be the kernel of that platform, in small blocks."""
    run = attention.kernel_for(platform)
    monkeypatch.setattr(attention, "kernel_for", lambda _: run)
    monkeypatch.setattr(flash, "BLOCK", 8)
    monkeypatch.setattr(flash_gpu, "SMALLEST", 8)
    monkeypatch.setattr(flash_gpu, "LARGEST", 16)
    for name in ("FORWARD", "OF_QUERIES", "OF_KEYS"):
        queries, keys = (8, 16) if name == "OF_KEYS" else (16, 8)
        blocks = flash_gpu.Blocks(queries, keys, 4, 1)
        monkeypatch.setattr(flash_gpu, name, {2: blocks, 4: blocks})


@pytest.fixture(params=["tpu", "gpu"])
def kernel(request, monkeypatch):
    """The platform whose kernel "pallas" is, interpreted."""
    use_kernel(request.param, monkeypatch)
    return request.param


@pytest.fixture(params=["xla", "tpu", "gpu"])
def how(request, monkeypatch):
    """Every choice of attention, for `attend_to`; plain products in blocks of four queries."""
    monkeypatch.setattr(attention, "QUERY_BLOCK", 4)
    if request.param == "xla":
        return "xla"
    use_kernel(request.param, monkeypatch)
    return "pallas"


def packed_rows(columns: int, prompts: int, width: int, seed=0):
    """q, and the two segments of packed rows: the unit's prompts, and the row's own responses.

    Responses and prompts have unequal lengths, one row is empty, the others end in padding.
    """
    rng = np.random.default_rng(seed)
    draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)
    of_prompt, start = np.full((2, U * J, columns), -1, np.int32)
    for row in range(U * J - 1):
        at = 0
        while at < columns - 2:
            n = rng.integers(1, columns - at)
            of_prompt[row, at : at + n], start[row, at : at + n] = rng.integers(prompts), at
            at += n
    owner = np.repeat(np.arange(prompts, dtype=np.int32), width)
    seen = rng.integers(0, width + 1, (U, prompts)).reshape(U, prompts, 1)  # a prompt may show no token
    owner = np.where((np.arange(width) < seen).reshape(U, -1), owner, -1)
    kv = lambda n, s: KV(draw(n, K, H, s), draw(n, K, s, H))
    of_prompt, start, owner = map(jnp.asarray, (of_prompt, start, owner))
    return draw(U * J, columns, K * R, H), [
        (kv(U, prompts * width), SameId(of_prompt, owner)),
        (kv(U * J, columns), SameId(start, start, causal=True)),
    ]


def outputs_and_gradients(q, segments, how):
    """Of the columns that hold a token; what stands elsewhere has no meaning."""
    filled = segments[-1][1].queries >= 0
    cotangent = (
        np.random.default_rng(1).standard_normal(q.shape).astype(np.float32)
        * np.asarray(filled, np.float32)[..., None, None]
    )
    visible = [v for _, v in segments]

    def loss(q, kvs):
        out = attention.attend_to(q, list(zip(kvs, visible, strict=True)), how)
        return jnp.sum(cotangent * out.astype(jnp.float32)), out

    run = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
    grads, out = run(q, [kv for kv, _ in segments])
    return out, grads, filled


@pytest.mark.parametrize(
    "columns, prompts, width, dtype, tolerance", [(21, 2, 13, "float32", 1e-5), (5, 1, 3, "bfloat16", 0.05)]
)
def test_the_kernel_equals_plain_products_on_packed_rows(columns, prompts, width, dtype, tolerance, kernel):
    q, segments = packed_rows(columns, prompts, width)
    q, segments = q.astype(dtype), [(KV(*(x.astype(dtype) for x in kv)), v) for kv, v in segments]
    out, grads, filled = outputs_and_gradients(q, segments, "pallas")
    want, want_grads, _ = outputs_and_gradients(q, segments, "xla")
    np.testing.assert_allclose(out[filled], want[filled], atol=tolerance)
    assert (np.asarray(out[~filled]) == 0).all() and not filled[-1].any()  # where nothing is seen: zero
    for got, wanted in zip(jax.tree.leaves(grads), jax.tree.leaves(want_grads), strict=True):
        assert np.abs(wanted).max() > 0.1
        np.testing.assert_allclose(got, wanted, atol=tolerance)


def test_blocks_that_no_query_sees_are_neither_computed_nor_read(kernel):
    q, ((kv, _), (own_kv, _)) = packed_rows(24, 3, 8)
    # Three responses of eight columns, each to another prompt.
    ids = jnp.repeat(jnp.arange(3, dtype=jnp.int32), 8)[None].repeat(U * J, axis=0)
    segments = [(kv, SameId(ids, ids[:U])), (own_kv, SameId(ids, ids, causal=True))]
    for kv, visible in segments:
        part = flash_parts.Part(kv.keys, kv.values, visible.keys, visible.queries)
        met = flash_parts.blocks_that_meet(part, visible.causal, 8, 8)
        np.testing.assert_array_equal(met[0], np.eye(3, dtype=bool))
    masks = [visible for _, visible in segments]
    run = jax.jit(lambda kvs: attention.attend_to(q, list(zip(kvs, masks, strict=True)), "pallas"))
    hurt = [KV(kv.keys.copy(), kv.values.copy()) for kv, _ in segments]
    for kv in hurt:
        kv.keys[..., 16:], kv.values[:, :, 16:] = np.nan, np.nan
    want, got = run([kv for kv, _ in segments]), run(hurt)
    np.testing.assert_array_equal(got[:, :16], want[:, :16])
    assert np.isnan(got[:, 16:]).all()


def test_scores_and_gradients_of_packed_rows_do_not_depend_on_the_kernel(kernel):
    batch = helpers.random_batch(seed=5, width=20)
    layouts, count = helpers.packed_layouts(batch, 4, 3)
    layout = jax.tree.map(lambda x: x[0], layouts)
    assert count > 1 and (layout.source < 0).any()
    values = {}
    for how in ("xla", "pallas"):
        config = helpers.model_config(n_layers=1, attention=how)
        graph, params = helpers.model(config, seed=2)

        def loss(p, graph=graph):
            stats = score.score(
                graph, p, batch.prompt_tokens, batch.prompt_lengths, batch.tokens, 1.0, layout
            )
            return jnp.sum(jnp.where(layout.source >= 0, stats["logp"], 0.0))

        values[how] = jax.jit(jax.value_and_grad(loss))(params)
    (loss, grads), (want, want_grads) = values["pallas"], values["xla"]
    np.testing.assert_allclose(loss, want, rtol=1e-5)
    helpers.assert_gradients_close(grads, want_grads, 1e-5)


def poisoned(q, segments, queries, keys, value):
    """q and segments with `value` wherever the masks bool `[B, C]`, and `[U, S]` of each segment, say."""
    put = lambda x, there: np.where(there, np.asarray(value, x.dtype), x)
    q = put(q, queries[:, :, None, None])
    return q, [
        (KV(put(kv.keys, at[:, None, None]), put(kv.values, at[:, None, :, None])), v)
        for (kv, v), at in zip(segments, keys, strict=True)
    ]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_stands_in_padding_moves_no_output_and_no_gradient(value, how):
    q, segments = packed_rows(21, 2, 13)
    empty = np.asarray(segments[-1][1].queries) < 0
    bad = poisoned(q, segments, empty, [np.asarray(v.keys) < 0 for _, v in segments], value)
    assert not any(np.isfinite(x).all() for x in jax.tree.leaves((bad[0], [kv for kv, _ in bad[1]])))
    masks = [v for _, v in segments]

    @jax.jit
    def both(q, kvs, cotangent):
        run = lambda q, kvs: attention.attend_to(q, list(zip(kvs, masks, strict=True)), how)
        out, back = jax.vjp(run, q, kvs)
        return out, back(cotangent)

    cotangent = np.random.default_rng(1).standard_normal(q.shape).astype(np.float32)
    want = both(q, [kv for kv, _ in segments], cotangent)
    cotangent[empty] = value
    got = both(bad[0], [kv for kv, _ in bad[1]], cotangent)
    jax.tree.map(np.testing.assert_array_equal, got, want)
    assert (np.asarray(want[0])[empty] == 0).all()
    assert all(np.isfinite(x).all() and np.asarray(x).any() for x in jax.tree.leaves(want))


def test_other_responses_and_other_prompts_move_no_output_and_no_gradient(how):
    q, segments = packed_rows(21, 3, 8, seed=16)
    (_, of_prompt), (_, own) = segments
    start, prompt = np.asarray(own.queries), np.asarray(of_prompt.queries)
    # Row 0 keeps its last response and that one's prompt; all else changes.
    first = start[0].max()
    kept = (np.arange(U * J) == 0)[:, None] & (start == first)
    asked = (np.arange(U) == 0)[:, None] & (np.asarray(of_prompt.keys) == prompt[0, first])
    assert 2 < kept.sum() < (start[0] >= 0).sum() and asked.any()
    masks = [of_prompt, own]

    @jax.jit
    def both(q, kvs, cotangent):
        run = lambda q, kvs: attention.attend_to(q, list(zip(kvs, masks, strict=True)), how)
        out, back = jax.vjp(run, q, kvs)
        return out, back(cotangent)

    cotangent = np.where(kept[:, :, None, None], 1.0, 0.0).astype(np.float32) * q[:, ::-1]
    want, grads = both(q, [kv for kv, _ in segments], cotangent)
    bad = poisoned(q, segments, ~kept, [~asked, ~kept], 100)
    got, bad_grads = both(bad[0], [kv for kv, _ in bad[1]], cotangent)
    np.testing.assert_array_equal(np.asarray(got)[kept], np.asarray(want)[kept])
    jax.tree.map(np.testing.assert_array_equal, bad_grads, grads)
    assert all(np.asarray(x).any() for x in jax.tree.leaves(grads))


def test_the_tokens_of_another_response_move_no_score_and_no_gradient_of_a_response(how):
    batch = helpers.random_batch(seed=5, width=20)
    layouts, _ = helpers.packed_layouts(batch, 4, 3)
    layout = jax.tree.map(lambda x: x[1], layouts)
    rows = np.where(layout.source < 0, -1, layout.source // 20)
    row = rows[0, 0, 0]
    assert set(rows[0, 0]) > {row, -1}  # it has a neighbour
    graph, params = helpers.model(helpers.model_config(n_layers=1, attention=how), seed=2)

    @jax.jit
    @jax.value_and_grad
    def loss(p, prompt_tokens, tokens):
        stats = score.score(graph, p, prompt_tokens, batch.prompt_lengths, tokens, 1.0, layout)
        return jnp.sum(jnp.where(rows == row, stats["logp"], 0.0))

    others = np.arange(len(batch.tokens))[:, None] != row
    prompts = np.arange(len(batch.prompt_tokens))[:, None] != row // 4
    change = lambda x, where: np.where(where, (x + 1) % 13, x)
    want = loss(params, batch.prompt_tokens, batch.tokens)
    got = loss(params, change(batch.prompt_tokens, prompts), change(batch.tokens, others))
    np.testing.assert_array_equal(got[0], want[0])
    helpers.assert_gradients_close(got[1], want[1], 1e-6)  # the table's are summed in another order


@pytest.mark.parametrize(("columns", "prefixes"), [(22, [8, 16, 22]), (18, [8, 18])])
def test_a_block_of_queries_computes_only_the_prefix_it_sees(monkeypatch, columns, prefixes):
    q, segments = packed_rows(columns, 2, 4)
    want, want_grads, filled = outputs_and_gradients(q, segments, "xla")
    monkeypatch.setattr(
        attention, "QUERY_BLOCK", 4
    )  # six blocks in three runs of two; five in two runs, none of a single block
    widths = []
    plain = attention.attend
    monkeypatch.setattr(
        attention, "attend", lambda q, s: widths.append(s[1][0].keys.shape[-1]) or plain(q, s)
    )
    out, grads, _ = outputs_and_gradients(q, segments, "xla")
    assert sorted(set(widths)) == prefixes
    np.testing.assert_allclose(out[filled], want[filled], atol=1e-6)
    for got, wanted in zip(jax.tree.leaves(grads), jax.tree.leaves(want_grads), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_each_device_attends_to_its_own_rows_and_heads(kernel):
    q, segments = packed_rows(5, 1, 3)
    want = outputs_and_gradients(q, segments, "xla")
    devices = np.array(jax.devices()[:4]).reshape(1, 2, 2)
    with jax.set_mesh(Mesh(devices, sharding.AXES, axis_types=(AxisType.Auto,) * 3)):
        out, grads, filled = outputs_and_gradients(q, segments, "pallas")
    assert out.sharding.shard_shape(out.shape) == (U * J // 2, 5, K * R // 2, H)
    np.testing.assert_allclose(out[filled], want[0][filled], atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), grads, want[1])
