"""The sampler: what it says about its tokens is true, and its draws follow its probabilities."""

import functools

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from urlvr_jax.models import products
from urlvr_jax.rollout import draw as draw_lib
from urlvr_jax.rollout import sample
from urlvr_jax.rollout import slots as slots_lib
from urlvr_jax.runtime import random_keys
from urlvr_jax.scoring import score
from urlvr_jax.types import STATISTICS

CONFIG = helpers.model_config(tied=True, n_layers=1)
GRAPH, PARAMS = helpers.model(CONFIG, seed=6)
PROMPTS, GROUP, WIDTH, STOP = 4, 4, 8, (2, 5)
TOKENS, LENGTHS = helpers.random_prompts(np.random.default_rng(21), PROMPTS, 5)
BELOW_ONE = np.nextafter(np.float32(1), np.float32(0))


@functools.cache
def compiled(slots, temperature, top_p, top_k=0, graph=GRAPH):
    return jax.jit(
        functools.partial(
            sample.sample,
            graph,
            group=GROUP,
            slots=slots,
            max_new_tokens=WIDTH,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            block=3,
        )
    )


def rollouts(seed=0, step=1, slots=16, temperature=1.0, top_p=1.0, top_k=0, tokens=TOKENS, lengths=LENGTHS):
    key = random_keys.random_key(seed, "rollout", step)
    run = compiled(slots, temperature, top_p, top_k)
    return jax.tree.map(np.asarray, run(PARAMS, tokens, lengths, key, np.array(STOP, np.int32)))


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_sampler_reports_the_statistics_of_the_tokens_it_drew(temperature):
    out = rollouts(temperature=temperature)
    theirs = helpers.jitted_score(GRAPH, PARAMS, TOKENS, LENGTHS, out["tokens"], temperature)
    helpers.assert_statistics_close(out, theirs, out["length"])
    # And both are right: the same against float64.
    want = helpers.reference_score(
        PARAMS, CONFIG, TOKENS, LENGTHS, out["tokens"], out["length"], temperature
    )
    helpers.assert_statistics_close(out, want, out["length"])


def test_rows_past_the_tokenizers_ids_are_neither_drawn_nor_counted_nor_trained():
    config = helpers.model_config(tied=True, n_layers=1, vocab_size=16, real_vocab=13)
    graph, params = helpers.model(config, seed=3)
    params["embed"] = params["embed"].at[13:].multiply(20)  # the likeliest of all, if they existed
    run = compiled(16, 1.0, 1.0, graph=graph)
    key = random_keys.random_key(0, "rollout", 1)
    out = jax.tree.map(np.asarray, run(params, TOKENS, LENGTHS, key, np.array(STOP, np.int32)))
    assert out["tokens"].max() < 13
    cut = {**params, "head": params["embed"][:13]}
    want = helpers.reference_score(cut, config, TOKENS, LENGTHS, out["tokens"], out["length"], 1.0)
    helpers.assert_statistics_close(out, want, out["length"])
    scored = lambda p: score.score(graph, p, TOKENS, LENGTHS, out["tokens"], 1.0)
    helpers.assert_statistics_close(jax.jit(scored)(params), want, out["length"])
    gradient = jax.jit(jax.grad(lambda p: scored(p)["logp"].sum()))(params)["embed"]
    assert (gradient[13:] == 0).all() and (gradient[:13] != 0).any()


def test_the_end_token_belongs_to_the_response_and_nothing_follows_it():
    out = rollouts()
    tokens, lengths, ended = out["tokens"], out["length"], out["ended"]
    assert tokens.shape == (PROMPTS * GROUP, WIDTH)
    assert ended.any() and not ended.all() and len(set(lengths)) > 3  # the test sees both kinds
    for b, n in enumerate(lengths):
        assert not np.isin(tokens[b, : n - 1], STOP).any()
        assert ended[b] == np.isin(tokens[b, n - 1], STOP)
        assert ended[b] or n == WIDTH
        assert (tokens[b, n:] == 0).all()
        for name in STATISTICS:
            assert (out[name][b, n:] == 0).all(), name
    live = np.arange(WIDTH) < lengths[:, None]
    assert (out["logp"][live] < 0).all()


def test_the_number_of_slots_does_not_change_a_token():
    whole = rollouts(slots=16)
    for slots in (15, 8, 5, 3, 1):  # with refills at other times, in other slots
        part = rollouts(slots=slots)
        for name in ("tokens", "length", "ended"):
            np.testing.assert_array_equal(part[name], whole[name], err_msg=f"{name}, {slots} slots")
        helpers.assert_statistics_close(part, {n: whole[n] for n in STATISTICS}, whole["length"])


