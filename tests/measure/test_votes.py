"""Votes of a step and from visit to visit, told without labels."""

import numpy as np

from urlvr_jax.answers.classes import read_answers
from urlvr_jax.measure import collapse, metrics, votes


def line_of(step, *texts, ids=None, group=4, correct=None):
    """A line of groups, each written as a string of one-digit answers, '.' for none."""
    rows = [f"A{t}" if t != "." else "?" for text in texts for t in text]
    answers = read_answers(rows, group, "lab")
    ids = ids or tuple(f"q{i}" for i in range(len(texts)))
    return votes.line(step, ids, answers, correct), answers


def test_a_line_has_the_majority_first_and_counts_of_every_answer():
    line, _ = line_of(3, "1121", "5...", "....")
    assert line["step"] == 3 and line["group"] == 4 and line["id"] == ["q0", "q1", "q2"]
    assert [list(v.values()) for v in line["votes"]] == [[3, 1], [1], []]
    again, _ = line_of(9, "2111", "5555", "1111")
    assert votes.majority_of(line["votes"][0]) == votes.majority_of(again["votes"][0])
    assert votes.majority_of(line["votes"][0]) == votes.majority_of(again["votes"][2])
    assert votes.majority_of(line["votes"][2]) is None
    assert "right" not in line


def test_the_majority_of_a_line_is_the_votes_own_also_where_answers_are_tied():
    for text in ("1122", "3344", "12..", "9871"):
        line, answers = line_of(1, text)
        first = next(key for key, i in answers.names[0].items() if i == answers.majority[0])
        again, _ = line_of(2, first * 4)
        assert votes.majority_of(line["votes"][0]) == votes.majority_of(again["votes"][0])


def test_labels_are_counted_apart():
    correct = np.array([[True, True, False, True], [False, False, False, False]])
    line, _ = line_of(1, "1121", "5555", correct=correct)
    assert line["right"] == [3, 0] and line["majority_right"] == [1, 0]


def test_halves_agree_where_even_and_odd_rollouts_have_one_majority():
    of = lambda *texts: votes.of_step(line_of(1, *texts)[1].classes)
    assert of("1111")["votes/halves_agree"] == 1
    assert of("1212")["votes/halves_agree"] == 0
    assert of("1111", "1212", "....", "....")["votes/halves_agree"] == 0.25
    assert of("1111", "1234")["votes/answers"] == (1 / 4 + 1) / 2
    assert "votes/answers" not in of("....")


def test_one_answer_for_all_questions_is_seen_and_a_question_that_comes_twice_counts_once():
    of = lambda *texts, **keys: votes.across_questions(line_of(1, *texts, **keys)[0])
    assert of("1111", "1112", "2221", "....") == {"votes/distinct": 2 / 3, "votes/commonest": 2 / 3}
    assert of("1111", "1111", "2222", ids=("a", "a", "b")) == {"votes/distinct": 1, "votes/commonest": 0.5}
    assert of("....") == of("1111", "....") == {}  # of one question nothing can be said


def test_flips_are_told_from_the_second_visit_on():
    between = votes.Between()
    assert between.see(line_of(1, "1111", "2222")[0]) == {}
    assert between.see(line_of(2, "1112", "3333")[0])["votes/flips"] == 0.5
    assert between.see(line_of(3, "1111", ids=("new",))[0]) == {}


def test_turned_compares_sure_answers_with_those_of_twenty_steps_ago():
    between = votes.Between()
    between.see(line_of(1, "1111", "1122", "3333")[0])
    assert "votes/turned" not in between.see(line_of(20, "2222", "3333", "3333")[0])
    found = between.see(line_of(21, "2222", "1111", "3331")[0])
    assert found["votes/turned"] in (1 / 3, 2 / 3)  # the tied second question is 2 of 4: sure enough
    between = votes.Between()
    between.see(line_of(1, "1234", "3333")[0])  # nobody was sure of the first
    assert between.see(line_of(40, "5555", "3333")[0])["votes/turned"] == 0


def test_kept_is_reward_accuracy_against_the_first_sure_answers():
    between = votes.Between()
    between.see(line_of(1, "1111", "2222", "3333", "1234", "5555")[0])  # nobody was sure of the fourth
    assert "votes/kept" not in between.see(line_of(20, "2222", "2222", "3333", "1111", "5555")[0])
    # Whole again, lost to one answer, lost to 3 of 4 while one stays, silent.
    found = between.see(line_of(40, "1111", "3333", "4443", "9999", "....")[0])
    assert found["votes/kept"] == (1 + 0 + 0 + 0) / 4
    # A rollout of neither answer earns nothing from either vote: they agree on it.
    found = between.see(line_of(60, "9987", "2222", "3333", "1111", "5555")[0])
    assert found["votes/kept"] == (0.5 + 1 + 1 + 1) / 4


def test_kept_is_the_votes_reward_accuracy_where_the_first_answers_were_right():
    rng = np.random.default_rng(0)
    for _ in range(50):
        text = "".join(rng.choice(list("1234."), 8, p=[0.3, 0.3, 0.1, 0.1, 0.2]))
        between = votes.Between()
        between.see(line_of(1, "11111111", group=8)[0])
        line, answers = line_of(30, text, group=8)
        correct = np.array([[t == "1" for t in text]])
        labelled = metrics.of_votes_against_labels(answers.classes, answers.majority, correct)
        assert between.see(line)["votes/kept"] == labelled[collapse.VOTES]


def test_locked_is_a_question_that_flipped_and_then_stayed():
    between = votes.Between()
    found = [between.see(line_of(s, "1111" if s > 1 else "2222", "4444")[0]) for s in range(1, 8)]
    assert [f.get("votes/locked") for f in found] == [None, 0, 0, 0, 0.5, 0.5, 0.5]


def test_what_is_known_of_visits_does_not_depend_on_where_a_run_was_interrupted():
    rng = np.random.default_rng(0)
    lines = [line_of(s, *("".join(rng.choice(list("1234"), 4)) for _ in range(3)))[0] for s in range(1, 60)]
    whole, out = votes.Between(), []
    for line in lines:
        out.append(whole.see(line))
    for cut in (1, 17, 40):
        resumed = votes.Between(lines[:cut])
        assert [resumed.see(line) for line in lines[cut:]] == out[cut:]
    assert max(len(v.past) for v in whole.questions.values()) <= votes.LAG + 2
