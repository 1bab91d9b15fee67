"""Flips and the ledger, on cases made by hand."""

import numpy as np
import pytest

from urlvr_jax.measure import ledger
from urlvr_jax.measure.ledger import Visit

WAS = np.array([True, False, True, False, True, False, True, False])
NOW = np.array([False, True, True, False, True, False, True, False])
BEFORE = np.array([0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 1.0, 0.0])
AFTER = np.array([0.9, 0.2, 0.6, 0.6, 0.5, 0.4, 1.0, 0.0])


def test_each_question_is_of_one_kind():
    want = [
        "right to wrong",
        "wrong to right",
        "amplified right",
        "amplified wrong",
        "held right",
        "held wrong",
        "held right",
        "held wrong",
    ]
    found = ledger.flips(Visit(WAS, BEFORE), Visit(NOW, AFTER))
    assert found.tolist() == want
    back = ledger.flips(Visit(NOW, AFTER), Visit(WAS, BEFORE)).tolist()
    assert back[:4] == ["wrong to right", "right to wrong", "held right", "held wrong"]
    assert back[4:6] == ["held right", "amplified wrong"]
    assert set(want) == set(ledger.KINDS)


def test_the_ledger_counts_every_question_once():
    first = np.array([True, True, True, False, False, True, False, True])
    last = np.array([True, True, False, True, False, False, False, False])
    assert ledger.ledger(first, last) == {"kept": 2, "learned": 1, "corrupted": 3, "never": 2}
    assert ledger.ledger(last, first) == {"kept": 2, "learned": 3, "corrupted": 1, "never": 2}
    none = np.zeros(0, bool)
    assert ledger.ledger(none, none) == {"kept": 0, "learned": 0, "corrupted": 0, "never": 0}


@pytest.mark.parametrize("last", [np.array([1, 0]), np.array([0.5, 1.0]), np.array([True])])
def test_what_is_not_right_or_wrong_of_the_same_questions_is_refused(last):
    with pytest.raises(ValueError, match="right or wrong is bool"):
        ledger.ledger(np.array([True, False]), last)


@pytest.mark.parametrize("share", [[0.5, np.nan], [0.5, 8.0], [0.5]])
def test_a_share_that_is_none_is_refused(share):
    right = np.array([True, False])
    with pytest.raises(ValueError, match="the last visit needs a share between 0 and 1"):
        ledger.flips(Visit(right, np.array([0.5, 0.5])), Visit(right, np.array(share)))
