"""Packing: every token has one place, a long tail leaves few places empty, and scores do not change."""

import functools

import helpers
import jax
import numpy as np
import pytest

from urlvr_jax.scoring import packing, score
from urlvr_jax.scoring.packing import PackShape, pack
from urlvr_jax.types import STATISTICS

# (prompts, group, shape): rows fewer than, as many as, and more than a group; one and several units.
CASES = [
    (prompts, group, PackShape(*shape))
    for prompts, group in ((6, 4), (5, 8), (1, 4), (7, 2))
    for shape in ((1, 1, 1), (1, 1, 3), (1, 2, 2), (2, 2, 1), (1, 4, 2), (1, 8, 5), (2, 8, 2), (3, 16, 16))
    if shape[1] >= group or group % shape[1] == 0
]


def random_lengths(rng, prompts, group, columns):
    """Lengths that pack badly as often as well: of one, two or a few sizes, near halves and thirds of a row."""
    kind = rng.integers(6)
    if kind == 0:
        return rng.integers(0, columns + 1, (prompts, group))
    if kind == 1:  # two do not fit, though each leaves almost half
        return np.full((prompts, group), columns // 2 + 1)
    if kind == 2:
        return rng.choice([1, columns // 3 + 1, columns // 2 + 1, columns], (prompts, group))
    if kind == 3:
        return rng.choice([0, columns], (prompts, group))
    if kind == 4:  # some prompts full, the others almost empty
        return np.where(rng.random((prompts, 1)) < 0.5, columns, 1) * np.ones((1, group), int)
    return np.minimum(columns, np.ceil(np.exp(rng.normal(0.5, 1.0, (prompts, group))))).astype(int)


def each_case(times=6, columns=12, width=13):
    rng = np.random.default_rng(8)
    for prompts, group, shape in CASES:
        for _ in range(times):
            lengths = random_lengths(rng, prompts, group, columns)
            layout, count = pack(lengths, width, columns, shape)
            yield lengths, shape, layout, count


def long_tail(seed, prompts=64, group=8, median=400, longest=7168):
    lengths = np.exp(np.random.default_rng(seed).normal(np.log(median), 1.0, (prompts, group)))
    return np.clip(np.ceil(lengths), 1, longest).astype(int)


def test_every_token_stands_exactly_once():
    for lengths, _, layout, _ in each_case():
        want = np.flatnonzero(np.arange(13) < lengths.reshape(-1, 1))
        got = layout.source[layout.source >= 0]
        np.testing.assert_array_equal(np.sort(got), want)


def test_a_response_stands_in_one_row_in_its_order():
    for lengths, _, layout, _ in each_case():
        rows = layout.source.reshape(-1, layout.source.shape[-1])
        for b, n in enumerate(lengths.reshape(-1)):
            where = np.argwhere((rows // 13 == b) & (rows >= 0))
            if n:
                assert len(set(where[:, 0])) == 1
                np.testing.assert_array_equal(np.diff(where[:, 1]), 1)
                np.testing.assert_array_equal(rows[where[0, 0], where[:, 1]], b * 13 + np.arange(n))


def test_no_row_of_a_unit_mixes_prompts_it_does_not_hold():
    for lengths, shape, layout, _ in each_case():
        group = lengths.shape[1]
        for source, held in zip(
            layout.source.reshape(-1, *layout.source.shape[2:]),
            layout.prompts.reshape(-1, shape.prompts),
            strict=True,
        ):
            there = set((source[source >= 0] // 13 // group).tolist())
            held = held[held >= 0].tolist()
            assert there <= set(held) and len(held) == len(set(held))


def test_lengths_of_zero_are_left_out():
    for shape in (PackShape(1, 4, 2), PackShape(2, 2, 1), PackShape(1, 8, 3)):
        layout, count = pack(np.zeros((6, 4), int), 5, 5, shape)
        assert count == 0 and (layout.source == -1).all() and (layout.prompts == -1).all()
        lengths = np.array([[5, 0, 0, 5], [0, 0, 0, 0], [0, 1, 0, 0], [0] * 4, [0] * 4, [0] * 4])
        layout, count = pack(lengths, 5, 5, shape)
        assert 1 <= count <= 2 and set(layout.prompts[layout.prompts >= 0].tolist()) == {0, 2}
        assert set((layout.source[layout.source >= 0] // 5).tolist()) == {0, 3, 9}


def test_the_number_of_layouts_never_exceeds_the_static_bound():
    most_used = 0
    for lengths, shape, layout, count in each_case(times=25):
        most = shape.most(*lengths.shape)
        assert layout.source.shape == (most, shape.units, shape.rows, 12)
        assert layout.prompts.shape == (most, shape.units, shape.prompts)
        assert 0 <= count <= most
        assert (layout.source[count:] == -1).all() and (layout.prompts[count:] == -1).all()
        assert (layout.source[:count] >= 0).any(axis=(1, 2, 3)).all()  # and none of those in use is empty
        most_used += count == most
    assert most_used > 50  # the bound is met, so it could not be lower


def test_a_row_a_response_always_fits_the_static_bound():
    """The way out where best fit needs more, forced here: no lengths at random were found that need it."""
    for lengths, shape, _, _ in each_case(times=1):
        prompts, group = lengths.shape
        units = packing._fill(lengths, 12, shape, limit=-1)
        assert len(units) <= shape.most(prompts, group) * shape.units
        rows = [b for _, places in units for b, _, _ in places]
        assert sorted(rows) == list(range(prompts * group))
        for members, places in units:
            assert len(members) <= shape.prompts and {b // group for b, _, _ in places} <= set(members)
            assert len({j for _, j, _ in places}) == len(places) <= shape.rows


@pytest.mark.parametrize("micro_rows", [2, 4, 8, 16, 32])
@pytest.mark.parametrize("micro_prompts", [0, 1, 3, 6])
def test_full_rows_need_no_more_than_without_packing(micro_rows, micro_prompts):
    prompts, group, width = 8, 8, 10
    shape = PackShape.of(group, micro_rows, micro_prompts, 1)
    layout, count = pack(np.full((prompts, group), width), width, width, shape)
    assert count == prompts * group // micro_rows
    assert (layout.source[:count] >= 0).all()


# Prompts enough that all rows fill: of four rows with eight prompts a unit may be left one row short.
@pytest.mark.parametrize("shape", [(1, 1, 4), (1, 2, 8), (1, 4, 12)])
def test_a_long_tail_is_padded_by_less_than_ten_per_cent(shape):
    for seed in range(5):
        lengths = long_tail(seed)
        layout, count = pack(lengths, 7168, 7168, PackShape(*shape))
        padding = 1 - lengths.sum() / layout.source[:count].size
        assert padding < 0.10, f"seed {seed}: {padding:.1%} of {count} micro-batches are empty"


# ---- scores -----------------------------------------------------------------------------------

CONFIG = helpers.model_config(n_layers=1)
GRAPH, PARAMS = helpers.model(CONFIG, seed=3)


@functools.cache
def plain(seed=0):
    batch = helpers.random_batch(seed)
    return batch, helpers.jitted_score(
        GRAPH, PARAMS, batch.prompt_tokens, batch.prompt_lengths, batch.tokens, 0.7
    )


PACKED = [(1, 4, 1), (1, 2, 3), (1, 4, 3), (2, 4, 2), (1, 8, 4)]


@pytest.mark.parametrize("shape", PACKED)
def test_packed_scores_equal_plain_scores(shape):
    batch, want = plain()
    layouts, count = pack(batch.lengths.reshape(4, 4), 7, 7, PackShape(*shape))
    run = jax.jit(functools.partial(score.score, GRAPH, temperature=0.7))
    got = {name: np.full(batch.tokens.size, np.nan) for name in STATISTICS}
    for i in range(count):
        layout = jax.tree.map(lambda x, i=i: x[i], layouts)
        stats = run(PARAMS, batch.prompt_tokens, batch.prompt_lengths, batch.tokens, layout=layout)
        for name in STATISTICS:
            there = layout.source >= 0
            got[name][layout.source[there]] = np.asarray(stats[name])[there]
    got = {name: x.reshape(batch.tokens.shape) for name, x in got.items()}
    helpers.assert_statistics_close(got, want, batch.lengths, 1e-5)
    assert np.isnan(got["logp"]).sum() == batch.tokens.size - batch.lengths.sum()


@pytest.mark.parametrize("shape", PACKED)
def test_all_packed_scores_at_once_equal_plain_scores(shape):
    batch, want = plain()
    layouts, count = pack(batch.lengths.reshape(4, 4), 7, 7, PackShape(*shape))
    run = jax.jit(functools.partial(score.score_all, GRAPH, temperature=0.7))
    got = run(PARAMS, batch.prompt_tokens, batch.prompt_lengths, batch.tokens, layouts, np.int32(count))
    helpers.assert_statistics_close(got, want, batch.lengths, 1e-5)
    beyond = np.arange(7) >= batch.lengths[:, None]
    assert all((np.asarray(x)[beyond] == 0).all() for x in got.values())


def test_a_micro_batch_gives_each_device_whole_groups_or_a_part_of_one():
    assert PackShape.of(8, 128, 0, 16) == PackShape(16, 8, 1)
    assert PackShape.of(8, 16, 0, 16) == PackShape(16, 1, 1)  # a row a device
    assert PackShape.of(8, 32, 64, 16) == PackShape(16, 2, 4)
    assert PackShape.of(8, 16, 16, 16).most(64, 8) == 32
