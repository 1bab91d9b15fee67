"""Decoding from pages: the tokens of the ring at any number of slots, pages and columns; a kernel that reads no more."""

import dataclasses
import functools
import math

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from urlvr_jax import config as config_lib
from urlvr_jax import validation
from urlvr_jax.models import paged as attention
from urlvr_jax.models import paged_kernels, rope
from urlvr_jax.models.pool import Pool, Reach
from urlvr_jax.rollout import paged, paged_sizes, sample
from urlvr_jax.rollout import pages as books_lib
from urlvr_jax.runtime import random_keys, sharding
from urlvr_jax.runtime.engine import Engine, SampleShape
from urlvr_jax.types import STATISTICS, Prompts

CONFIG = helpers.model_config(tied=True, n_layers=1)
PARAMS = helpers.model(CONFIG, seed=6)[1]
STOP = np.array([2], np.int32)
KEY = random_keys.random_key(0, "rollout", 1)


def rollouts(
    by, prompts, group, width, columns, config=CONFIG, params=PARAMS, limits=None, stop=STOP, **options
):
    graph = helpers.transformer.structure(config)[0]
    tokens, lengths = helpers.random_prompts(np.random.default_rng(prompts + width), prompts, width)
    run = functools.partial(
        by.sample, graph, group=group, max_new_tokens=columns, temperature=1.0, top_p=1.0, **options
    )
    limits = None if limits is None else jnp.asarray(limits)
    out = jax.jit(run)(params, tokens, lengths, KEY, stop, limits=limits)
    return jax.tree.map(np.asarray, out)


@functools.cache
def from_the_ring(prompts, group, width, columns):
    return rollouts(sample, prompts, group, width, columns, slots=prompts * group, block=16)


def assert_same(got, want):
    for name in ("tokens", "length", "ended"):
        np.testing.assert_array_equal(got[name], want[name], err_msg=name)
    helpers.assert_statistics_close(got, {n: want[n] for n in STATISTICS}, want["length"], 1e-5)


@pytest.mark.parametrize("slots, page", [(16, 16), (7, 32), (3, 128), (1, 16)])
def test_pages_hold_what_a_ring_holds_at_any_number_of_slots_and_columns_of_a_page(slots, page):
    shape = 4, 4, 37, 70
    assert_same(rollouts(paged, *shape, slots=slots, page=page), from_the_ring(*shape))


