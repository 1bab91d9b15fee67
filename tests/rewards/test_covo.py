"""CoVo: its formula against float64, its distances against a policy written apart, and groups with nothing to compare."""

import functools
import math

import helpers
import jax.numpy as jnp
import numpy as np
import pytest
from launcher import tiny
from runs import QUICK, metrics_of

from urlvr_jax import config, validation
from urlvr_jax.answers.classes import read_answers
from urlvr_jax.data import stream
from urlvr_jax.measure import metrics
from urlvr_jax.planning import memory
from urlvr_jax.rewards import RewardError, covo, expression, states
from urlvr_jax.rewards.supplied import Supplied
from urlvr_jax.runtime import opening
from urlvr_jax.types import Rollouts

P, G, S = 8, 8, 5


# ---- the formula ------------------------------------------------------------------------------


def paths_in_float64(distance, answers):
    """(consistency, volatility) of each rollout, None where it has none, by plain loops."""
    out = []
    for b, own in enumerate(answers.ravel()):
        rows = [row for row in distance[b] if own >= 0 and math.isfinite(row[own])]
        others = [min(d for k, d in enumerate(row) if k != own) for row in rows]
        nearer = [row[own] < other for row, other in zip(rows, others, strict=True)]
        away = [i for i, (row, other) in enumerate(zip(rows, others, strict=True), 1) if row[own] > other]
        out.append((sum(nearer) / len(rows), max(away, default=0) / len(rows)) if rows else None)
    return out


def score_in_float64(mode, members):
    if mode == "linear":
        return sum(con - vol for con, vol in members) / len(members)
    x = sum(con * math.cos(vol) for con, vol in members) / len(members)
    y = sum(con * math.sin(vol) for con, vol in members) / len(members)
    return math.sqrt(x * x + y * y)


def some_distances(seed=0):
    """Distances float32 `[B, S, G]` of 1 to 5 states, few values so that some tie, and answers `[P, G]`."""
    rng = np.random.default_rng(seed)
    answers = rng.integers(-1, 4, (P, G))
    answers[0], answers[1], answers[2] = 1, -1, np.arange(G) % 2
    distance = rng.integers(1, 6, (P * G, S, G)).astype(np.float32) / 4
    for b in range(0, P * G, 2):  # of every other rollout the own answer is mostly near
        distance[b, :, answers.flat[b]] /= 2
    distance[:, :, 4:] = np.inf
    distance[2 * G : 3 * G, :, 2:] = np.inf
    distance[np.arange(S)[None] > rng.integers(0, S, P * G)[:, None]] = np.inf
    distance[answers.ravel() < 0] = np.inf
    distance[:G] = np.inf  # a single answer: nothing is compared
    distance[2 * G, :2] = np.inf  # states that were left out
    return distance, answers


@pytest.mark.parametrize("paid", covo.PAID)
@pytest.mark.parametrize("mode", covo.LEAST)
def test_the_score_of_an_answer_equals_float64(mode, paid):
    distance, answers = some_distances()
    found = paths_in_float64(distance, answers)
    want = np.zeros((P, G))
    for b, path in enumerate(found):
        p, g = divmod(b, G)
        members = [found[p * G + h] for h in range(G) if answers[p, h] == answers[p, g]]
        if path is not None:
            score = score_in_float64(mode, [m for m in members if m is not None])
            want[p, g] = score if paid == "score" else score >= covo.LEAST[mode] - 1e-9
    fn = expression.load(f"covo(mode={mode!r}, paid={paid!r})")
    given = helpers.reward_inputs(
        covo.covo, lengths=np.ones(P * G, np.int32), group=G, answers=answers, answer_distance=distance
    )
    got = np.asarray(expression.compute(fn, given))
    helpers.assert_close(got, want)
    assert want.std() > 0.1 and (got[:2] == 0).all()


