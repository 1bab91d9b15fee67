"""A run's own watch: the same whether it was interrupted, blind to labels, and a stop where it is asked for."""

import types

import helpers
import numpy as np
import pytest

from urlvr_jax.measure.detectors import SIGNALS
from urlvr_jax.measure.warning import EarlyWarning
from urlvr_jax.runtime.lines import Lines


def folder(path, lines=()):
    """What EarlyWarning asks of a workdir, with these metric lines in it."""
    path.mkdir(exist_ok=True)
    metrics = Lines(path / "metrics.jsonl")
    for line in lines:
        metrics.write(line)
    return types.SimpleNamespace(path=path, votes=Lines(path / "votes.jsonl"))


def steps(count=60, cliff=40):
    """Label-free metrics of each step; responses get short at `cliff`."""
    rng = np.random.default_rng(0)
    for step in range(1, count + 1):
        line = {metric: float(rng.uniform(0.1, 0.12)) for metric in SIGNALS.values()}
        line["response_length/mean"] = float(rng.uniform(27, 28) if step < cliff else 10)
        line |= {"votes/turned": 0.02, "votes/kept": 0.95, "anchors/lost": 0.0}
        yield step, line


def test_an_alarm_is_told_once_with_reason_and_onset_and_stays(tmp_path):
    early = EarlyWarning(helpers.experiment(), folder(tmp_path / "run"))
    told = [early.see(step, line) for step, line in steps()]
    first = next(i for i, line in enumerate(told) if line["collapse/alarm"])
    assert 40 <= first + 1 <= 46
    assert told[first]["collapse/reason"] == "shorter" and 36 <= told[first]["collapse/onset"] <= 42
    assert all(line["collapse/onset"] == told[first]["collapse/onset"] for line in told[first:])
    assert "collapse/onset" not in told[first - 1]
    assert "shorter" in early.notices()["collapse"] and not early.stops


@pytest.mark.parametrize("cut", [1, 20, 41, 50])
def test_a_resumed_run_warns_as_an_uninterrupted_one(tmp_path, cut):
    c = helpers.experiment(collapse__stop=True)
    whole = EarlyWarning(c, folder(tmp_path / "whole"))
    told = [{"step": s, **line, **whole.see(s, line)} for s, line in steps()]
    resumed = EarlyWarning(c, folder(tmp_path / "resumed", told[:cut]))
    assert [{"step": s, **line, **resumed.see(s, line)} for s, line in list(steps())[cut:]] == told[cut:]
    assert resumed.stops and resumed.alarm == whole.alarm
    assert EarlyWarning(c, folder(tmp_path / "ended", told)).stops


def test_it_can_be_switched_off_and_sleeps_in_supervised_mode(tmp_path):
    for keys in ({"collapse__watch": False}, {"mode": "supervised"}):
        early = EarlyWarning(helpers.experiment(**keys), folder(tmp_path / "run"))
        assert [early.see(s, line) for s, line in steps()] == [{}] * 60
        assert early.alarm is None and not early.notices()


def test_labels_in_the_lines_of_a_folder_change_nothing(tmp_path):
    c = helpers.experiment()
    plain = [{"step": s, **line} for s, line in steps(30)]
    labelled = [
        line | {"train/ensemble/reward_accuracy": 0.0, "eval/heldout/avg@2": 0.0, "reward/mean": 9.0}
        for line in plain
    ]
    one, two = (
        EarlyWarning(c, folder(tmp_path / name, lines))
        for name, lines in (("plain", plain), ("labelled", labelled))
    )
    for step, line in list(steps())[30:]:
        assert one.see(step, line) == two.see(step, line)


def test_history_grows_past_what_was_set_aside(tmp_path):
    early = EarlyWarning(helpers.experiment(), folder(tmp_path / "run"))
    for step, line in steps(700, cliff=600):
        early.see(step, line)
    assert 600 <= early.alarm.step <= 606
