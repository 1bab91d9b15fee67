"""Anchors: which responses are kept, which are due, and that they are scored as they were sampled."""

import helpers
import jax
import numpy as np
import pytest

from urlvr_jax.answers.classes import read_answers
from urlvr_jax.measure import anchors
from urlvr_jax.runtime import settled
from urlvr_jax.runtime.opening import open_run
from urlvr_jax.types import Prompts, Rollouts


def step_of(*texts, group=4, length=3):
    """Prompts, rollouts and answers of groups written as strings of one-digit answers, '.' for none."""
    rows = [f"A{t}" if t != "." else "?" for text in texts for t in text]
    count = len(texts)
    prompts = Prompts(
        tuple(f"q{i}" for i in range(count)), ("",) * count, np.arange(2 * count).reshape(count, 2), np.full(count, 2)
    )  # fmt: skip
    tokens = np.arange(len(rows) * 5).reshape(len(rows), 5)
    logp = -np.arange(len(rows), dtype=np.float32)[:, None].repeat(5, 1)
    rollouts = Rollouts(tokens, np.full(len(rows), length), np.ones(len(rows), bool), {"logp": logp})
    return prompts, rollouts, read_answers(rows, group, "lab")


def test_the_first_response_with_an_agreed_answer_is_kept():
    prompts, rollouts, answers = step_of("1234", "2111", "....", "11..", "5555")
    found = anchors.chosen(prompts, rollouts, answers, width=5)
    assert found["prompt"] == [[2, 3], [6, 7], [8, 9]]
    assert found["response"] == [[25, 26, 27], [60, 61, 62], [80, 81, 82]]  # rows 5, 12 and 16
    assert found["logp"] == [-5, -12, -16]
    assert len(anchors.chosen(prompts, rollouts, answers, width=5, rows=2)["logp"]) == 2


def test_long_responses_and_steps_without_agreement_are_left_out():
    prompts, rollouts, answers = step_of("1111", "1111")
    rollouts.lengths[:4] = [5, 5, 4, 5]
    assert anchors.chosen(prompts, rollouts, answers, width=4)["response"][0] == [10, 11, 12, 13]
    assert anchors.chosen(prompts, rollouts, answers, width=2) is None
    assert anchors.chosen(*step_of("1234", "...."), width=5) is None


def test_the_latest_that_are_old_enough_are_due_also_of_a_resumed_run():
    lines = [
        {"step": s} | ({"anchors": {"logp": [s]}} if s % anchors.EVERY == 0 else {}) for s in range(1, 61)
    ]
    for end in (0, 5, 25, 60):
        known = anchors.Anchors(lines[:end])
        for line in lines[end:]:
            due = known.due(line["step"])
            if line["step"] < anchors.EVERY + anchors.LAG or line["step"] % anchors.SCORED:
                assert due is None
            else:
                at = due["logp"][0]
                assert anchors.LAG <= line["step"] - at < anchors.LAG + anchors.EVERY
            known.see(line)


def test_the_change_is_the_median_over_anchors_and_those_that_lost_much_are_counted():
    those = {"response": [[1, 2], [1], [1, 2, 3]], "logp": [-0.5, -0.5, -0.5]}
    logp = np.full((8, 4), -9.0)
    logp[0, :2], logp[1, :1], logp[2, :3] = [-0.4, -0.4], -5.0, [-0.1, -0.2, -0.3]
    found = anchors.metrics(those, logp)
    assert found == {"anchors/logp_change": pytest.approx(0.1), "anchors/lost": pytest.approx(1 / 3)}


@pytest.mark.parametrize("keys", [{}, {"rollout__temperature": 0.7}, {"optim__micro_rows": 2}])
def test_anchors_are_scored_as_they_were_sampled(keys):
    run = open_run(settled.here(helpers.experiment(**keys)))
    params = run.base_params()
    prompts, rollouts = run.finish(run.begin(params, 1))
    texts = run.tokenizer.decode(rollouts.rows())
    answers = read_answers(texts, run.c.rollout.group, "lab", run.check.key_of)
    engine = run.engine
    those = anchors.chosen(prompts, rollouts, answers, engine.few_widths()[1], rows=3)
    assert those and len(those["logp"]) <= 3 < engine.few_rows
    placed = engine.place_few(those["prompt"], those["response"])
    logp = np.array(engine.score_few(params, placed))
    assert abs(anchors.metrics(those, logp)["anchors/logp_change"]) < 2e-5
    for row, response, mean in zip(logp, those["response"], those["logp"], strict=False):
        np.testing.assert_allclose(row[: len(response)].mean(), mean, atol=2e-5)
    moved = jax.tree.map(lambda x: x * 1.05, params)
    assert (
        abs(anchors.metrics(those, np.array(engine.score_few(moved, placed)))["anchors/logp_change"]) > 1e-3
    )
