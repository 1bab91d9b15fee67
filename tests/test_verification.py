"""The second generation of self-verification: its prompt, its verdict, its rates."""

import numpy as np
import pytest

from urlvr_jax import verification
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
