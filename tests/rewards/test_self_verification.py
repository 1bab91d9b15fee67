"""The second generation of self-verification: its prompt, its verdict, its rates."""

import functools

import helpers
import numpy as np
import pytest

from urlvr_jax import config, main, validation
from urlvr_jax.answers.classes import read_answers
from urlvr_jax.checks.grading import Asked
from urlvr_jax.config import ConfigError
from urlvr_jax.data import stream
from urlvr_jax.errors import UserError
from urlvr_jax.lab.countdown_world import WORDINGS
from urlvr_jax.measure import metrics
from urlvr_jax.rewards import expression, self_verification
from urlvr_jax.rewards.compute import reward_inputs, step_rewards
from urlvr_jax.rewards.derived import Facts
from urlvr_jax.rewards.self_verification import AMBIGUOUS, NO, YES
from urlvr_jax.runtime import judges, opening, settled
from urlvr_jax.runtime.engine import Engine
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
        ask = functools.partial(
            self_verification.ask,
            self_verification.Judge(run.engine, params, run.tokenizer),
            prompts,
            1,
            texts,
        )
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


def test_a_verdict_after_a_computation_is_its_last_part():
    read = self_verification.VERDICTS["lab_last"]
    assert [read(t) for t in ("3+7=10;10*5=50;Y", "3+7=10;N", "Y", "Y;", "3+7=10Y", "", ";N ", "Y;3")] == [
        YES, NO, YES, AMBIGUOUS, AMBIGUOUS, AMBIGUOUS, NO, AMBIGUOUS,
    ]  # fmt: skip


def test_the_verdict_of_several_is_what_more_than_half_say():
    votes = [[YES, YES, NO], [NO, AMBIGUOUS, NO], [YES, NO, AMBIGUOUS], [YES, YES, AMBIGUOUS]]
    assert self_verification.outvoted(np.array(votes)).tolist() == [YES, NO, AMBIGUOUS, YES]
    assert self_verification.outvoted(np.array([[YES, NO]])).tolist() == [AMBIGUOUS]  # a tie is no verdict
    np.testing.assert_array_equal(
        self_verification.outvoted(np.array([[YES], [NO], [AMBIGUOUS]])), [YES, NO, AMBIGUOUS]
    )


def _asks(**keys):
    """A small run of the judge's base, and what it says of eight responses under these keys of `verify`."""
    c = config.load_experiment("experiments/countdown.py")
    c.data.prompts_per_step, c.rollout.group, c.eval.every = 4, 2, 0
    c.verify.update(keys)
    run = opening.open_run(c)
    params = run.engine.place(run.base_params())
    changed = {n: x * 0.5 for n, x in params.items()}
    judge = judges.asked(run.engine, run.tokenizer, judges.opened(c), params)
    prompts = stream.take(run.questions, range(4))
    texts = ["A1+2+3", "1+2=3;3+3=6;A1+2+3"] * 4
    return (
        judge(params),
        lambda params: self_verification.ask(judge(params), prompts, 1, texts).verdicts,
        params,
        changed,
    )


def test_a_judge_as_it_was_does_not_change_with_the_policy():
    _, itself, params, changed = _asks()
    _, as_it_was, _, _ = _asks(judge="base")
    np.testing.assert_array_equal(as_it_was(changed), as_it_was(params))
    np.testing.assert_array_equal(as_it_was(params), itself(params))
    assert itself(changed).tolist() != itself(params).tolist()


def test_another_model_judges_with_its_own_tokenizer():
    judge, says, params, changed = _asks(judge="lab:plain", template="{response}Q1+1?{prompt}", votes=3)
    assert judge.tokenizer.encode("Q") and judge.engine.model_config.n_layers == 2
    np.testing.assert_array_equal(says(params), says(changed))
    assert set(says(params).tolist()) == {
        AMBIGUOUS
    }  # it has never said Y or N, and cannot: they are not in its vocabulary


@pytest.mark.parametrize(
    "judge, said", [("no/such/folder", "verify.judge = 'no/such/folder'"), ("lab:none", "lab:none")]
)
def test_a_judge_that_is_not_there_is_named_with_its_key(judge, said):
    c = config.load_experiment("experiments/countdown.py")
    c.verify.judge = judge
    with pytest.raises(UserError, match=said):
        judges.opened(c)


def test_a_judge_must_have_room_for_its_prompts_and_verdicts():
    c = config.load_experiment("experiments/countdown.py")
    c.verify.judge, c.verify.prompt_buckets = "lab:plain", (4000,)
    with pytest.raises(ConfigError, match="verify.judge = 'lab:plain'"):
        judges.opened(c)


# ---- the judge is trained too -------------------------------------------------------------------------


ANSWERS = np.array([[0, 0, 1, -1], [0, 0, 1, 1], [-1, -1, -1, -1]], np.int32)  # a tie goes to the smallest


def _verification(each):
    return self_verification.Verification(self_verification.outvoted(each), each, None, None)


