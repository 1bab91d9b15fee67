"""How early detectors warn: falls, leads and kept checkpoints of made runs, the fit, and that each half keeps to itself."""

import numpy as np
import pytest

from urlvr_jax import config
from urlvr_jax.findings import detecting, store
from urlvr_jax.findings.detecting import Course, fitted, half_lost, judge
from urlvr_jax.measure.detectors import DETECTORS, SIGNALS, Alarm

STEPS = tuple(range(0, 101, 10))
QUIET = {"length": 27.0, "distinct": 0.7, "kept": 0.95, "anchors": 0.0}


def course(fall=None, sign=None, seed=0, height=1.0, **more):
    """A run of 100 steps: accuracy .6 -> .9, and .2 from step `fall` on; `shorter` scores `height` from step `sign` on."""
    history = {name: np.full(100, QUIET.get(name, 0.0)) for name in SIGNALS}
    if sign:
        history["length"][sign - 1 :] *= 1 - height
    accuracy = np.array([0.6 if s == 0 else 0.2 if fall and s >= fall else 0.9 for s in STEPS])
    of = {"reward": "majority_voting", "base": "lab:plain", "small": False, "trained": None}
    return Course(seed=seed, history=history, steps=STEPS, accuracy=accuracy, **(of | more))


@pytest.mark.parametrize(
    "accuracy, expected",
    [
        ([0.6, 0.9, 0.9, 0.9], None),
        ([0.6, 0.9, 0.7, 0.9], 17.5),  # half of the gain is lost at 0.75: on the way from 0.9 to 0.7
        ([0.6, 0.9, 0.75, 0.1], 20.0),
        ([0.6, 0.62, 0.45, 0.4], 17.0588),  # no gain to speak of: 0.10 below the base
        ([0.6, 0.55, 0.51, 0.55], None),
        ([0.6, 0.2, 0.2, 0.2], 2.5),
    ],
)
def test_half_of_the_gain_is_lost_at_a_step(accuracy, expected):
    found = half_lost((0, 10, 20, 30), np.array(accuracy))
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-3))


def test_a_loss_between_evaluations_is_placed_by_the_training_rollouts():
    accuracy = np.array([0.6, 0.9, 0.1, 0.1])
    cliff = np.where(np.arange(1, 31) < 18, 0.8, 0.0)  # from step 18 on all is lost
    assert half_lost((0, 10, 20, 30), accuracy) == pytest.approx(11.875)
    assert 18 <= half_lost((0, 10, 20, 30), accuracy, cliff) <= 19
    assert half_lost((0, 10, 20, 30), accuracy, np.full(30, 0.8)) == pytest.approx(11.875), (
        "they say nothing"
    )


def test_leads_false_alarms_and_kept_checkpoints_are_counted():
    warned, late, silent = course(60, 40, height=0.5), course(60, 80, height=0.5), course(60)
    stays, false = course(), course(sign=50, height=0.5)
    found = judge([warned, late, silent, stays, false])
    assert (found.runs, found.fell, found.stayed, found.false) == (5, 3, 2, 1)
    assert found.before == 1 and found.leads[0] < 0 < found.leads[1]
    assert found.leads[1] == pytest.approx(50 + 0.15 / 0.7 * 10 - 42)
    # Those that fell or alarmed: the warned one and the false alarm keep a checkpoint at 0.9; the late one keeps a fallen one.
    assert (found.kept, found.ended) == (2, 4)


def test_the_kept_checkpoint_is_the_last_before_the_onset():
    fallen = course(60)
    of = lambda onset: detecting.kept_accuracy(fallen, Alarm(onset + 3, onset, "shorter"))
    assert of(61) == 0.2 and of(60) == 0.9 and of(11) == 0.9 and of(10) == 0.6 and of(1) == 0.6
    assert detecting.kept_accuracy(fallen, None) == 0.2


def test_thresholds_are_fitted_to_warn_early_without_a_false_alarm_at_a_margin():
    # Falls announced by responses a seventh shorter; healthy runs lose a twenty-fifth.
    falls = [course(60, 30, height=0.15, seed=i) for i in range(4)]
    stay = [course(sign=40, height=0.04, seed=i) for i in range(4)]
    assert judge(falls).before == 0, "0.20 by eye is too high for them"
    using = fitted(falls + stay)
    new = {d.name: d.threshold for d in using}["shorter"]
    assert 0.04 * detecting.MARGIN < new < 0.15
    found = judge(falls + stay, using)
    assert found.before == 4 and found.false == 0
    noisy = [course(sign=40, height=0.13, seed=i) for i in range(4)]
    assert judge(noisy, fitted(falls + noisy)).false == 0, "no warning is worth a false alarm"


def test_a_detector_that_gains_nothing_stays_as_it_was_set():
    found = {d.name: d.threshold for d in fitted([course(60, 30, height=0.5), course()])}
    assert found["cut"] == next(d.threshold for d in DETECTORS if d.name == "cut")


@pytest.mark.parametrize(
    "keys, expected",
    [
        ({}, None),
        ({"data.subset": 32}, 32),
        ({"data.subset": 2048}, None),
        ({"data.train": "lab:firmly_wrong"}, 16),
        ({"data.train": "lab:heldout[0:40]"}, 40),
    ],
)
def test_how_many_questions_a_run_trains_on_is_read_from_its_configuration(keys, expected):
    c = config.default()
    c.update_from_flattened_dict(keys)
    assert detecting.questions_of(c) == expected


def test_a_run_without_a_signal_says_nothing_of_it():
    found = detecting.history_of({"length": [27, None, 26]}, 3)
    assert found["length"].tolist()[::2] == [27, 26] and np.isnan(found["length"][1])
    assert all(
        np.isnan(found[name]).all() and len(found[name]) == 3 for name in ("anchors", "kept", "flips")
    )


def test_small_sets_are_a_kind_of_their_own():
    found = detecting.kinds([course(), course(small=True), course(reward="probability")])
    assert list(found) == ["majority_voting", "probability", "small sets"]


def test_the_page_of_detectors_is_what_the_runs_on_file_say():
    page = (store.folder() / "detectors.md").read_text()
    assert page == detecting.page(store.on_file())
