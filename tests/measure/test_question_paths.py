"""What a run did to its questions: made votes with known paths, flips and books."""

import json

import numpy as np
import pytest
from scipy.special import expit, logit

from urlvr_jax.measure import questions


def line(step, votes: dict[str, dict[str, int]], right=None, group=8):
    """A line of votes.jsonl: {question: {answer: votes}}, {question: whether the majority is right}."""
    out = {"step": step, "id": list(votes), "group": group, "votes": list(votes.values())}
    return out | ({"majority_right": [int(right[i]) for i in votes]} if right else {})


def run_of(folder, lines, **config):
    folder.mkdir(exist_ok=True)
    (folder / "votes.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    (folder / "config.json").write_text(json.dumps(config))
    return folder


TWICE = [
    line(1, {"a": {"x": 6, "y": 2}, "b": {"x": 4}, "c": {}}, {"a": True, "b": False, "c": False}),
    line(2, {"d": {"x": 8}}, {"d": True}),
    line(3, {"a": {"y": 5, "x": 3}, "b": {"z": 8}, "c": {"x": 8}}, {"a": False, "b": True, "c": True}),
]


def test_a_path_follows_the_first_visits_majority():
    found = questions.paths(TWICE)
    assert set(found) == {"a", "b"}, "c had no majority at first, d came once"
    assert found["a"].first.tolist() == [0.75, 0.375] and found["a"].majority.tolist() == [0.75, 0.625]
    assert found["b"].first.tolist() == [0.5, 0] and found["b"].right.tolist() == [False, True]


def test_a_question_that_comes_twice_in_a_step_is_visited_once():
    doubled = line(1, {"a": {"x": 6}}) | {"id": ["a", "a"], "votes": [{"x": 6}, {"y": 7}]}
    found = questions.paths([doubled, line(2, {"a": {"x": 8}})])
    assert found["a"].first.tolist() == [0.75, 1.0] and found["a"].right is None


def test_the_ledger_counts_what_came_again_by_a_step():
    found = list(questions.paths(TWICE).values())
    assert questions.book(found, 2) is None
    assert questions.book(found, 3) == {"kept": 0, "learned": 1, "corrupted": 1, "never": 0}
    assert list(questions.kinds(found)) == ["right to wrong", "wrong to right"]
    unlabelled = list(
        questions.paths([{**x, "majority_right": [None] * len(x["id"])} for x in TWICE]).values()
    )
    assert questions.book(unlabelled, 3) is None and questions.kinds(unlabelled) is None


def test_the_laws_rate_is_found_again():
    rng, rate, group = np.random.default_rng(0), 0.08, 64
    start = rng.uniform(0.2, 0.8, 24)
    lines = []
    for step in range(1, 40):
        share = expit(logit(start) + rate * (step - 1))
        counts = rng.binomial(group, share)
        votes = {f"q{i}": {"x": int(n), "y": group - int(n)} for i, n in enumerate(counts)}
        lines.append(line(step, votes, group=group))
    fit = questions.law(list(questions.paths(lines).values()))
    assert fit.low < rate < fit.high and fit.inverse_beta == pytest.approx(rate, abs=0.01)


def test_runs_without_second_visits_or_labels_are_told_apart(tmp_path):
    assert questions.draw(run_of(tmp_path / "once", TWICE[:2])) is None
    assert questions.draw(run_of(tmp_path / "none", [])) is None
    text, file = questions.draw(run_of(tmp_path / "twice", TWICE))
    assert text == "questions that came again: 2; kept 0, learned 1, corrupted 1, never 0"
    assert file.name == "questions.png" and file.read_bytes().startswith(b"\x89PNG")
    bare = [{k: v for k, v in x.items() if k != "majority_right"} for x in TWICE]
    text, _ = questions.draw(run_of(tmp_path / "bare", bare))
    assert text == "questions that came again: 2"


def test_shares_that_tell_nothing_give_no_law():
    still = [line(s, {"a": {"x": 8}, "b": {"x": 8}}) for s in range(1, 9)]
    fit = questions.law(list(questions.paths(still).values()))
    assert fit is None or fit.low < 0 < fit.high
    assert questions.law(list(questions.paths(TWICE).values())) is None
