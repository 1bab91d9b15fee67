"""Checks from outside: partners in two wordings, Countdown's checker, and who is right."""

import json

import helpers
import numpy as np
import pytest

from urlvr_jax import config, errors, validation
from urlvr_jax.answers import classes as classes_lib
from urlvr_jax.checks.grading import Asked
from urlvr_jax.checks.table import CHECKS
from urlvr_jax.data import stream
from urlvr_jax.data.prompt_formats import PromptFormat
from urlvr_jax.data.tokenizer import Tokenizer
from urlvr_jax.lab import shipped, world
from urlvr_jax.rewards import RewardError, expression
from urlvr_jax.runtime import opening

TOKENIZER = Tokenizer(shipped.base("lab:plain"))
PLAIN = PromptFormat(TOKENIZER)


def rewarded(name, questions, texts, **derived):
    """The reward of responses to these questions, with the derived inputs that it asks for."""
    group, fn = len(texts) // len(questions), expression.load(name)
    given = helpers.reward_inputs(
        fn, lengths=np.ones(len(texts), np.int32), group=group, questions=tuple(questions),
        texts=tuple(texts), **derived,
    )  # fmt: skip
    return np.asarray(expression.compute(fn, given))


# ---- self-verification ----------------------------------------------------------------------


def test_only_a_clear_yes_earns():
    verdicts = np.array([[1, 0, -1, 1], [-1, -1, 0, 0]])
    out = rewarded("self_verify", ("a", "b"), ("",) * 8, verification=verdicts)
    np.testing.assert_array_equal(out, verdicts == 1)


# ---- rephrased questions ---------------------------------------------------------------------