def test_consistency_and_volatility_count_states():
    away, tie, own = [2, 1], [1, 1], [1, 2]
    rows = [[own, own, own], [away, own, own], [own, away, own], [away, away, away], [tie, own, tie]]
    distance = np.array(rows, np.float32)
    answers = np.zeros((1, 5), np.int32)
    con, vol, has = covo.paths(jnp.asarray(distance), jnp.asarray(answers))
    helpers.assert_close(con[0], [1, 2 / 3, 2 / 3, 0, 1 / 3])
    helpers.assert_close(vol[0], [0, 1 / 3, 2 / 3, 1, 0])
    assert has.all()
    told = metrics.of_states(distance, answers)
    assert told["train/states/scored"] == 1 and told["train/states/consistency"] == pytest.approx(8 / 15)
    assert metrics.of_states(np.full((2, 3, 2), np.inf), np.array([[0, -1]])) == {"train/states/scored": 0}


def test_an_option_that_is_none_is_refused():
    for options in ("mode='cubic'", "paid='half'"):
        with pytest.raises(RewardError, match="choose mode of"):
            expression.load(f"covo({options})")


def curiosity_in_float64(logp, step_of):
    """The bonus of one response from its tokens' log-probabilities `[n]` and steps `[n]`."""
    bonuses = []
    for step in range(max(step_of, default=-1) + 1):
        surprise = [-float(x) for x, s in zip(logp, step_of, strict=True) if s == step]
        share = [x / sum(surprise) if sum(surprise) else 1 / len(surprise) for x in surprise]
        divergence = sum(p * math.log(p * len(share)) for p in share if p)
        bonuses.append(sum(surprise) / len(surprise) - math.log(max(divergence, 0) ** (1 / 3) + 1))
    return sum(bonuses) / len(bonuses) if bonuses else 0


def test_curiosity_equals_float64():
    rng = np.random.default_rng(3)
    lengths = rng.integers(0, 13, P * G).astype(np.int32)
    lengths[:2] = 12
    step_of = np.sort(rng.integers(0, 4, (P * G, 12)), axis=1)
    step_of[2:] -= step_of[2:, :1]
    step_of = np.array([np.unique(row, return_inverse=True)[1] for row in step_of], np.int32)
    step_of[np.arange(12)[None] >= lengths[:, None]] = -1
    logp = (-rng.exponential(size=(P * G, 12))).astype(np.float32)
    logp[0], logp[1, :6], logp[5] = 0, 0, -0.25  # certain; partly; all alike, which is no divergence
    answers = rng.integers(-1, 3, (P, G))
    answers[0] = 0
    want = [curiosity_in_float64(logp[b, :n], step_of[b, :n]) for b, n in enumerate(lengths)]
    given = helpers.reward_inputs(
        covo.curiosity, stats={"logp": logp}, lengths=lengths, group=G, answers=answers, step_of=step_of
    )
    got = np.asarray(expression.compute(covo.curiosity, given))
    # Where all are alike the root of float32's rounding is what is left.
    helpers.assert_close(got, np.where(answers >= 0, np.reshape(want, (P, G)), 0), 3e-5)
    assert got[0, 0] == 0 and got.max() > 1 and got[answers < 0].max() == 0


# ---- the states -------------------------------------------------------------------------------


def test_a_state_ends_after_each_step_that_is_not_blank():
    ends = functools.partial(states.ends, most=15)
    assert ends("", ";") == ends("A", ";") == [0]
    assert ends("3+4=7;7-2=5;A", ";") == [0, 6, 12]
    assert ends(";;3+4=7;;; ;7-2=5;A", ";") == [0, 8, 18]
    assert ends("One.\n\nTwo.\nThree, so", "\n") == [0, 5, 11]


def test_each_token_belongs_to_a_step():
    run = opened()
    texts = ["3+4=7;A7", "A7", "1;2;3;", "", ";;1;A1"]
    rows = [[*run.tokenizer.encode(t), run.tokenizer.end_id] for t in texts]
    tokens = np.array([[*row, *[0] * (12 - len(row))] for row in rows], np.int32)
    rollouts = Rollouts(tokens, np.array(list(map(len, rows)), np.int32), np.ones(len(rows), bool), {})
    found = states.steps(run.c, run.tokenizer, rollouts, texts)
    want = [[0] * 6 + [1] * 3, [0] * 3, [0, 0, 1, 1, 2, 2, 2], [0], [0] * 4 + [1] * 3]
    assert [line[line >= 0].tolist() for line in found] == want
    assert (found[np.arange(12)[None] >= rollouts.lengths[:, None]] == -1).all()


