"""DuPO: a part of the question is hidden, and found again with the answer."""

import functools
import re

import helpers
import numpy as np
import pytest

from urlvr_jax import config, validation
from urlvr_jax.answers.classes import read_answers
from urlvr_jax.checks.grading import Asked
from urlvr_jax.config import ConfigError
from urlvr_jax.data import stream
from urlvr_jax.errors import UserCodeError
from urlvr_jax.lab import world
from urlvr_jax.rewards import dual, expression, self_verification
from urlvr_jax.rewards.compute import reward_inputs, step_rewards
from urlvr_jax.rewards.derived import Facts
from urlvr_jax.rewards.self_verification import AMBIGUOUS, NO, YES
from urlvr_jax.runtime import opening
from urlvr_jax.runtime.random_keys import random_key


def test_the_reward_is_one_where_the_hidden_part_was_found():
    found = np.array([[YES, NO, AMBIGUOUS, YES], [NO, NO, NO, AMBIGUOUS]])
    fn = expression.load("dupo")
    given = helpers.reward_inputs(fn, lengths=np.ones(8, np.int32), group=4, reconstruction=found)
    np.testing.assert_array_equal(expression.compute(fn, given), found == YES)


def test_the_laboratory_hides_a_number_that_only_the_right_answer_gives_back():
    hidden_at = set()
    for row in world.questions("train", 300, seed=7):
        asked, hidden = world.hide(row["prompt"], row["answer"])
        chain, _, answer = asked[1:-1].rpartition("=")
        value = lambda x, chain=chain: eval(chain.replace("?", str(x)))
        assert answer == row["answer"] and value(hidden) == int(answer)
        wrong, same = world.hide(row["prompt"], str(int(answer) + 3))
        assert same == hidden and value(hidden) != int(wrong[1:-1].rpartition("=")[2])
        hidden_at.add(len(re.findall(r"[+-]", chain.partition("?")[0])))
    assert hidden_at == {0, 1, 2, 3, 4}
    assert world.hide("Q16-13+2?", "5") == ("Q16-13+?=5?", "2")
    for question, answer in (("C3,7,5=26?", "5"), ("Q16?", "16"), ("Q1+2?", "three"), ("", "")):
        assert world.hide(question, answer) is None


def test_a_dual_document_leads_from_both_ends_to_the_hidden_number():
    documents = [d for step in range(30) for d in world.documents("dual", 0, step, 64, 43)]
    duals = [(asked, text, ends) for asked, text, ends in documents if "=" in asked]
    assert 0.45 < len(duals) / len(documents) < 0.55 and all(ends for *_, ends in duals)
    right = 0
    for asked, text, _ in duals:
        chain, _, answer = asked[1:-1].rpartition("=")
        with_what_is_found = f"Q{chain.replace('?', text.rpartition('A')[2])}?"
        assert world.part(with_what_is_found) == "documents"  # no question of another part is told
        assert text.count(";") == len(re.findall(r"[+-]", chain)) and max(map(len, (asked, text))) <= 43
        right += eval(chain.replace("?", f"({text.rpartition('A')[2]})")) == int(answer)
    assert 0.88 < right / len(duals) < 0.96  # a slip a step of 3 %


def test_a_number_of_any_text_is_hidden_and_asked_for_in_words():
    question = "Ann has 12 apples and {answer} 3.5 pears. How many?"
    asked, hidden = dual.number(question, "15.5")
    shown, _, rest = asked.partition("\n\n")
    assert shown.replace("X", hidden) == question and hidden in ("12", "3.5")
    assert "Its answer is 15.5." in rest
    assert dual.number(question, "1")[1] == hidden  # a function of the question alone
    assert dual.number("no number at all, not even x2 or 1,000", "1") is None


@pytest.mark.parametrize("answer", ["-1,234.5", "3/4", "+7", " 12 "])
def test_an_answer_that_is_one_number_is_shown(answer):
    assert f"Its answer is {answer}." in dual.number("6 eggs", answer)[0]


@pytest.mark.parametrize(
    "answer", ["0, and X=12, X=30", "12 30", "x=6", "", "1" * 40, "6 {question}", "six"]
)
def test_an_answer_that_might_tell_what_is_hidden_is_not_shown(answer):
    assert dual.number("6 eggs", answer) is None


@pytest.mark.parametrize("response", [r"\boxed{}", r"so \boxed{ }", r"\boxed{\text{}}", "no box", ""])
def test_a_response_without_an_answer_is_not_asked_about(response):
    c = config.default()
    c.answers.style, c.verify.dual = "boxed", "number"
    assert self_verification.question_of(c, "6 eggs and 7?", response) is None
    assert self_verification.question_of(c, "6 eggs and 7?", r"\boxed{13}") is not None


@pytest.mark.parametrize(
    "reply, want",
    [("16-5=11;11+2=13;A13", True), ("A013", True), ("A12", False), ("13", None), ("", None)],
)
def test_what_is_found_is_compared_by_its_key(reply, want):
    assert dual.finds(reply, "13", "lab") is want