def test_kernels_kept_with_outputs_first_draw_the_same_tokens(monkeypatch):
    config = helpers.model_config(tied=True, n_layers=1, attention_bias="qkvo", mlp_bias=True)
    graph, params = helpers.model(config, seed=6)

    def run():
        fn = functools.partial(
            sample.sample, graph, group=GROUP, slots=5, max_new_tokens=WIDTH, temperature=1.0, top_p=1.0,
            block=3,
        )  # fmt: skip
        args = (params, TOKENS, LENGTHS, random_keys.random_key(0, "rollout", 1), np.array(STOP, np.int32))
        lowered = jax.jit(lambda *args: fn(*args)).lower(*args)
        out = lowered.compile()(*args)
        return jax.tree.map(np.asarray, out), lowered.as_text().count("optimization_barrier")

    want, without = run()
    monkeypatch.setattr(products, "LARGE_KERNEL", 1)
    got, with_all = run()
    assert with_all > without, "no kernel was kept so"
    for name in ("tokens", "length", "ended"):
        np.testing.assert_array_equal(got[name], want[name], err_msg=name)
    helpers.assert_statistics_close(got, {n: want[n] for n in STATISTICS}, want["length"])
    monkeypatch.setattr(products, "FEW_ROWS", 4)
    assert run()[1] == without, "five rows are more than few"


def test_a_bfloat16_policy_samples_scores_and_learns():
    config = helpers.model_config(tied=True, n_layers=1, compute_dtype="bfloat16")
    graph = helpers.transformer.structure(config)[0]
    run = compiled(5, 1.0, 1.0, graph=graph)
    half = {n: x.astype(jnp.bfloat16) for n, x in PARAMS.items()}
    out = run(half, TOKENS, LENGTHS, random_keys.random_key(0, "rollout", 1), np.array(STOP, np.int32))
    assert all(out[name].dtype == jnp.float32 for name in STATISTICS)
    args = (TOKENS, LENGTHS, np.asarray(out["tokens"]), 1.0)
    helpers.assert_statistics_close(
        helpers.jitted_score(graph, PARAMS, *args),
        helpers.jitted_score(GRAPH, PARAMS, *args),
        out["length"],
        0.1,
    )
    helpers.assert_statistics_close(
        {n: out[n] for n in STATISTICS}, helpers.jitted_score(GRAPH, PARAMS, *args), out["length"], 0.1
    )
    mask = np.arange(WIDTH) < np.asarray(out["length"])[:, None]
    loss = lambda p, g: jnp.sum(helpers.score.score(g, p, *args)["logp"], where=mask)
    got, want = (jax.jit(jax.grad(lambda p, g=g: loss(p, g)))(PARAMS) for g in (graph, GRAPH))
    helpers.assert_gradients_close(got, want, 0.05)


def test_imposed_limits_cut_rows_and_leave_rows_out():
    limits = np.random.default_rng(4).integers(0, WIDTH + 1, PROMPTS * GROUP).astype(np.int32)
    limits[:6] = 0  # the first rows of every slot
    whole = rollouts()
    run = compiled(5, 1.0, 1.0)
    out = run(
        PARAMS,
        TOKENS,
        LENGTHS,
        random_keys.random_key(0, "rollout", 1),
        np.array(STOP, np.int32),
        limits=limits,
    )
    np.testing.assert_array_equal(out["length"], np.minimum(whole["length"], limits))
    np.testing.assert_array_equal(out["ended"], whole["ended"] & (whole["length"] <= limits))
    kept = np.arange(WIDTH) < np.asarray(out["length"])[:, None]
    np.testing.assert_array_equal(out["tokens"], np.where(kept, whole["tokens"], 0))


def test_the_window_of_past_blocks_is_never_too_short():
    for blocks in (0, 1, 2, 5, 7, 64, 100):
        sizes = slots_lib.window_sizes(blocks)
        assert sizes[0] == 0 and sizes[-1] == blocks and sizes == sorted(set(sizes))
    assert len(slots_lib.window_sizes(256)) < 20