def test_partners_exchange_their_majority_answers():
    keys = ["5", "5", "7", None, "7", "7", "5", "9", None, None, None, None, "1", "1", "1", "2"]
    classes, names = classes_lib.group_classes(keys, 4)
    partner = classes_lib.partner_classes(classes_lib.majority_class(classes), names)
    assert partner[0] == names[0]["7"] and partner[1] == names[1]["5"]
    assert partner[2] == -2  # nobody here gave "1"
    assert partner[3] == -1  # the partner has no answer at all
    out = rewarded("co_reward", "abcd", ("",) * 16, answers=classes, rephrased=partner)
    np.testing.assert_array_equal(out, [[0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


def test_the_laboratory_rephrases_to_the_same_sum_and_never_to_a_held_out_question():
    changed = 0
    for row in world.questions("train", 200, seed=5):
        other = world.rephrase(row["prompt"])
        numbers = [int(n) for n in other[1:-1].replace("-", "+-").split("+")]
        assert str(sum(numbers)) == row["answer"] and world.part(other) != "heldout"
        changed += other != row["prompt"]
    assert changed > 150


def question_file(tmp_path, rows):
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return str(file)


def test_two_wordings_stay_together_through_files_shuffles_and_steps(tmp_path):
    rows = [{"prompt": f"Q{n}+1?", "rephrased": f"Q1+{n}?", "answer": n + 1} for n in range(1, 8)]
    rows[3]["rephrased"] = "Q" + "1+" * 9 + "1?"  # too long: both wordings go
    questions, labels = stream.load(question_file(tmp_path, rows), PLAIN, (16,), rephrase="column")
    assert len(questions) == 12 and questions.overlong == 2 and questions.paired
    for step in (1, 2, 3, 4):
        prompts = stream.prompts_at(questions, step, 4, seed=0, shuffle=True)
        for first, second in ((0, 1), (2, 3)):
            assert prompts.ids[second] == prompts.ids[first] + "~"
            assert labels.gold[prompts.ids[first]] == labels.gold[prompts.ids[second]]


def test_a_function_of_a_file_rephrases(tmp_path):
    file = tmp_path / "other.py"
    file.write_text("def other(question):\n    return question[:-1] + '+0?'\n")
    rows = [{"prompt": "Q1+2?"}]
    questions, _ = stream.load(question_file(tmp_path, rows), PLAIN, (16,), rephrase=f"{file}:other")
    assert questions.texts == ("Q1+2?", "Q1+2+0?")


@pytest.mark.parametrize(
    "how, message",
    [("column", "no other wording"), ("nowhere.py:f", "existing file"), ("words", "lab, column")],
)
def test_a_missing_other_wording_is_an_error(tmp_path, how, message):
    file = question_file(tmp_path, [{"prompt": "Q1+2?", "id": "a"}])
    with pytest.raises(errors.DataError, match=message):
        stream.load(file, PLAIN, (16,), rephrase=how)


def test_a_broken_file_that_rephrases_is_named_with_its_line(tmp_path):
    file, rows = tmp_path / "other.py", question_file(tmp_path, [{"prompt": "Q1+2?"}])
    for text, message in (
        ("x = 1\ndef other(", "line 2: SyntaxError"),
        ("import nowhere_to_be_found", "line 1: ModuleNotFoundError"),
        ("def another(q):\n    return q", r"has no function 'other'; it has \['another'\]"),
    ):
        file.write_text(text)
        with pytest.raises(errors.DataError, match=f"data.rephrase = .*{file}.*{message}"):
            stream.load(rows, PLAIN, (16,), rephrase=f"{file}:other")


def test_a_reward_of_two_wordings_asks_for_them_at_start_up():
    c = config.default()
    c.reward.name, c.mesh.data = "co_reward", 8
    with pytest.raises(config.ConfigError, match=r"set data\.rephrase"):
        opening.require_inputs(expression.load_configured(c), opening.open_run(c))
    c.data.rephrase = "lab"
    opening.require_inputs(expression.load_configured(c), opening.open_run(c))
    c.data.prompts_per_step = 33
    with pytest.raises(config.ConfigError, match="make both even"):
        validation.validate(c, 8)


# ---- Countdown -------------------------------------------------------------------------------


def test_the_countdown_reward_reads_the_task_from_the_question():
    texts = ("A3*7+5", "A3*7", "A5+7*3", "")
    given = ("3*7+5", "3*7", "5+7*3", None)
    out = rewarded("countdown", ("C3,7,5=26?",), texts, answer_text=given)
    np.testing.assert_array_equal(out, [[1, 0, 1, 0]])
    with pytest.raises(errors.DataError, match="no numbers and target"):
        rewarded("countdown", ("What is 2+2?",), texts, answer_text=given)
    with pytest.raises(RewardError, match="choose one of"):
        expression.load("countdown(mode='loose')")


def test_the_integration_reward_reads_the_integrand_from_the_question():
    given = ("x^3+x^2", "x^3+x^2+7", "x^3", None)
    out = rewarded("integration", ("I3x^2+2x?",), ("",) * 4, answer_text=given)
    np.testing.assert_array_equal(out, [[1, 1, 0, 0]])
    with pytest.raises(errors.DataError, match="no indefinite integral"):
        rewarded("integration", ("What is 2+2?",), ("",) * 4, answer_text=given)


def test_who_is_right_is_decided_by_the_configured_check():
    check = CHECKS["countdown"]
    texts = ["1+1=2;A3*7+5", "A3*7", "A5+7*3", "nothing"]
    answers = classes_lib.read_answers(texts, 4, "lab_expression", check.key_of)
    assert answers.keys == ["3*7+5", "3*7", "5+7*3", None]  # expressions stand for themselves
    out = check.grade(answers, Asked(("C3,7,5=26?",), ("a template without a task",), None)).correct
    np.testing.assert_array_equal(out, [[True, False, True, False]])
    check = CHECKS["countdown_tinyzero"]
    question = "Using the numbers [3, 7, 5], create an equation that equals 26."
    said = [f"<answer>{t}</answer>" for t in ("3*7+5", "3*7", "26")] + ["none"]
    answers = classes_lib.read_answers(said, 4, "tag", check.key_of)
    out = check.grade(answers, Asked((question,), (question + " Assistant: <think>",), None)).correct
    np.testing.assert_array_equal(out, [[True, False, False, False]])
    assert CHECKS["gold"].grade(answers, Asked(("",), ("",), None)).correct is None


def test_right_by_the_gold_answer_is_having_its_key():
    check = CHECKS["gold"]
    answers = classes_lib.read_answers(["A5", "A7", "none", "A05"], 2, "lab", check.key_of)
    out = check.grade(answers, Asked(("a", "b"), ("a", "b"), ["5.0", "5"])).correct
    np.testing.assert_array_equal(out, [[True, False], [False, True]])