@pytest.mark.parametrize(
    "prompts, group, width", [(1, 64, 5), (64, 1, 5), (2, 8, 1), (3, 2, 17), (2, 2, 1024)]
)
def test_groups_of_1_to_64_share_prompts_of_1_to_1024_tokens(prompts, group, width):
    shape = prompts, group, width, 20
    slots = max(2, prompts * group // 2)
    assert_same(rollouts(paged, *shape, slots=slots, page=16), from_the_ring(*shape))


NEVER = np.array([99], np.int32)  # no token of the vocabulary: rows run to their limits


@pytest.mark.parametrize("spare", [0, 3])
def test_in_a_pool_too_small_rows_wait_and_none_is_lost(spare):
    shape = 3, 6, 20, 100
    limits = np.random.default_rng(1).integers(1, 101, 18).astype(np.int32)
    options = dict(slots=18, stop=NEVER, limits=limits)
    want = rollouts(sample, *shape, block=32, **options)
    least = paged_sizes.least_pages(3, 20, 100, 16)
    got = rollouts(paged, *shape, page=16, pages=least + spare, **options)
    assert_same(got, want)
    full = rollouts(paged, *shape, page=16, **options)
    assert full["put_back"].sum() == 0 and got["blocks"].max() > full["blocks"].max()
    np.testing.assert_array_equal(got["length"], limits)


def test_rows_put_back_are_decoded_again_to_the_same_tokens():
    shape = 2, 6, 5, 160
    pages = paged_sizes.least_pages(2, 5, 160, 16) + 6
    got = rollouts(paged, *shape, slots=12, page=16, pages=pages, stop=NEVER)
    assert got["put_back"].sum() > 0
    assert_same(got, rollouts(sample, *shape, slots=12, block=32, stop=NEVER))


def test_rows_that_end_at_once_and_rows_left_out():
    limits = np.random.default_rng(4).integers(0, 3, 16).astype(np.int32) * 17
    limits[:6] = 0
    limits[6:9] = 1
    shape = 4, 4, 9, 40
    got = rollouts(paged, *shape, slots=3, page=16, limits=limits)
    assert_same(got, rollouts(sample, *shape, slots=3, block=16, limits=limits))
    none = rollouts(paged, *shape, slots=3, page=16, limits=np.zeros(16, np.int32))
    assert none["length"].sum() == 0 and none["blocks"].sum() == 0


@pytest.mark.parametrize(
    "qk_norm, bias, how", [("none", "qkv", "pallas"), ("whole", "qkvo", "xla"), ("head", "", "pallas")]
)
def test_every_architecture_decodes_from_pages(qk_norm, bias, how):
    config = helpers.model_config(
        tied=False,
        n_layers=2,
        qk_norm=qk_norm,
        attention_bias=bias,
        attention=how,
        norm_after=bias == "qkvo",
    )
    params = helpers.model(config, seed=3)[1]
    shape = 2, 3, 7, 20
    same = dict(config=config, params=params)
    got = rollouts(paged, *shape, slots=4, page=16, **same)
    assert_same(got, rollouts(sample, *shape, slots=6, block=16, **same))


def test_the_sampler_of_pages_reports_the_statistics_of_the_tokens_it_drew():
    out = rollouts(paged, 4, 4, 5, 40, slots=5, page=16)
    tokens, lengths = helpers.random_prompts(np.random.default_rng(9), 4, 5)
    graph = helpers.transformer.structure(CONFIG)[0]
    theirs = helpers.jitted_score(graph, PARAMS, tokens, lengths, out["tokens"], 1.0)
    helpers.assert_statistics_close(out, theirs, out["length"])


def lowered(columns, config=CONFIG) -> str:
    run = functools.partial(
        paged.sample,
        helpers.transformer.structure(config)[0],
        group=2,
        slots=4,
        max_new_tokens=columns,
        temperature=1.0,
        top_p=1.0,
        page=16,
    )
    tokens, lengths = helpers.random_prompts(np.random.default_rng(0), 2, 5)
    return jax.jit(run).lower(PARAMS, tokens, lengths, KEY, STOP).as_text()


def test_one_program_serves_every_length():
    """What is traced does not grow with the longest response, as a program for each size of window would."""
    assert lowered(4096).count("\n") == lowered(256).count("\n")


def test_prompts_are_prefilled_without_a_stack_of_the_layers():
    """`model.scan` would hold the weights a second time, here where each device has them whole."""
    assert lowered(64, dataclasses.replace(CONFIG, scan=True)) == lowered(64)


# ---- the kernels -----------------------------------------------------------------------------


def pool_and_reach(dtype, width=64, seed=0):
    """Five slots: one key; several pages; the last key of a page; none; from the middle to the middle.

    The newest column is the last one of each, number 0 of its page but for the second and last slot.
    """
    rng = np.random.default_rng(seed)
    slots, heads, kv_heads, page, most, pages = 5, 6, 2, 32, 9, 50
    draw = lambda *shape: jnp.asarray(rng.standard_normal(shape), dtype)
    pool = Pool(draw(pages + 1, kv_heads, 2, page, width))
    table = rng.permutation(pages)[: slots * most].reshape(slots, most).astype(np.int32)
    column = 17
    start = np.array([column, 5, 31, 3, 7], np.int32)
    stop = np.array([0, 8, 1, 0, 2], np.int32) * page + column + 1
    stop[3] = start[3]
    own = table[np.arange(slots), (stop - 1) // page]
    own[3] = pages
    reach = Reach(*map(jnp.asarray, (table, start, stop, own, np.int32(column))))
    return (
        draw(slots, heads, width),
        draw(slots, kv_heads, width),
        draw(slots, kv_heads, width),
        pool,
        reach,
    )


def by_each(q, k, v, pool, reach):
    """{kernel: (what the queries get, the pool afterwards)}"""
    turn = rope.turn_of(jnp.arange(len(q))[:, None] * 7, q.shape[2], 1e4)
    turned = lambda x: rope.rotate(x[:, None], turn)[:, 0]
    new = jnp.stack([turned(k), v], axis=2)
    both = jnp.concatenate([q, k], axis=1)

    def plain(pool):
        pool = attention.write(pool, new, reach)
        return attention.attend(turned(q), pool, reach), pool

    def gpu(pool):
        pool = attention.write(pool, new, reach)
        return paged_kernels.attend_on_a_gpu(both, q.shape[1], turn, pool, reach), pool

    def tpu(pool):
        return paged_kernels.write_and_attend_on_a_tpu(turned(q), new, pool, reach)

    return {fn.__name__: jax.jit(fn)(pool) for fn in (plain, gpu, tpu)}


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("bfloat16", 0.02)])
@pytest.mark.parametrize("width", [64, 128])
@pytest.mark.parametrize("programs", [1, 512])  # pages in one share, and in several
def test_kernels_of_pages_equal_plain_products(dtype, tolerance, width, programs, monkeypatch):
    monkeypatch.setattr(paged_kernels, "PROGRAMS", programs)
    out = by_each(*pool_and_reach(dtype, width))
    wide = lambda x: np.asarray(x, np.float32)
    want, pool = out["plain"]
    for name in ("gpu", "tpu"):
        got, written = out[name]
        assert got.dtype == dtype
        np.testing.assert_allclose(wide(got), wide(want), atol=tolerance)
        assert not wide(got[3]).any()  # it sees no key
        np.testing.assert_array_equal(wide(written.pages)[:-1], wide(pool.pages)[:-1])