def test_of_many_states_the_first_the_last_and_those_between_stay():
    text = "1;" * 40
    found = states.ends(text, ";", 5)
    assert found == [0, 20, 40, 60, 80] and states.ends(text, ";", 1) == [0]
    assert len(set(states.ends(text, ";", 40))) == 40


def test_what_parts_steps_and_how_an_answer_follows_go_by_the_style():
    c = config.default()
    said = {}
    for style in ("lab", "boxed", "hashes"):
        c.answers.style = style
        said[style] = states.cut_after(c), states.template(c)
    assert said == {
        "lab": (";", "A{answer}"),
        "boxed": ("\n", "The answer is: \\boxed{{answer}}"),
        "hashes": ("\n", "The answer is: {answer}"),
    }
    c.states.cut, c.states.template = "||", "So {answer}."
    assert (states.cut_after(c), states.template(c)) == ("||", "So {answer}.")


# ---- distances --------------------------------------------------------------------------------

WRITTEN = (
    ["3+4=7;A7", "A7", "3+4=8;A8", "3+4=7;A7", "", "A15", "3;4;A7", "17"]
    + ["A5"] * 7 + [""]
    + [f"1;2;3;4;A{n}" for n in (1, 1, 2, 2, 3, 4, 5, 5)]
    + ["A1", "A2", "1;A1", "2;A2", ";", "", "0", "1;2;A1"] * 5
)  # fmt: skip


@functools.cache
def opened(**changes):
    c = config.default()
    c.mesh.data, c.eval.every, c.data.prompts_per_step, c.rollout.max_new_tokens = 8, 0, P, 12
    c.update_from_flattened_dict({key.replace("__", "."): value for key, value in changes.items()})
    return opening.open_run(c)


@functools.cache
def placed():
    return opened().engine.place(opened().base_params())


def distances(run):
    """What `Supplied` gives for WRITTEN, cut where it is too long, and its answers."""
    whole = [[*run.tokenizer.encode(t), run.tokenizer.end_id] for t in WRITTEN]
    rows = [np.array(row[: run.c.rollout.max_new_tokens], np.int32) for row in whole]
    tokens = np.zeros((P * G, run.c.rollout.max_new_tokens), np.int32)
    for line, row in zip(tokens, rows, strict=True):
        line[: len(row)] = row
    rollouts = Rollouts(tokens, np.array(list(map(len, rows)), np.int32), np.ones(P * G, bool), {})
    texts = run.tokenizer.decode(rollouts.rows())
    answers = read_answers(texts, G, "lab", run.check.key_of)
    prompts = stream.take(run.questions, range(P))
    given = Supplied(run.engine, placed(), None, run.tokenizer, prompts, rollouts)
    return given.of("answer_distance", answers), answers, prompts


def in_float64(run, prompts, p, state, answer):
    """Mean negative log-probability of an answer and the end after a text, one sequence at a time."""
    host = {n: np.asarray(x) for n, x in placed().items()}
    before = list(prompts.tokens[p, : prompts.lengths[p]]) + run.tokenizer.encode(state + "A")
    follows = [*run.tokenizer.encode(answer), run.tokenizer.end_id]
    z = helpers.reference_logits(host, run.model_config, np.array(before + follows))
    z = z[len(before) - 1 : -1] / run.c.rollout.temperature
    logp = z - z.max(axis=1, keepdims=True)
    logp -= np.log(np.exp(logp).sum(axis=1, keepdims=True))
    return -logp[np.arange(len(follows)), follows].mean()


