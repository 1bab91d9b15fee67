"""Runs that are stopped, killed, repeated, extended or refused."""

import json
import shutil
import signal

import pytest
from launcher import tiny
from runs import assert_same_run, metrics_of

# ---- going on --------------------------------------------------------------------------------------


def test_a_finished_run_has_nothing_left_to_do(finished, launcher):
    run, _ = finished
    before = [(run / n).read_bytes() for n in ("metrics.jsonl", "evals.jsonl", "config.json")]
    call = launcher.run(tiny(run))
    assert call.status == 0, call.err
    assert [(run / n).read_bytes() for n in ("metrics.jsonl", "evals.jsonl", "config.json")] == before
    assert len(json.loads((run / "record.json").read_text())["attempts"]) == 2


LONG = {"steps": 20, "eval.every": 10, "checkpoint.every": 7}


@pytest.fixture(scope="module")
def uninterrupted(launcher, tmp_path_factory):
    run = tmp_path_factory.mktemp("uninterrupted") / "run"
    call = launcher.run(tiny(run, LONG))
    assert call.status == 0, call.err
    return run


def test_an_interrupted_run_saves_and_goes_on_as_if_nothing_had_happened(launcher, uninterrupted, tmp_path):
    run, number = tmp_path / "run", signal.SIGTERM
    call = launcher.start(tiny(run, LONG))
    metrics = run / "metrics.jsonl"
    call.wait_for(lambda: metrics.is_file() and metrics.read_text().count("\n") >= 4)
    call.kill(number)
    assert call.wait().status == 128 + number, call.err
    stopped = metrics_of(run)[-1]["step"]
    assert 3 <= stopped < 20
    assert f"stopped by {number.name} after step {stopped}" in call.out
    assert (run / "checkpoints" / str(stopped)).is_dir()
    call = launcher.run(tiny(run, LONG))
    assert call.status == 0, call.err
    assert f"from step {stopped}" in call.out
    assert_same_run(run, uninterrupted)


def test_a_second_run_stops_before_it_writes_and_a_killed_holder_goes_on_from_its_last_checkpoint(
    launcher, uninterrupted, tmp_path
):
    run = tmp_path / "run"
    first = launcher.start(tiny(run, LONG))
    first.wait_for(lambda: (run / "checkpoints" / "7").is_dir())
    first.kill(signal.SIGSTOP)
    second = launcher.run(tiny(run, LONG))
    assert second.status == 2
    (line,) = second.err.splitlines()
    assert line.startswith(f"error: {run} is in use by another run: process {first.pid} on ")
    seen = launcher.run(["evaluate", "--model", str(run)])
    assert seen.status == 0, seen.err
    first.kill(signal.SIGKILL)
    assert first.wait().status == -signal.SIGKILL
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 99, "reward/me')
    call = launcher.run(tiny(run, LONG))
    assert call.status == 0, call.err
    assert_same_run(run, uninterrupted)
    assert len(json.loads((run / "record.json").read_text())["attempts"]) == 2


def test_the_same_configuration_and_seed_repeat_bit_for_bit_and_more_steps_extend(
    launcher, uninterrupted, tmp_path
):
    run = tmp_path / "run"
    call = launcher.run(tiny(run, LONG | {"steps": 10}))
    assert call.status == 0, call.err
    call = launcher.run(tiny(run, LONG))
    assert call.status == 0, call.err
    assert_same_run(run, uninterrupted)


def test_another_configuration_in_the_same_folder_is_refused(finished, launcher):
    call = launcher.run(tiny(finished[0], {"seed": 5}))
    assert call.status == 2
    assert "seed: 0 -> 5" in call.err and "Traceback" not in call.err
    call = launcher.run(tiny(finished[0], {"steps": 3}))
    assert call.status == 2 and "steps: 6 -> 3" in call.err
    assert metrics_of(finished[0])[-1]["step"] == 6


def test_a_run_of_unreadable_checkpoints_is_refused(finished, launcher, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    for file in (run / "checkpoints").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    before = (run / "metrics.jsonl").read_bytes()
    call = launcher.run(tiny(run, {"steps": 8}))
    assert call.status == 2
    assert call.err.splitlines()[-1].startswith("error: ") and "[6, 4" in call.err
    assert (run / "metrics.jsonl").read_bytes() == before
