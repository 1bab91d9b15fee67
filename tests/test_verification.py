"""The second generation of self-verification: its prompt, its verdict, its rates."""

import functools

import numpy as np
import pytest

from urlvr_jax import config, data, loading, rewards, verification
from urlvr_jax.engine import random_key
from urlvr_jax.judge import judge
from urlvr_jax.lab.countdown_world import WORDINGS
from urlvr_jax.verification import AMBIGUOUS, NO, YES


def test_a_prompt_holds_question_and_response_as_they_are():
    template = "Task: {prompt}\nTry: {response}\nRight? {curly} \\1"
    text = verification.render(template, "{response}{prompt}\\g<0>", "{prompt} {{x}}")
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
    assert verification.VERDICTS[style](text) == want


def test_rates_count_what_is_ambiguous_as_no_and_are_absent_where_undefined():
    verdicts = np.array([[YES, NO, AMBIGUOUS, YES]])
    correct = np.array([[True, True, False, False]])
    out = verification.metrics(verdicts, correct)
    assert out["train/self_verify/yes"] == 0.5 and out["train/self_verify/ambiguous"] == 0.25
    assert out["train/self_verify/true_positive_rate"] == 0.5
    assert out["train/self_verify/false_positive_rate"] == 0.5
    assert out["train/self_verify/reward_accuracy"] == 0.5
    all_right = verification.metrics(verdicts, np.ones((1, 4), bool))
    assert "train/self_verify/false_positive_rate" not in all_right
    assert set(verification.metrics(verdicts, None)) == {
        "train/self_verify/yes",
        "train/self_verify/ambiguous",
    }


def test_a_base_that_has_read_verdicts_tells_right_from_wrong_in_either_wording():
    c = config.default()
    c.model.path, c.data.train = "lab:countdown_judge", "lab:countdown_train"
    c.answers.style, c.answers.check, c.mesh.data = "lab_expression", "countdown", 8
    c.rollout.max_new_tokens, c.verify.prompt_buckets, c.eval.every = 32, (48,), 0
    run = loading.open_run(c)
    params = run.engine.place(run.base_params())
    prompts = data.take(run.questions, range(24))
    out = run.engine.sample(
        run.engine.to_rollout(params), prompts, random_key(0, "rollout", 1), temperature=1.0
    )
    fn = rewards.load("self_verify")
    for wording in WORDINGS.values():
        c.verify.template = wording
        ask = functools.partial(
            verification.ask, c, run.engine, params, run.tokenizer, prompts, key=random_key(0, "verify", 1)
        )
        judged = judge(c, fn, run.tokenizer, run.labels, prompts, out, out.stats, 1, (), ask)
        measured = verification.metrics(judged.verdicts, judged.correct)
        true, false = (measured[f"train/self_verify/{k}_positive_rate"] for k in ("true", "false"))
        assert 0.05 < judged.correct.mean() < 0.9 and true > false + 0.3
        assert measured["train/self_verify/ambiguous"] < 0.05
        np.testing.assert_array_equal(judged.reward, judged.verdicts == YES)