def test_other_prompts_in_the_batch_do_not_change_a_rows_tokens():
    other_tokens, other_lengths = helpers.random_prompts(np.random.default_rng(77), PROMPTS, 5)
    other_tokens[2], other_lengths[2] = TOKENS[2], LENGTHS[2]
    here, there = rollouts(), rollouts(tokens=other_tokens, lengths=other_lengths)
    rows = slice(2 * GROUP, 3 * GROUP)
    np.testing.assert_array_equal(here["tokens"][rows], there["tokens"][rows])
    assert (here["tokens"] != there["tokens"]).any()


def test_steps_and_seeds_and_rows_draw_differently():
    runs = [rollouts(seed=s, step=t)["tokens"] for s, t in ((0, 1), (0, 2), (1, 1), (1, 0), (0, 1))]
    for i in range(4):
        for j in range(i):
            assert (runs[i] != runs[j]).mean() > 0.2
    np.testing.assert_array_equal(runs[0], runs[4])
    same = rollouts(tokens=np.repeat(TOKENS[3:], PROMPTS, 0), lengths=np.repeat(LENGTHS[3:], PROMPTS))
    assert len({row.tobytes() for row in same["tokens"]}) > 12  # 16 rows of one prompt


def test_streams_are_independent():
    keys = {
        (stream, seed, step): jax.random.key_data(random_keys.random_key(seed, stream, step)).tobytes()
        for stream in ("rollout", "reward", "evaluate", "generate")
        for seed in range(3)
        for step in range(5)
    }
    assert len(set(keys.values())) == len(keys)


def test_greedy_takes_the_argmax_of_the_teacher_forced_logits():
    out = rollouts(temperature=0.0)
    rows = helpers.reference_rows(PARAMS, CONFIG, TOKENS, LENGTHS, out["tokens"], out["length"], 1.0)
    for b, z in enumerate(rows):
        np.testing.assert_array_equal(out["tokens"][b, : len(z)], z.argmax(axis=1))
    np.testing.assert_array_equal(out["tokens"][::GROUP], out["tokens"][GROUP - 1 :: GROUP])
    want = helpers.reference_score(PARAMS, CONFIG, TOKENS, LENGTHS, out["tokens"], out["length"], 1.0)
    helpers.assert_statistics_close(out, want, out["length"])  # at T = 1


def test_top_p_stays_inside_the_nucleus():
    out = rollouts(top_p=0.5)
    rows = helpers.reference_rows(PARAMS, CONFIG, TOKENS, LENGTHS, out["tokens"], out["length"], 1.0)
    beyond_best = 0
    for b, z in enumerate(rows):
        for t, logits in enumerate(z):
            p = np.exp(logits - logits.max())
            p /= p.sum()
            mine = out["tokens"][b, t]
            assert p[p > p[mine]].sum() < 0.5 + 1e-5
            beyond_best += mine != p.argmax()
    assert beyond_best > 5


def test_top_k_draws_of_the_likeliest_alone_and_one_is_greedy():
    out = rollouts(top_k=3)
    rows = helpers.reference_rows(PARAMS, CONFIG, TOKENS, LENGTHS, out["tokens"], out["length"], 1.0)
    ranks = [
        int((logits > logits[out["tokens"][b, t]] + 1e-5).sum())
        for b, z in enumerate(rows)
        for t, logits in enumerate(z)
    ]
    assert set(ranks) == {0, 1, 2}
    for name, value in rollouts(temperature=0.0).items():
        np.testing.assert_array_equal(rollouts(top_k=1)[name], value)
    all_of_them = rollouts(top_k=10_000)
    np.testing.assert_array_equal(all_of_them["tokens"], rollouts()["tokens"])


def test_draws_have_the_frequencies_of_their_probabilities():
    rng = np.random.default_rng(5)
    vocab, draws = 1000, 2**16  # four blocks, the last one part empty
    p = rng.gamma(0.3, size=vocab)
    p[rng.random(vocab) < 0.3] = 0
    p[256:512] = 0  # a block without mass
    p = (p / p.sum()).astype(np.float32)
    uniform = ((np.arange(draws) + 0.5) / draws).astype(np.float32)
    rng.shuffle(uniform)
    run = jax.jit(lambda u: draw_lib.draw(jnp.broadcast_to(p, (len(u), vocab)), u))
    random = jax.random.uniform(jax.random.key(3), (draws,))
    for u, sigmas in ((uniform, 0.0), (np.asarray(random), 5.0)):
        got = np.concatenate([np.asarray(run(part)) for part in u.reshape(-1, 2**13)])
        count = np.bincount(got, minlength=vocab)
        assert len(count) == vocab and (count[p == 0] == 0).all()
        deviation = np.sqrt(draws * p * (1 - p))
        # A regular grid misses by less than two points a token, random draws by their deviation.
        assert (np.abs(count - draws * p) <= 2.1 + sigmas * deviation).all()


