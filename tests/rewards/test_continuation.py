"""Rewards from how a text goes on: thoughts, predictions, and log-probabilities against float64."""

import functools

import helpers
import numpy as np
import pytest

from urlvr_jax import config, validation
from urlvr_jax.answers.classes import read_answers
from urlvr_jax.data import stream
from urlvr_jax.measure import metrics
from urlvr_jax.planning import memory
from urlvr_jax.rewards import RewardError, expression
from urlvr_jax.rewards.compute import reward_inputs, step_rewards
from urlvr_jax.rewards.derived import Facts
from urlvr_jax.rewards.supplied import Supplied
from urlvr_jax.runtime import opening
from urlvr_jax.types import Rollouts

WRITTEN = 8 * [
    "3+4=7;A7",
    "A7",
    "3+4=7;3+4",
    ";",
    "",
    "3+4=8;A8",
    "3;4;A77",
    "17",
]  # of each of eight prompts
ENDED = np.array([1, 1, 0, 1, 1, 1, 0, 1] * 8, bool)


@functools.cache
def opened(**changes):
    c = config.default()
    c.mesh.data, c.eval.every, c.data.prompts_per_step = 8, 0, 8
    c.rollout.max_new_tokens, c.continuation.tokens = 12, 4
    c.continuation.corpus, c.continuation.cut, c.continuation.thought_end = "lab:sums", "?", ";"
    c.update_from_flattened_dict({key.replace("__", "."): value for key, value in changes.items()})
    return opening.open_run(c)


@functools.cache
def placed(run_of=opened):
    run = run_of()
    return run.engine.place(run.base_params())


def rollouts_of(run, texts=tuple(WRITTEN), ended=ENDED):
    width = run.c.rollout.max_new_tokens
    rows = [
        run.tokenizer.encode(t) + [run.tokenizer.end_id] * int(e) for t, e in zip(texts, ended, strict=True)
    ]
    tokens = np.zeros((len(rows), width), np.int32)
    for line, row in zip(tokens, rows, strict=True):
        line[: len(row)] = row
    return Rollouts(tokens, np.array(list(map(len, rows)), np.int32), ended, {})


def means_in_float64(run, params, thoughts, temperature=1.0, of_token=np.asarray):
    """Mean log-probability of each prompt's continuation after each of its thoughts, one sequence at a time.

    of_token: np.exp for the mean probability.
    """
    host = {n: np.asarray(x) for n, x in params.items()}
    prompts = stream.take(run.questions, range(8))
    out = np.zeros((8, len(thoughts)))
    for p in range(8):
        prompt = prompts.tokens[p, : prompts.lengths[p]]
        follows = prompts.continuations[p]
        for g, thought in enumerate(thoughts):
            row = np.concatenate([prompt, np.array(run.tokenizer.encode(thought), np.int32), follows])
            z = helpers.reference_logits(host, run.model_config, row)[-len(follows) - 1 : -1] / temperature
            z = z - z.max(axis=1, keepdims=True)
            logp = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
            out[p, g] = of_token(logp[np.arange(len(follows)), follows]).mean()
    return out


THOUGHTS = ["3+4=7;", "", "3+4=7;", ";", "", "3+4=8;", "3;4;", ""]


def computed(run, name, params, base=None, rollouts=None):
    """Rewards `[P, G]` of what was written, as a step computes them."""
    rollouts = rollouts or rollouts_of(run)
    prompts = stream.take(run.questions, range(8))
    texts = run.tokenizer.decode(rollouts.rows())
    answers = read_answers(texts, 8, "lab", run.check.key_of)
    given = Supplied(run.engine, params, base, run.tokenizer, prompts, rollouts)
    reward = expression.Configured(expression.load(name), ())
    facts = Facts(answers, rollouts, run.tokenizer, None, given.of)
    stats = {n: np.zeros(rollouts.tokens.shape, np.float32) for n in ("logp", "entropy", "self_certainty")}
    inputs = reward_inputs(run.c, reward.needs, facts, prompts, stats, 1)
    return step_rewards(reward, inputs, None, 1)


def test_the_information_gain_of_a_thought_is_that_of_float64():
    run, params = opened(), placed()
    after = means_in_float64(run, params, THOUGHTS)
    alone = means_in_float64(run, params, [""])
    got = computed(run, "rlp", params)
    helpers.assert_close(got.continuation_logp, after)
    helpers.assert_close(got.values, after - alone)
    assert np.ptp(got.values) > 0.5
    np.testing.assert_allclose(got.values[:, [1, 4, 7]], 0, atol=1e-6)  # no thought, no gain
    np.testing.assert_array_equal(got.values[:, 0], got.values[:, 2])  # the same thought, to the last bit


