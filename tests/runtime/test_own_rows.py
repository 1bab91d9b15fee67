"""Each process reads and grades its own questions: put together they are what one process makes of all."""

import contextlib

import numpy as np
import pytest

from urlvr_jax import config
from urlvr_jax.checks import grading
from urlvr_jax.checks.grading import Asked, Graded
from urlvr_jax.checks.table import CHECKS
from urlvr_jax.runtime import hosts, own_rows

TEXTS = ["=12", "=12", "=7", "no answer", "=7.0", "=3", "", "=3", "=99", "=12"]
ASKED = Asked(tuple("abcde"), tuple("abcde"), ["12", "7", "7", "3", "12"])


class Words:
    def decode(self, rows):
        return list(rows)


class NotYet(Exception):
    """Others have not given their part."""


class Elsewhere:
    """`hosts.each` of several processes, one after another: the last is given all parts."""

    def __init__(self, count, monkeypatch):
        self.count, self.given, self.turn = count, {}, 0
        monkeypatch.setattr(hosts, "alone", lambda: False)
        monkeypatch.setattr(hosts, "share", self.share)
        monkeypatch.setattr(hosts, "each", self.each)

    def share(self, size):
        return slice(self.turn * size // self.count, (self.turn + 1) * size // self.count)

    def each(self, work, gather=None):
        self.given[self.turn] = work()
        if self.turn < self.count - 1:
            raise NotYet
        return list(self.given.values())

    def last(self, work):
        """What the last process gets."""
        self.given = {}
        for turn in range(self.count):
            self.turn = turn
            with contextlib.suppress(NotYet):
                got = work()
        return got


def as_one(answers):
    return (
        answers.texts,
        answers.found,
        answers.keys,
        answers.names,
        answers.classes.tolist(),
        answers.majority.tolist(),
    )


@pytest.mark.parametrize("count", [2, 3, 5, 7])
def test_answers_and_grades_of_several_processes_are_those_of_one(count, monkeypatch):
    c = config.default()
    check = CHECKS["gold"]
    whole = own_rows.read(c, Words(), TEXTS, 2, check)
    right = check.grade(whole, ASKED)
    several = Elsewhere(count, monkeypatch)
    answers = several.last(lambda: own_rows.read(c, Words(), TEXTS, 2, check))
    assert as_one(answers) == as_one(whole)
    graded = several.last(lambda: own_rows.begin(check, whole, ASKED)())
    np.testing.assert_array_equal(graded.correct, right.correct)
    np.testing.assert_array_equal(graded.scores, right.scores)


def test_shares_are_in_order_and_leave_nothing_out(monkeypatch):
    for count in (1, 2, 3, 8):
        monkeypatch.setattr(hosts.jax, "process_count", lambda count=count: count)
        for size in (0, 1, 5, 8, 64):
            done = []
            for i in range(count):
                monkeypatch.setattr(hosts.jax, "process_index", lambda i=i: i)
                done += range(size)[hosts.share(size)]
            assert done == list(range(size))


def test_a_part_without_a_verdict_counts_as_wrong_and_all_without_one_as_unknown():
    known = Graded(
        np.ones((1, 2), bool), np.full((1, 2), 0.75, np.float32), {"late": 1, "none": 0}, error="boom"
    )
    silent = Graded(None, None, {"late": 2, "none": 3}, "none of 4 was judged", "late")
    nothing = (Graded(None, None), (0, 2))
    both = grading.joined([(silent, (2, 2)), nothing, (known, (1, 2))])
    assert both.correct.tolist() == [[False, False], [False, False], [True, True]]
    assert both.scores.tolist() == [[0, 0], [0, 0], [0.75, 0.75]]
    assert both.ungraded == {"late": 3, "none": 3} and both.error == "late" and not both.why
    none = grading.joined([(silent, (2, 2)), nothing, (silent, (2, 2))])
    assert none.correct is None and none.why and none.ungraded == {"late": 4, "none": 6}