def test_draw_at_both_ends_takes_a_token_with_mass():
    p = np.zeros((3, 600), np.float32)
    p[0, [7, 300]] = 0.25, 0.75
    p[1, 599] = 1
    p[2, 0] = 1
    draw = jax.jit(draw_lib.draw)
    assert draw(p, np.zeros(3, np.float32)).tolist() == [7, 599, 0]
    assert draw(p, np.full(3, BELOW_ONE)).tolist() == [300, 599, 0]


@pytest.mark.parametrize("vocab", [36, 1000])
def test_a_token_of_probability_zero_is_never_drawn(vocab):
    """At every boundary of the running sums, where rounding decides, and on either side of it."""
    rng = np.random.default_rng(vocab)
    rows = 1024
    p = rng.gamma(0.5, size=(rows, vocab))
    p[rng.random((rows, vocab)) < 0.6] = 0
    p[:, rng.integers(vocab // 2, vocab)] += 1e-3
    p[: rows // 2, vocab // 2 + rng.integers(vocab // 4) :] = 0  # no mass in the tail
    p[np.arange(rows), rng.integers(0, vocab // 2, rows)] += 0.1
    p = (p / p.sum(axis=1, keepdims=True)).astype(np.float32)
    draw = jax.jit(draw_lib.draw)
    boundaries = np.cumsum(p.astype(np.float64), axis=1)
    picks = [np.zeros(rows), np.full(rows, BELOW_ONE), np.full(rows, 1 - 2**-23)]
    for _ in range(8):
        at = boundaries[np.arange(rows), rng.integers(0, vocab, rows)].astype(np.float32)
        picks += [at, np.nextafter(at, np.float32(0)), np.nextafter(at, np.float32(1)), at - 2**-22]
    for uniform in picks:
        uniform = np.clip(uniform, 0, BELOW_ONE).astype(np.float32)
        token = np.asarray(draw(p, uniform))
        assert ((token >= 0) & (token < vocab)).all()
        bad = np.flatnonzero(p[np.arange(rows), token] == 0)
        assert not len(bad), f"row {bad[0]}: token {token[bad[0]]} at uniform {uniform[bad[0]]!r}"


def test_the_nucleus_is_the_smallest_set_that_holds_the_mass():
    rng = np.random.default_rng(9)
    p = rng.gamma(0.5, size=(200, 50))
    p = (p / p.sum(axis=1, keepdims=True)).astype(np.float32)
    for top_p in (0.1, 0.5, 0.95):
        kept = np.asarray(draw_lib.keep_nucleus(p, top_p))
        for row, got in zip(p, kept, strict=True):
            order = np.argsort(-row)
            mass = np.cumsum(row[order].astype(np.float64))
            if np.min(np.abs(mass - top_p)) < 1e-6:
                continue  # float32 may decide either way
            count = np.searchsorted(mass, top_p) + 1
            want = np.zeros_like(row)
            want[order[:count]] = row[order[:count]]
            np.testing.assert_array_equal(got, want)
    point = np.eye(5, dtype=np.float32)[2:3]
    np.testing.assert_array_equal(draw_lib.keep_nucleus(point, 1e-6), point)


def test_of_tokens_that_tie_for_the_last_place_the_first_ids_are_kept():
    few = jax.jit(draw_lib.keep_most_likely, static_argnums=1)
    kept = jax.jit(draw_lib.keep_nucleus, static_argnums=1)
    p = np.array([[0.25, 0.25, 0.25, 0.25], [0.1, 0.4, 0.1, 0.4], [0.2, 0.4, 0.2, 0.2]], np.float32)
    np.testing.assert_array_equal(kept(p, 0.5) > 0, [[1, 1, 0, 0], [0, 1, 0, 1], [1, 1, 0, 0]])
    np.testing.assert_array_equal(few(p, 2) > 0, [[1, 1, 0, 0], [0, 1, 0, 1], [1, 1, 0, 0]])
    np.testing.assert_array_equal(few(p, 3) > 0, [[1, 1, 1, 0], [1, 1, 0, 1], [1, 1, 1, 0]])
    np.testing.assert_array_equal(kept(p, 0.85) > 0, [[1, 1, 1, 1], [1, 1, 0, 1], [1, 1, 1, 1]])
    np.testing.assert_array_equal(kept(p, 0.3) > 0, [[1, 1, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0]])