def test_nothing_outside_a_rows_reach_moves_what_it_gets():
    """NaN in pages of nobody, before a row's first key and from the newest on, which is written."""
    q, k, v, pool, reach = pool_and_reach("float32")
    want = by_each(q, k, v, pool, reach)
    hurt = np.full(pool.pages.shape, np.nan, np.float32)
    page = hurt.shape[3]
    for slot, (start, stop) in enumerate(zip(reach.start, reach.stop, strict=True)):
        for key in range(start, stop - 1):
            at = int(reach.table[slot, key // page]), slice(None), slice(None), key % page
            hurt[at] = pool.pages[at]
    got = by_each(q, k, v, Pool(jnp.asarray(hurt)), reach)
    for name, (out, _) in want.items():
        np.testing.assert_array_equal(got[name][0], out, err_msg=name)


# ---- the books -------------------------------------------------------------------------------


def test_no_page_is_ever_anybodys_twice():
    rng = np.random.default_rng(0)
    lengths = jnp.array([1, 20, 33], jnp.int32)
    books = books_lib.opened(40, lengths, 40, 4, 64, 16)
    owned = {("prompt", p): list(ids[ids < 40]) for p, ids in enumerate(np.asarray(books.prompts))}
    assert [len(ids) for ids in owned.values()] == [0, 2, 2]
    held = np.zeros(4, np.int32)
    for _ in range(60):
        back = (rng.random(4) < 0.3) | (held == 4)
        books = books_lib.give_back_rows(books, jnp.asarray(back), jnp.asarray(held))
        held[back] = 0
        wanted = rng.random(4) < 0.7
        books = books_lib.take(books, jnp.asarray(wanted), jnp.asarray(held))
        held += wanted
        of_rows = [int(i) for slot, n in zip(np.asarray(books.rows), held, strict=True) for i in slot[:n]]
        free = [int(i) for i in np.asarray(books.free)[: int(books.count)]]
        kept = [int(i) for ids in owned.values() for i in ids]
        assert sorted(of_rows + free + kept) == list(range(40))
    done = jnp.array([False, True, True])
    books = books_lib.give_back_prompts(books_lib.give_back_prompts(books, done), done)
    assert int(books.count) == 40 - held.sum()


def test_the_oldest_row_goes_on_when_pages_run_out():
    live = jnp.array([True, True, False, True])
    held, row = jnp.array([3, 1, 9, 3]), jnp.array([7, 4, 0, 9])
    back = lambda count: books_lib.to_put_back(count, live, held, row).tolist()
    assert back(3) == [False] * 4
    assert back(1) == [False, True, False, False]
    alone = jnp.array([3, 0, 9, 3])
    assert books_lib.to_put_back(0, live, alone, row).tolist() == [False, True, False, True]


# ---- several devices, configurations ---------------------------------------------------------


@pytest.mark.parametrize(
    "key, value, said",
    [
        ("rollout.page", 24, "multiple of 16"),
        ("rollout.page", 0, "multiple of 16"),
        ("rollout.cache", "paged", "'ring'"),
        ("rollout.pages", 3, "give 12 or more"),
    ],
)
def test_pages_that_cannot_be_are_refused_with_a_remedy(key, value, said):
    c = config_lib.default()
    c.rollout.cache = "pages"
    c.rollout.page = 16
    c.data.prompts_per_step = 9
    c.update_from_flattened_dict({key: value})
    with pytest.raises(config_lib.ConfigError, match=said):
        validation.validate(c, 1, "cpu")


def test_pages_are_refused_beside_a_ring():
    c = config_lib.default()
    c.rollout.cache, c.rollout.pages = "ring", 500
    with pytest.raises(config_lib.ConfigError, match="use 'pages'"):
        validation.validate(c, 1, "cpu")


@pytest.mark.parametrize(
    "mesh, how",
    [((2, 1, 2), "xla"), ((2, 1, 2), "pallas"), ((1, 4, 1), "xla"), ((1, 1, 2), "pallas")],
)
def test_devices_with_pools_of_their_own_draw_the_tokens_of_one(mesh, how):
    config = helpers.model_config(n_layers=1, attention=how, vocab_size=16)
    params = helpers.random_params(config, seed=3)
    tokens, lengths = helpers.random_prompts(np.random.default_rng(0), 4, 20)
    shape = SampleShape(4, 20, 4, 8, 1.0, 1.0, 40)

    def rolled_out(mesh):
        c = config_lib.default()
        c.rollout.cache, c.rollout.page = "pages", 16
        c.data.prompts_per_step, c.rollout.group = 4, 4
        c.mesh.data, c.mesh.fsdp, c.mesh.tensor = mesh
        engine = Engine(c, config, STOP.tolist(), jax.devices()[: math.prod(mesh)])
        placed = engine.to_rollout(engine.place(params))
        return engine.sample(placed, Prompts((), (), tokens, lengths), KEY, shape)

    want, got = rolled_out((1, 1, 1)), rolled_out(mesh)
    np.testing.assert_array_equal(got.tokens, want.tokens)
    helpers.assert_statistics_close(got.stats, want.stats, want.lengths, 1e-5)
    assert got.put_back == want.put_back == 0


def test_a_kernel_is_not_split_again_where_a_device_is_traced_by_itself():
    """A GPU's lowering refuses it: rows and heads would be divided twice."""
    kernel = lambda x: x
    found = []

    def alone(queue, x):
        found.append(sharding.on_each_device(kernel, 4, 4) is kernel)
        return x

    mesh = sharding.make_mesh(2, 2, 1, jax.devices()[:4])
    with sharding.tracing_for(mesh):
        jax.make_jaxpr(lambda x: sharding.on_its_rows(alone, (True,))(x))(jnp.zeros((4, 2)))
    assert found == [True]
