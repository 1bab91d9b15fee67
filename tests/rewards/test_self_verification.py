"""The second generation of self-verification: its prompt, its verdict, its rates."""

import functools

import numpy as np
import pytest

from urlvr_jax import config
from urlvr_jax.answers.classes import read_answers
from urlvr_jax.checks.grading import Asked
from urlvr_jax.data import stream
from urlvr_jax.lab.countdown_world import WORDINGS
from urlvr_jax.measure import metrics
from urlvr_jax.rewards import expression, self_verification
from urlvr_jax.rewards.compute import reward_inputs, step_rewards
from urlvr_jax.rewards.derived import Facts
from urlvr_jax.rewards.self_verification import AMBIGUOUS, NO, YES
from urlvr_jax.runtime import opening
from urlvr_jax.runtime.random_keys import random_key


def test_a_prompt_holds_question_and_response_as_they_are():
    template = "Task: {prompt}\nTry: {response}\nRight? {curly} \\1"
    text = self_verification.render(template, "{response}{prompt}\\g<0>", "{prompt} {{x}}")
    assert text == "Task: {response}{prompt}\\g<0>\nTry: {prompt} {{x}}\nRight? {curly} \\1"


@pytest.mark.parametrize(
    "style, text, want",
    [
        ("lab", "Y", YES),
        ("lab", " N\n", NO),
        ("lab", "YN", AMBIGUOUS),
        ("lab", "y", AMBIGUOUS),
        ("lab", "", AMBIGUOUS),
        ("boxed", r"so \boxed{True}", YES),
        ("boxed", r"\boxed{false}", NO),
        ("boxed", r"\boxed{\text{TRUE}}", YES),
        ("boxed", r"\boxed{True} or \boxed{False}", AMBIGUOUS),
        ("boxed", r"\boxed{True} and again \boxed{true}", YES),
        ("boxed", r"\boxed{42}", AMBIGUOUS),
        ("boxed", "True", AMBIGUOUS),
        ("word", "Yes.", YES),
        ("word", "The solution is incorrect", NO),
        ("word", "It is not correct", AMBIGUOUS),
        ("word", "true, or false?", AMBIGUOUS),
        ("word", "It isn't", NO),
        ("word", "yesterday, nothing", AMBIGUOUS),
        ("word", "42", AMBIGUOUS),
    ],
)
def test_a_verdict_is_read_strictly(style, text, want):
    assert self_verification.VERDICTS[style](text) == want


def test_rates_count_what_is_ambiguous_as_no_and_are_absent_where_undefined():
    verdicts = np.array([[YES, NO, AMBIGUOUS, YES]])
    correct = np.array([[True, True, False, False]])
    assert metrics.of_verdicts(verdicts) == {
        "train/self_verify/yes": 0.5,
        "train/self_verify/ambiguous": 0.25,
    }
    out = metrics.of_verdicts_against_labels(verdicts, correct)
    assert out["train/self_verify/true_positive_rate"] == 0.5
    assert out["train/self_verify/false_positive_rate"] == 0.5
    assert out["train/self_verify/reward_accuracy"] == 0.5
    all_right = metrics.of_verdicts_against_labels(verdicts, np.ones((1, 4), bool))
    assert "train/self_verify/false_positive_rate" not in all_right


def test_a_base_that_has_read_verdicts_tells_right_from_wrong_in_either_wording():
    c = config.default()
    c.model.path, c.data.train = "lab:countdown_judge", "lab:countdown_train"
    c.answers.style, c.answers.check, c.mesh.data = "lab_expression", "countdown", 8
    c.rollout.max_new_tokens, c.verify.prompt_buckets, c.eval.every = 32, (48,), 0
    run = opening.open_run(c)
    params = run.engine.place(run.base_params())
    prompts = stream.take(run.questions, range(24))
    shape = run.engine.rollout_shape(prompts.tokens.shape[1])._replace(prompts=24, slots=192)
    out = run.engine.sample(run.engine.to_rollout(params), prompts, random_key(0, "rollout", 1), shape)
    texts = run.tokenizer.decode(out.rows())
    answers = read_answers(texts, c.rollout.group, c.answers.style, run.check.key_of)
    right = run.check.grade(answers, Asked(prompts.questions, prompts.texts, None)).correct
    for wording in WORDINGS.values():
        c.verify.template = wording
        ask = functools.partial(self_verification.ask, run.engine, params, run.tokenizer, prompts, 1)
        reward = expression.Configured(expression.load("self_verify"), ())
        facts = Facts(answers, out, run.tokenizer, ask)
        inputs = reward_inputs(c, reward.needs, facts, prompts, out.stats, 1)
        rewards = step_rewards(reward, inputs, None, 1)
        measured = metrics.of_verdicts(rewards.verdicts)
        measured |= metrics.of_verdicts_against_labels(rewards.verdicts, right)
        true, false = (measured[f"train/self_verify/{k}_positive_rate"] for k in ("true", "false"))
        assert 0.05 < right.mean() < 0.9 and true > false + 0.3
        assert measured["train/self_verify/ambiguous"] < 0.05
        np.testing.assert_array_equal(rewards.values, rewards.verdicts == YES)