def test_the_baseline_may_be_the_frozen_base():
    run, params = opened(), placed()
    moved = {n: x * 1.05 for n, x in params.items()}
    want = means_in_float64(run, moved, THOUGHTS) - means_in_float64(run, params, [""])
    helpers.assert_close(computed(run, "rlp(baseline='base')", moved, params).values, want)
    with pytest.raises(RewardError, match="choose one of"):
        expression.load("rlp(baseline='average')")


def test_what_a_thought_adds_to_the_probability_is_that_of_float64_and_never_less_than_nothing():
    run, params = opened(), placed()
    answers = [run.tokenizer.decode([c])[0][1:] for c in stream.take(run.questions, range(8)).continuations]
    knows = [f"0+{n}={n};" for n in answers]  # the last thought of each prompt knows how it goes on
    texts = [text for n in answers for text in (*WRITTEN[:7], f"0+{n}={n};A")]
    in_float64 = functools.partial(means_in_float64, run, params, of_token=np.exp)
    after = in_float64(THOUGHTS)
    after[:, 7] = np.diag(in_float64(knows))
    gain = after - in_float64([""])
    got = computed(run, "rlpr", params, rollouts=rollouts_of(run, texts))
    helpers.assert_close(got.values, np.clip(gain, 0, 1))
    assert gain.min() < -0.1 and got.values.min() == 0 and got.values.max() > 0.1
    told = metrics.of_continuations("p", got.continuation_p)
    assert told["train/continuation/p"] == pytest.approx(after.mean(), abs=1e-5)


def test_rewards_that_read_the_same_continuations_share_their_two_passes(monkeypatch):
    run, passes = opened(), []
    score_rows = run.engine.score_rows
    monkeypatch.setattr(run.engine, "score_rows", lambda *a: passes.append(1) or score_rows(*a))
    both = computed(run, "rlp + rlpr", placed())
    assert len(passes) == 2
    np.testing.assert_array_equal(both.terms["rlp"], computed(run, "rlp", placed()).values)


@pytest.mark.parametrize(
    "name, statistic, sign",
    [
        ("trajectory_level_entropy", "logp", 1),
        ("token_level_entropy", "entropy", -1),
        ("self_certainty",) * 2 + (1,),
    ],
)
def test_certainty_may_be_that_of_the_frozen_base(name, statistic, sign):
    run, params = opened(), placed()
    base = {n: x * 1.05 for n, x in params.items()}
    rollouts = rollouts_of(run)
    got = computed(run, f"{name}(scorer='base')", params, base, rollouts).values
    prompts = stream.take(run.questions, range(8))
    host = {n: np.asarray(x) for n, x in base.items()}
    rows = slice(0, 8)  # of the first prompt
    want = helpers.reference_score(
        host, run.model_config, prompts.tokens[:1], prompts.lengths[:1], rollouts.tokens[rows],
        rollouts.lengths[rows], 1.0,
    )  # fmt: skip
    helpers.assert_close(got[0], sign * want[statistic].sum(axis=1) / np.maximum(rollouts.lengths[rows], 1))
    with pytest.raises(RewardError, match="choose one of"):
        expression.load(f"{name}(scorer='teacher')")


def rewarded(name, predictions, continuations, **derived):
    fn = expression.load(name)
    questions = tuple("abcdefgh"[: len(continuations)])
    given = helpers.reward_inputs(
        fn.terms[0].fn if isinstance(fn, expression.Sum) else fn,
        fn.terms[0].options if isinstance(fn, expression.Sum) else None,
        lengths=np.ones(len(predictions), np.int32), group=len(predictions) // len(continuations),
        questions=questions, prediction=tuple(predictions), continuation=tuple(continuations), **derived,
    )  # fmt: skip
    return np.asarray(expression.compute(fn, given)).tolist()


def test_a_prediction_earns_if_whole_tokens_of_the_continuation_begin_so():
    said = ["the", "the cat", "the c", "", "cat", "the cat sat", "the cat sat on", " the"]
    follows = [("the", " cat", " sat")]
    assert rewarded("rpt", said, follows) == [[1, 1, 0, 0, 0, 1, 0, 0]]
    assert rewarded("rpt(least=2)", said, follows) == [[0, 1, 0, 0, 0, 1, 0, 0]]
    assert rewarded("rpt(least=9)", said, follows) == [[0, 0, 0, 0, 0, 1, 0, 0]]
    answers = ("the", None, "the cat", *[None] * 5)
    assert rewarded("rpt(read='answer')", said, follows, answer_text=answers) == [[1, 0, 1, 0, 0, 0, 0, 0]]
    with pytest.raises(RewardError, match="choose one of"):
        expression.load("rpt(read='box')")


