"""Detectors of collapse on synthetic histories with known answers."""

import numpy as np
import pytest

from urlvr_jax.measure import detectors
from urlvr_jax.measure.detectors import DETECTORS, SIGNALS, alarm_of

STEPS = 300
# A healthy run: what each signal is about, and how it scatters from batch to batch.
HEALTHY = {
    "length": (27.0, 1.0),
    "repetition": (0.01, 0.005),
    "cut": (0.01, 0.01),
    "no_answer": (0.01, 0.01),
    "distinct": (0.73, 0.04),
    "turned": (0.05, 0.05),
    "kept": (0.95, 0.03),
    "anchors": (0.0, 0.08),
}
BY_NAME = {d.name: d for d in DETECTORS}


def noise(rng, steps=STEPS):
    return {name: np.clip(rng.normal(*HEALTHY.get(name, (0.5, 0.05)), steps), 0, None) for name in SIGNALS}


def alarms(history):
    return {d.name: a for d in DETECTORS if (a := alarm_of(d, history))}


def test_noise_alone_alarms_in_less_than_one_of_a_hundred_runs():
    found = [alarms(noise(np.random.default_rng(seed))) for seed in range(1000)]
    assert sum(map(bool, found)) <= 10, [f for f in found if f][:3]


CLIFFS = {  # detector: (signal, value after the cliff)
    "shorter": ("length", 11.0),
    "repetition": ("repetition", 0.5),
    "cut": ("cut", 0.6),
    "no_answer": ("no_answer", 0.5),
    "one_answer": ("distinct", 0.05),
    "turned": ("turned", 0.6),
    "drifted": ("kept", 0.2),
    "unlikely": ("anchors", 1.0),
}


@pytest.mark.parametrize("name", CLIFFS)
def test_a_cliff_is_known_within_ten_steps_and_its_onset_within_ten(name):
    signal, after = CLIFFS[name]
    history = noise(np.random.default_rng(1))
    history[signal][150:] = after
    found = alarms(history)
    assert name in found and 151 <= found[name].step <= 160, found
    assert 141 <= found[name].onset <= 155, found
    assert set(found) == {name}


@pytest.mark.parametrize("name", CLIFFS)
def test_a_slow_drift_is_known_before_it_is_half_done(name):
    signal, after = CLIFFS[name]
    history = noise(np.random.default_rng(2))
    start = HEALTHY[signal][0]
    history[signal][100:] += np.linspace(0, after - start, STEPS - 100)
    found = alarms(history)
    assert name in found and 100 < found[name].step <= 220, found
    assert found[name].onset <= found[name].step


def test_what_improves_is_no_alarm():
    """Longer answers, fewer cut ones, less repetition, more different answers: as a base gets better."""
    history = noise(np.random.default_rng(3))
    ramp = lambda a, b: np.concatenate([np.linspace(a, b, 30), np.full(STEPS - 30, b)])
    history |= {"length": ramp(17, 28), "cut": ramp(0.1, 0), "repetition": ramp(0.05, 0.01)}
    history |= {"no_answer": ramp(0.12, 0), "distinct": ramp(0.6, 0.75)}
    assert not alarms(history)


def test_an_alarm_does_not_depend_on_what_comes_after_it():
    history = noise(np.random.default_rng(4))
    history["length"][150:] = 11.0
    whole = alarm_of(BY_NAME["shorter"], history)
    for end in range(140, 170):
        cut = {name: values[:end] for name, values in history.items()}
        assert alarm_of(BY_NAME["shorter"], cut) == (whole if end >= whole.step else None)


def test_nan_and_short_histories_neither_alarm_nor_fail():
    rng = np.random.default_rng(5)
    for steps in (0, 1, 2, 10):
        assert not alarms(noise(rng, steps))
    assert not alarms({name: np.full(50, np.nan) for name in SIGNALS})
    history = noise(rng)
    for values in history.values():
        values[rng.random(STEPS) < 0.5] = np.nan
    assert not alarms(history)
    history["length"][150:] = 11.0
    assert 151 <= alarm_of(BY_NAME["shorter"], history).step <= 160
    assert not alarms({"entropy": np.ones(50)})  # a run that writes none of the signals


def test_no_detector_reads_a_label_or_the_reward():
    for metric in SIGNALS.values():
        assert not metric.startswith(("eval/", "reward", "shadow/"))
        assert metric not in ("train/ensemble/reward_accuracy", "train/ensemble/label_accuracy")
        assert "ground_truth" not in metric and "zero_std" not in metric
    assert {d.signal for d in DETECTORS} <= set(SIGNALS)


def test_a_history_is_read_from_metric_lines_with_gaps():
    lines = [
        {"step": 0},
        {"step": 1, "response_length/mean": 9.0},
        {"step": 4, "response_length/mean": 7.0},
    ]
    history = detectors.history_of(lines)
    assert set(history) == set(SIGNALS)
    assert history["length"].tolist()[0] == 9 and history["length"].tolist()[3] == 7
    assert np.isnan(history["length"][1:3]).all() and np.isnan(history["cut"]).all()


def test_the_collapse_step_is_estimated_where_one_answer_serves_many_questions_or_first_answers_are_gone():
    never = lambda steps: {"commonest": np.full(steps, 0.2), "kept": np.full(steps, 0.95)}
    one = never(100) | {
        "commonest": np.concatenate([np.full(40, 0.1), np.linspace(0.1, 1, 10), np.ones(50)])
    }
    assert 45 <= detectors.collapse_estimate(one) <= 50
    gone = never(100) | {"kept": np.concatenate([np.full(20, np.nan), np.full(40, 0.9), np.zeros(40)])}
    assert 61 <= detectors.collapse_estimate(gone) <= 65
    for steps in (0, 1, 60):
        assert detectors.collapse_estimate(never(steps)) is None
    assert detectors.collapse_estimate({name: np.full(60, np.nan) for name in SIGNALS}) is None
