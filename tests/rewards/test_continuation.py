"""Rewards from how a text goes on: thoughts, predictions, and log-probabilities against float64."""

import functools

import helpers
import numpy as np
import pytest

from urlvr_jax import config
from urlvr_jax.answers.classes import read_answers
from urlvr_jax.data import stream
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
    "junk",
]  # of each of eight prompts
ENDED = np.array([1, 1, 0, 1, 1, 1, 0, 1] * 8, bool)


@functools.cache
def opened(**changes):
    c = config.default()
    c.mesh.data, c.eval.every, c.data.prompts_per_step = 8, 0, 8
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


def means_in_float64(run, params, thoughts, temperature=1.0):
    """Mean log-probability of each prompt's continuation after each of its thoughts, one sequence at a time."""
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
            out[p, g] = logp[np.arange(len(follows)), follows].mean()
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