def test_the_next_segment_is_compared_but_for_spaces_and_capitals():
    follows = [("The", " cat."), ("A", "5")]
    said = ["the  cat.\n", "The cat", "", "A5", "a5", "5"]
    assert rewarded("rlpt", said, follows) == [[1, 0, 0], [1, 1, 0]]


def test_a_response_is_a_thought_up_to_the_last_marker_and_then_a_prediction():
    run = opened()
    rollouts = rollouts_of(run)
    prompts = stream.take(run.questions, range(8))
    given = Supplied(run.engine, None, None, run.tokenizer, prompts, rollouts)
    texts = run.tokenizer.decode(rollouts.rows())
    answers = read_answers(texts, 8, "lab", run.check.key_of)
    assert given.of("prediction", answers)[:8] == ("A7", "A7", "3+4", "", "", "A8", "A77", "17")
    thoughts = [run.tokenizer.decode([given._thought(b, t)])[0] for b, t in enumerate(texts[:8])]
    assert thoughts == THOUGHTS


def test_a_row_that_does_not_fit_is_counted_and_earns_nothing():
    run = opened(continuation__buckets=(8,))
    got = computed(run, "rlp", placed())
    lengths = [len(c) for c in stream.take(run.questions, range(8)).continuations]
    long = np.array([[len(thought) + n > 8 for thought in THOUGHTS] for n in lengths])
    assert (computed(run, "rlpr", placed()).values[long] == 0).all()
    assert long.any() and not long.all() and (got.values[long] == 0).all()
    assert (np.isinf(got.continuation_logp) == long).all()
    narrow = metrics.of_continuations("logp", np.array([[-1.0, -np.inf], [-3.0, -np.inf]]))
    assert narrow == {"train/continuation/unscored": 0.5, "train/continuation/logp": -2.0}
    assert metrics.of_continuations("logp", np.full((1, 2), -np.inf)) == {
        "train/continuation/unscored": 1.0
    }


def test_a_reward_of_continuations_asks_for_a_corpus_and_a_configuration_that_cannot_work_is_refused():
    c = config.default()
    c.reward.name, c.mesh.data, c.eval.every = "rpt", 8, 0
    with pytest.raises(config.ConfigError, match=r"'rpt' .* set continuation\.corpus"):
        opening.require_inputs(expression.load_configured(c), opening.open_run(c))
    c.continuation.corpus = "lab:sums"
    validation.validate(c, 8)
    for key, value, message in (
        ("continuation.buckets", (9,), "no row holds a thought"),
        ("continuation.buckets", (30, 20), "increasing"),
        ("continuation.tokens", 0, "give a value from 1"),
        ("continuation.segments", -1, "give a value from 0"),
        ("data.rephrase", "lab", "does not go with data.rephrase"),
    ):
        bad = c.copy_and_resolve_references()
        bad.update_from_flattened_dict({key: value})
        with pytest.raises(config.ConfigError, match=message):
            validation.validate(bad, 8)


def test_only_what_a_reward_asks_for_is_compiled_and_scored():
    engine = opened().engine
    scored = lambda needs: {
        tuple(a) for build, *a in engine._declared(False, False, needs) if build == engine.scorer
    }
    assert scored(()) == set() and scored(("continuation", "prediction")) == set()
    assert scored(("continuation_logp",)) == {(16, 12 + 4 + 1)}
    assert scored(("base_logp",)) == {(16, 12)}
    assert scored(("base_logp", "continuation_logp_base")) == {(16, 12), (16, 12 + 4 + 1)}


def test_a_run_that_asks_for_the_base_holds_it_beside_the_policy():
    run = opened()
    assert run.held_base(False, ("logp", "continuation_logp")) is None
    assert run.held_base(False, ("base_logp",)).keys() == run.engine.shapes.keys()
    phases = {}
    for name in ("self_certainty", "rlp", "rlp(baseline='base')"):
        c = run.c.copy_and_resolve_references()
        c.reward.name = name
        phases[name] = memory.phases(c)
    assert list(map(len, phases.values())) == [2, 3, 3]
