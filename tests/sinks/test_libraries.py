"""What each library has of a run that was killed and resumed, read back by its own readers. Needs the packages."""

import importlib.util
import json
import signal

import numpy as np
import pyarrow.parquet
import pytest
import reading
from launcher import tiny

from urlvr_jax.runtime.lines import read_lines
from urlvr_jax.sinks.table import SINKS

HERE = [name for name in SINKS if importlib.util.find_spec(name)]
OPTIONS = {"steps": 24, "checkpoint.every": 7, "log.sinks": ",".join(HERE)}
CLOCKS = ("timing_s/", "perf/")  # of steps that were made twice: the first was told


@pytest.fixture(scope="module")
def resumed(launcher, tmp_path_factory):
    """(A run that was killed after step 4 or later and went on to its end, its standard error)."""
    if not HERE:
        pytest.skip(
            f"none of {sorted(SINKS)} is installed: pip install 'urlvr_jax[tensorboard,wandb,trackio]'"
        )
    folder = tmp_path_factory.mktemp("sinks")
    run, metrics = folder / "run", folder / "run" / "metrics.jsonl"
    env = {"WANDB_MODE": "offline", "TRACKIO_DIR": str(folder / "trackio"), "WANDB_SILENT": "true"}
    call = launcher.start(tiny(run, OPTIONS), env=env)
    call.wait_for(lambda: metrics.is_file() and metrics.read_text().count("\n") > 4)
    call.kill(signal.SIGKILL)
    assert call.wait().status == -signal.SIGKILL
    reached = read_lines(metrics)[-1]["step"]
    assert 4 <= reached < 24
    call = launcher.run(tiny(run, OPTIONS), env=env)
    assert call.status == 0, call.err
    assert f"from step {reached // 7 * 7}" in call.out
    return run, call.err


def require(name, run):
    if name not in HERE:
        pytest.skip(f"{name} is not installed: pip install 'urlvr_jax[{name}]'")
    return run / "sinks" / name


def wanted(run):
    """{metric: [(step, value)]} of metrics.jsonl."""
    curves = {}
    for line in read_lines(run / "metrics.jsonl"):
        for key in set(line) - {"step"}:
            curves.setdefault(key, []).append((line["step"], line[key]))
    return curves


def assert_told(curves, run, numbers_only=False):
    """Every metric is there, at each of its steps once and in order, equal to float32."""
    for key, points in wanted(run).items():
        if numbers_only and isinstance(points[0][1], str):
            continue
        assert [step for step, _ in curves[key]] == [step for step, _ in points], key
        if not key.startswith(CLOCKS) and not isinstance(points[0][1], str):
            told = np.float32([value for _, value in curves[key]])
            assert (told == np.float32([value for _, value in points])).all(), key


def warnings(run):
    return [line["text"] for line in read_lines(run / "warnings.jsonl")]


def tables(run):
    return [int(file.stem.split("_")[1]) for file in sorted((run / "completions").glob("*.parquet"))]


def test_no_sink_has_said_anything(resumed):
    assert "log.sinks" not in resumed[1]


def test_tensorboard_has_every_step_once(resumed):
    run, _ = resumed
    curves, texts, images = reading.of_tensorboard(require("tensorboard", run))
    assert_told(curves, run, numbers_only=True)
    assert [step for step, _ in texts["completions"]] == tables(run)
    first = pyarrow.parquet.read_table(run / "completions" / "completions_00002.parquet")
    assert texts["completions"][0][1].count("\n") == 1 + min(8, len(first))
    assert len(texts["warnings"]) == len({text for _, text in texts["warnings"]}) >= len(warnings(run)) > 0
    assert images["figures/rise_and_fall"] == [(24, (run / "rise_and_fall.png").read_bytes())]
    assert json.loads(texts["config"][0][1])["steps"] == 24


def test_wandb_has_every_step_once_in_one_curve(resumed):
    run, _ = resumed
    own = require("wandb", run)
    ids, curves, alerts = reading.of_wandb(own)
    assert len(ids) == 1 and len(list(own.glob("offline-run-*"))) == 2
    assert_told(curves, run)
    assert [step for step, _ in curves["completions/_type"]] == tables(run)
    assert len(alerts) == len(set(alerts)) >= len(warnings(run)) > 0
    assert curves["figures/rise_and_fall/_type"] == [(24, "image-file")]
    assert [step for step, _ in curves["_step"]] == list(range(25))


def test_trackio_has_every_step_once_in_one_curve(resumed, monkeypatch):
    run, _ = resumed
    own = require("trackio", run)
    monkeypatch.setattr("trackio.sqlite_storage.TRACKIO_DIR", run.parent / "trackio")
    curves, alerts = reading.of_trackio(own)
    assert_told(curves, run)
    assert [step for step, _ in curves["completions"]] == tables(run)
    assert len(curves["completions"][0][1]["_value"]) == 8
    assert len(alerts) == len(set(alerts)) >= len(warnings(run)) > 0
    assert [step for step, _ in curves["figures/rise_and_fall"]] == [24]