def test_a_majority_is_kept_where_the_judge_believes_more_than_half_of_its_supporters():
    verdicts = np.array([[YES, YES, NO, YES], [YES, NO, YES, YES], [YES] * 4])
    assert self_verification.kept_majority(ANSWERS, verdicts).tolist() == [0, -1, -1]
    given = helpers.reward_inputs(
        expression.REWARDS["coverrl"],
        answers=ANSWERS,
        verification=verdicts,
        lengths=np.ones(12, np.int32),
        group=4,
    )
    paid = np.asarray(expression.compute(expression.REWARDS["coverrl"], given))
    np.testing.assert_array_equal(paid, [[1, 1, 0, 0], [0] * 4, [0] * 4])


def test_a_lesson_pays_yes_to_the_majority_and_no_to_others_in_kept_groups_alone():
    each = np.array(
        [[YES, YES, NO], [YES, NO, YES], [YES, NO, AMBIGUOUS], [NO, NO, YES], *[[NO, YES, NO]] * 8]
    )
    paid, trained = self_verification.lessons(ANSWERS, _verification(each))
    np.testing.assert_array_equal(trained.all(axis=1), [True] * 4 + [False] * 8)
    np.testing.assert_array_equal(paid[:4], [[1, 1, 0], [1, 0, 1], [0, 1, 0], [1, 1, 0]])


def test_a_trained_judge_says_more_of_what_it_is_paid_for():
    """One lesson, repeated: the chance of the verdicts that are paid goes up, that of the others down."""
    c = config.load_experiment("experiments/countdown.py")
    c.data.prompts_per_step, c.rollout.group, c.eval.every, c.steps, c.optim.lr = 4, 2, 0, 2, 1e-3
    c.verify.votes, c.verify.train, c.verify.temperature, c.reward.name = 4, "majority", 1.0, "coverrl"
    run = opening.open_run(c)
    opening.require_inputs(expression.load_configured(c), run)
    teacher = judges.Teacher(run)
    state = run.engine.new_state(run.engine.place(run.base_params()))
    prompts = stream.take(run.questions, range(4))
    judge = judges.asked(run.engine, run.tokenizer, None, None)
    say = lambda state, step: self_verification.ask(judge(state.params), prompts, step, ["A1+2+3"] * 8)
    answers = np.array([[0, 0]] * 4, np.int32)  # all agree: yes is paid

    def believed(state):
        return np.mean([say(state, step).each == YES for step in range(5, 9)])

    before = believed(state)
    forced = say(state, 1)._replace(verdicts=np.full(8, YES, np.int32))  # the groups are kept
    assert 0 < (forced.each == YES).mean() < 1
    for _ in range(6):
        state, lesson = teacher.teach(state, answers, forced)
    assert lesson.kept == 1 and len(lesson.updates) == 1
    assert metrics.of_lesson(lesson)["verifier/grad_norm"] > 0
    assert believed(state) > before + 0.1
    kept_none = forced._replace(verdicts=np.full(8, NO, np.int32))
    same, lesson = teacher.teach(state, answers, kept_none)
    assert same is state and metrics.of_lesson(lesson) == {"verifier/kept": 0.0}


def test_verdicts_are_trained_only_where_there_are_any():
    c = config.load_experiment("experiments/countdown.py")
    c.verify.votes, c.verify.train, c.reward.name, c.mesh.data, c.eval.every = (
        2,
        "majority",
        "countdown",
        8,
        0,
    )
    with pytest.raises(ConfigError, match="verify.train = 'majority' trains verdicts, and no reward asks"):
        opening.require_inputs(expression.load_configured(c), opening.open_run(c))


@pytest.mark.parametrize(
    "keys, said",
    [
        ({"verify.votes": 1}, "verify.votes = 1: give 2 or more"),
        ({"verify.judge": "base"}, "verify.judge = 'base': set it to 'policy'"),
        ({"advantage.name": "none"}, "advantage with a baseline"),
        ({"verify.train": "gold"}, "verify.train = 'gold' is not possible"),
    ],
)
def test_a_lesson_that_cannot_be_given_is_refused(keys, said):
    c = config.load_experiment("experiments/countdown.py")
    c.update_from_flattened_dict({"verify.votes": 2, "verify.train": "majority", "mesh.data": 1} | keys)
    with pytest.raises(ConfigError, match=said):
        validation.validate(c, 1)


def test_a_judge_that_is_not_there_is_found_before_anything_compiles(tmp_path, monkeypatch):
    def compiles(*_, **__):
        raise AssertionError("a program was compiled")

    monkeypatch.setattr(Engine, "_compile", compiles)
    c = config.load_experiment("experiments/countdown.py")
    c.verify.judge, c.eval.every = "no/such/folder", 0
    with pytest.raises(ConfigError, match="verify.judge = 'no/such/folder'"):
        main.train(settled.here(c), tmp_path / "run")


def test_verdicts_are_taught_by_updates_alone():
    """No sampler of an evaluation or of a probe is compiled for them."""
    c = config.load_experiment("experiments/countdown.py")
    c.labels.probe, c.verify.votes = 8, 3
    second = config.of_verdicts(c)
    assert (second.eval.every, second.labels.probe, second.kl.coef, second.rollout.group) == (0, 0, 0, 3)
    assert (c.labels.probe, c.eval.every) == (8, 20)
