"""What a run says at once, and when it says nothing."""

import helpers
import numpy as np
import pytest

from urlvr_jax.answers.classes import read_answers
from urlvr_jax.checks.grading import Graded
from urlvr_jax.data import stream
from urlvr_jax.data.labels import Labels
from urlvr_jax.measure import notices
from urlvr_jax.rewards.compute import Rewards
from urlvr_jax.types import Rollouts

RIGHT = Graded(np.ones((2, 2), bool), np.ones((2, 2), np.float32))


def test_responses_without_answers_are_said_with_the_styles_that_find_some():
    texts = ["so \\boxed{5}", "The answer is 7", "\\boxed{1}"] * 4
    (said,) = notices.of_answers(texts, 0, "lab").values()
    assert "answers.style = 'lab' finds an answer in 0 of 12 responses" in said
    assert "12 with 'number', 8 with 'boxed'" in said and "ends 'so \\\\boxed{5}'" in said
    (said,) = notices.of_answers(["x" * 500 + "END"], 0, "boxed").values()
    assert "none either" in said and len(said) < 400 and "END" in said


def test_few_answers_are_said_where_another_style_finds_more():
    texts = ["\\boxed{3}"] * 11
    assert notices.of_answers(texts, 1, "lab") and not notices.of_answers(texts, 2, "lab")
    assert not notices.of_answers(["nothing"] * 11, 1, "lab")
    assert notices.of_answers([], 0, "lab") == {}


@pytest.mark.parametrize(
    "prompt, style, lab, said",
    [
        ("Q1+2?", "lab", True, ""),
        ("How many?", "lab", False, "boxed, hashes, tag"),
        ("How many? ... within \\boxed{}.", "boxed", False, ""),
        ("How many?", "boxed", False, "set data.template, such as ['boxed', 'qwen_math']"),
        ("... <answer> </answer>", "boxed", False, "it asks as for ['tag']"),
        ("How many?", "number", False, ""),
        ("Answer:", "line", False, ""),
    ],
)
def test_a_prompt_that_asks_for_another_form_than_is_read_is_said(prompt, style, lab, said):
    found = notices.of_template(prompt, style, lab)
    assert bool(found) == bool(said) and said in found.get("template", "")


def step(values, texts=("A1", "A2", "A1", "A1"), ended=True, graded=RIGHT, **options):
    """The notices of a step of two groups of two."""
    values = np.array(values, np.float32)
    rollouts = Rollouts(np.zeros((4, 3), np.int32), np.full(4, 3, np.int32), np.full(4, ended), {})
    c = helpers.experiment(rollout__group=2, **options)
    rewards = Rewards(values, {}, {}, None, False)
    return notices.of_step(c, rollouts, read_answers(list(texts), 2, "lab"), rewards, graded)


def test_a_step_that_teaches_nothing_is_said():
    assert step([[0, 1], [1, 1]]) == {}
    assert "the reward is 0.5 for all 4 responses" in step([[0.5, 0.5], [0.5, 0.5]])["reward"]
    assert "equal within each of the 2 groups" in step([[0, 0], [1, 1]])["groups"]
    assert (
        "all 4 responses of a step were cut at rollout.max_new_tokens"
        in step([[0, 1], [1, 1]], ended=False)["cut"]
    )
    assert "answers" in step([[0, 1], [1, 1]], texts=["boxed", "no", "no", "no"])
    assert step([[0, 0], [0, 0]], mode="supervised") == {}


def test_a_check_without_verdicts_is_said():
    assert step([[0, 1], [1, 1]], graded=Graded(None, None, why="none of 4 was judged"))[
        "check"
    ].startswith("none of 4")
    some = RIGHT._replace(
        ungraded={"late": 2, "lost": 0, "failed": 1}, error="ValueError: no (my.py, line 3)"
    )
    assert (
        "count as wrong: 2 past the deadline, 1 failed (ValueError: no (my.py, line 3))"
        in step([[0, 1], [1, 1]], graded=some)["check"]
    )


def test_questions_that_are_mostly_too_long_or_have_one_answer_are_said(tmp_path):
    file = tmp_path / "q.jsonl"
    rows = [f'{{"prompt": "{"Q" * n}", "answer": "3"}}\n' for n in (5, 20, 30, 40)]
    file.write_text("".join(rows))
    from urlvr_jax.data.prompt_formats import PromptFormat
    from urlvr_jax.data.tokenizer import Tokenizer
    from urlvr_jax.lab import shipped

    plain = PromptFormat(Tokenizer(shipped.base("lab:plain")))
    questions, labels = stream.load(str(file), plain, (16,))
    found = notices.of_questions("q", questions, labels, (16,))
    assert "3 of 4 prompts are longer" in found["long q"]
    assert (
        "at most 30 tokens, 99 % at most 40, the longest 40; --config.data.prompt_buckets=48"
        in found["long q"]
    )
    assert "gold q" not in found, "one question alone may have one answer"
    questions, labels = stream.load(str(file), plain, (64,))
    found = notices.of_questions("q", questions, labels, (64,))
    assert list(found) == ["gold q"] and "all 4 gold answers are '3'" in found["gold q"]
    assert notices.of_questions("q", questions, Labels({"0": "3", "1": "4"}), (64,)) == {}


@pytest.mark.parametrize(
    "train, sets, every, said",
    [
        ("lab:train", ("lab:heldout",), 1, False),
        ("my.jsonl", ("lab:heldout",), 1, True),
        ("my.jsonl", ("lab:heldout",), 0, False),
        ("my.jsonl", ("hf:other:test",), 1, False),
        ("lab:countdown_train", ("lab:heldout",), 1, True),
        ("lab:countdown_train", ("lab:countdown_heldout",), 1, False),
        ("lab:python_tasks_train", ("lab:python_tests_heldout",), 1, True),
        ("lab:python_tasks_train", ("lab:python_tasks_heldout",), 1, False),
    ],
)
def test_an_evaluation_of_another_kind_than_the_training_is_said(train, sets, every, said):
    c = helpers.experiment(data__train=train, eval__sets=sets, eval__every=every)
    assert bool(notices.of_sets(c)) == said