def distances_in_float64(run, prompts, answers, most=15, compared=8, widest=12):
    """`[B, S, G]` by text alone."""
    out = np.full((P * G, most, G), np.inf)
    for p in range(P):
        named = {i: key for key, i in answers.names[p].items()}
        votes = {i: int((answers.classes[p] == i).sum()) for i in named}
        kept = sorted(named, key=lambda i: (-votes[i], i))[:compared]
        for b in range(p * G, (p + 1) * G) if len(kept) > 1 else ():
            steps = WRITTEN[b].split(";")[:-1] if "A" in WRITTEN[b] else None
            for s in range(len(steps) + 1 if steps is not None else 0):
                state = "".join(step + ";" for step in steps[:s])
                if len(state) + 2 + max(len(named[i]) for i in kept) <= widest:
                    out[b, s, kept] = [in_float64(run, prompts, p, state, named[i]) for i in kept]
    return out


@pytest.mark.parametrize(
    "changes",
    [{}, {"rollout__temperature": 0.7, "rollout__response_buckets": (6, 12)}, {"states__answers": 3}],
    ids=["plain", "buckets", "few"],
)
def test_the_distance_of_an_answer_is_that_of_its_text_in_float64(changes):
    run = opened(**changes)
    got, answers, prompts = distances(run)
    want = distances_in_float64(run, prompts, answers, compared=changes.get("states__answers", 8))
    there = np.isfinite(want)
    np.testing.assert_array_equal(np.isfinite(got), there)
    helpers.assert_close(got[there], want[there])
    np.testing.assert_array_equal(got[0], got[3])  # the same response, to the last bit
    assert not there[G : 2 * G].any() and got.shape == (P * G, 15, G)  # a group of one answer
    assert not there[[4, 7]].any() and there[0].any(axis=1).sum() == 2 and there[1].any(axis=1).sum() == 1


def test_a_state_that_leaves_no_room_for_an_answer_is_not_scored():
    run = opened(rollout__max_new_tokens=10)
    got, answers, prompts = distances(run)
    want = distances_in_float64(run, prompts, answers, widest=10)
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(want))
    # "1;2;3;" has room for "A1" and the end, "1;2;3;4;" has none.
    assert np.isfinite(got[2 * G]).any(axis=1).sum() == 4


def test_only_a_reward_that_asks_has_its_programs_compiled_and_a_pass_planned():
    run = opened(rollout__response_buckets=(6, 12))
    scored = lambda needs: {
        tuple(a) for f, *a in run.engine._declared(False, False, needs) if f == run.engine.scorer
    }
    assert scored(()) == set() and scored(("answer_distance",)) == {(16, 6), (16, 12)}
    for name, count in (("majority_voting", 2), ("covo", 3)):
        c = run.c.copy_and_resolve_references()
        c.reward.name = name
        assert len(memory.phases(c)) == count


def test_keys_that_cannot_work_are_refused():
    c = config.default()
    c.mesh.data = 8
    for key, value, message in (
        ("states.template", "The answer is", "must contain {answer} exactly once"),
        ("states.template", "{answer}{answer}", "must contain {answer} exactly once"),
        ("states.most", 0, "give a value from 1"),
        ("states.answers", 1, "give a value from 2"),
    ):
        bad = c.copy_and_resolve_references()
        bad.update_from_flattened_dict({key: value})
        with pytest.raises(config.ConfigError, match=message):
            validation.validate(bad, 8)


def test_it_is_watched_beside_another_reward_and_nothing_compiles_later(launcher, tmp_path):
    shadow = "('covo', 'covo + 0.1*curiosity')"
    answers = {"model.path": "lab:plain", "model.init": "pretrained", "rollout.group": 8}
    call = launcher.run(tiny(tmp_path / "run", QUICK | answers | {"reward.shadow": shadow}))
    assert call.status == 0, call.err
    lines = metrics_of(tmp_path / "run")
    assert len({line["perf/compilations"] for line in lines}) == 1
    for line in lines:
        assert "timing_s/supplied" in line and line["train/states/scored"] > 0.1
        assert line["shadow/covo + 0.1*curiosity/mean"] > line["shadow/covo/mean"]