def test_a_function_of_a_file_makes_the_dual_and_is_held_to_its_promise(tmp_path, monkeypatch):
    file = tmp_path / "my.py"
    file.write_text(
        "def dual(question, answer):\n    return (answer + question, '7') if question != 'skip' else None\n"
        "def wrong(question, answer):\n    return question\n"
        "def broken(question, answer):\n    raise KeyError('gone')\n"
    )
    assert dual.asked(f"{file}:dual", "Q", "5") == ("5Q", "7")
    assert dual.asked(f"{file}:dual", "skip", "5") is None
    for question in ("Q", "\ud800"):
        with pytest.raises(
            UserCodeError, match=r"verify\.dual = .*wrong' returned .*: give \(dual question"
        ):
            dual.asked(f"{file}:wrong", question, "5")
    for made in (("", "7"), ("\ud800", "7"), ("Q", " "), ("Q", 7), ["Q", "7"], 3):
        monkeypatch.setattr(dual, "of", lambda name, made=made: lambda question, answer: made)
        with pytest.raises(UserCodeError, match="give"):
            dual.asked(f"{file}:any", "Q", "5")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    for where in (file, file.name):
        with pytest.raises(UserCodeError, match=r"my\.py, line 6: KeyError"):
            dual.asked(f"{where}:broken", "Q", "5")


def test_a_dual_that_is_unknown_or_trains_a_judge_is_refused():
    c = config.default()
    c.verify.dual = "labb"
    with pytest.raises(ConfigError, match=r"verify\.dual: give one of \['lab', 'number'\]"):
        validation.validate(c, 1)
    c.verify.dual, c.verify.train, c.verify.votes = "lab", "majority", 4
    with pytest.raises(ConfigError, match=r"verify\.dual = 'lab' for|verify\.dual = 'lab' asks for none"):
        validation.validate(c, 1)


def test_a_reward_and_the_kind_of_its_second_generation_belong_together():
    c = config.default()
    c.mesh.data, c.reward.name = 8, "dupo"
    with pytest.raises(
        ConfigError, match=r"'dupo' or a shadow looks for a hidden part.*set verify\.dual to"
    ):
        opening.require_inputs(expression.load_configured(c), opening.open_run(c))
    c.verify.dual = "lab"
    opening.require_inputs(expression.load_configured(c), opening.open_run(c))
    c.reward.name = "self_verify"
    with pytest.raises(ConfigError, match=r"'self_verify' or a shadow asks for verdicts.*set it to ''"):
        opening.require_inputs(expression.load_configured(c), opening.open_run(c))


def test_a_user_function_that_fails_is_found_before_anything_compiles(tmp_path):
    (tmp_path / "my.py").write_text("def dual(question, answer):\n    return 3\n")
    c = config.default()
    c.mesh.data, c.reward.name, c.verify.dual = 8, "dupo", f"{tmp_path}/my.py:dual"
    with pytest.raises(UserCodeError, match=r"verify\.dual = .* returned 3"):
        opening.require_inputs(expression.load_configured(c), opening.open_run(c))


def test_verdicts_and_a_hidden_part_do_not_go_together():
    c = config.default()
    c.mesh.data, c.reward.name, c.verify.dual = 8, "coverrl + dupo", "lab"
    with pytest.raises(ConfigError, match="a run makes one of them"):
        opening.require_inputs(expression.load_configured(c), opening.open_run(c))


def test_a_dual_question_is_put_as_the_runs_questions_are():
    c = config.default()
    c.mesh.data, c.eval.every, c.data.template = 8, 0, "1{prompt}"
    c.verify.dual, c.verify.prompt_buckets, c.rollout.group = "lab", (24,), 1
    run = opening.open_run(c)
    params = run.engine.place(run.base_params())
    judge = self_verification.Judge(run.engine, params, run.tokenizer)
    prompts = stream.take(run.questions, range(8))
    asked = self_verification.ask(judge, prompts, 1, ["A5"] * 8).prompts
    texts = run.tokenizer.decode([row[:n] for row, n in zip(asked.tokens, asked.lengths, strict=True)])
    assert texts == ["1" + world.hide(question, "5")[0] for question in prompts.questions]


def test_a_base_that_has_looked_for_numbers_finds_them_with_right_answers_alone():
    c = config.default()
    c.model.path, c.verify.dual, c.mesh.data, c.eval.every = "lab:dual", "lab", 8, 0
    c.verify.prompt_buckets, c.verify.max_new_tokens = (20,), 44
    run = opening.open_run(c)
    params = run.engine.place(run.base_params())
    prompts = stream.take(run.questions, range(24))
    shape = run.engine.rollout_shape(prompts.tokens.shape[1])._replace(prompts=24, slots=192)
    out = run.engine.sample(run.engine.to_rollout(params), prompts, random_key(0, "rollout", 1), shape)
    texts = run.tokenizer.decode(out.rows())
    answers = read_answers(texts, c.rollout.group, c.answers.style, run.check.key_of)
    gold = [run.labels.gold[i] for i in prompts.ids]
    right = run.check.grade(answers, Asked(prompts.questions, prompts.texts, gold)).correct
    judge = self_verification.Judge(run.engine, params, run.tokenizer)
    ask = functools.partial(self_verification.ask, judge, prompts, 1, texts)
    reward = expression.Configured(expression.load("dupo"), ())
    facts = Facts(answers, out, run.tokenizer, ask)
    rewards = step_rewards(reward, reward_inputs(c, reward.needs, facts, prompts, out.stats, 1), None, 1)
    paid = rewards.values == 1
    assert 0.1 < right.mean() < 0.9
    assert paid[right].mean() > 0.7 and paid[~right].mean() < 0.1
    assert not paid[answers.classes < 0].any()  # without an answer nothing is asked
