"""A run's folder: the name of its configuration, and which configuration may go on in it."""

import errno
import fcntl
import json
import os
import socket

import pytest

from urlvr_jax import config
from urlvr_jax.config import config_hash
from urlvr_jax.runtime.lines import read_lines
from urlvr_jax.runtime.workdir import Workdir, WorkdirError


def hashed(**changes) -> str:
    flat = config.flat(config.default())
    assert set(changes) <= set(flat)
    return config_hash(flat | changes)


def test_the_hash_is_of_what_is_computed_not_of_how():
    assert hashed(**{"mesh.data": 2, "rollout.slots": 8, "log.completions_rows": 1}) == hashed()
    assert hashed(**{"optim.lr": 2e-4}) != hashed()


def test_a_later_key_at_its_default_does_not_rename_a_configuration():
    flat = config.flat(config.default())
    before = {k: v for k, v in flat.items() if k not in config.marked("added")}
    assert len(before) < len(flat) and config_hash(before) == config_hash(flat)
    assert hashed(**{"verify.temperature": 0.7}) != hashed()


def test_a_folder_made_before_a_key_existed_goes_on_at_its_default_only(tmp_path):
    c = config.default()
    Workdir(tmp_path, c, {})
    file = tmp_path / "config.json"
    old = {k: v for k, v in json.loads(file.read_text()).items() if not k.startswith("verify.")}
    file.write_text(json.dumps(old))
    Workdir(tmp_path, c, {})
    file.write_text(json.dumps(old))
    c.verify.max_new_tokens = 9
    with pytest.raises(WorkdirError, match=r"verify\.max_new_tokens: 4 -> 9"):
        Workdir(tmp_path, c, {})


def open_workdir(path, **changes):
    c = config.default()
    c.update_from_flattened_dict(changes)
    return Workdir(path, c, {"parameters": 3})


def test_the_record_gets_one_entry_an_attempt(tmp_path):
    for _ in range(2):
        open_workdir(tmp_path)
    record = json.loads((tmp_path / "record.json").read_text())
    assert len(record["attempts"]) == 2
    for attempt in record["attempts"]:
        assert {"jax", "flax", "optax", "orbax-checkpoint", "transformers"} <= set(attempt["versions"])
        assert {"started", "git", "python", "devices", "mesh", "parameters"} <= set(attempt)


def test_a_torn_last_line_is_dropped_and_lines_past_the_restored_step_too(tmp_path):
    workdir = open_workdir(tmp_path)
    for step in range(6):
        workdir.metrics.write({"step": step, "x": 0.1 * step})
        workdir.evals.write({"step": step, "set": "heldout"})
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 6, "x": 0.6, "reward/me')
    assert [x["step"] for x in read_lines(tmp_path / "metrics.jsonl")] == [0, 1, 2, 3, 4, 5]
    before = (tmp_path / "metrics.jsonl").read_text().split("\n")
    del workdir
    workdir = open_workdir(tmp_path)
    workdir.truncate_after(4)
    workdir.metrics.write({"step": 5, "x": 7})
    after = (tmp_path / "metrics.jsonl").read_text().split("\n")
    assert after == [*before[:5], '{"step": 5, "x": 7}', ""]
    assert [x["step"] for x in read_lines(tmp_path / "evals.jsonl")] == [0, 1, 2, 3, 4]


def test_completions_past_the_restored_step_are_removed(tmp_path):
    workdir = open_workdir(tmp_path)
    for step in (2, 4, 123456):
        workdir.completions(step, {"prompt": ["Q"], "reward": [1.0]})
    (tmp_path / "completions" / "completions_00004.tmp").write_bytes(b"torn")
    workdir.truncate_after(2)
    assert [p.name for p in (tmp_path / "completions").glob("*.parquet")] == ["completions_00002.parquet"]


def test_a_resume_on_other_devices_says_so_and_goes_on(tmp_path, capsys):
    open_workdir(tmp_path, **{"mesh.data": 8})
    open_workdir(tmp_path, **{"mesh.data": 4})
    assert "another layout, equal but for rounding:\n  mesh.data: 8 -> 4" in capsys.readouterr().err
    with pytest.raises(WorkdirError, match="mesh.fsdp: 1 -> 2\n  optim.lr"):
        open_workdir(tmp_path, **{"mesh.data": 4, "mesh.fsdp": 2, "optim.lr": 0.5})


def test_a_resume_with_another_configuration_is_refused_with_the_difference(tmp_path):
    open_workdir(tmp_path)
    with pytest.raises(WorkdirError) as error:
        open_workdir(tmp_path, **{"optim.lr": 0.5, "seed": 3, "steps": 200})
    lines = str(error.value).splitlines()
    assert "  optim.lr: 0.0001 -> 0.5" in lines and "  seed: 0 -> 3" in lines
    assert not any("steps" in line for line in lines if "->" in line)
    assert str(tmp_path) in lines[0] and "--workdir" in lines[-1]
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 0, "the record stays"
    open_workdir(tmp_path)


def test_more_steps_are_accepted_and_recorded(tmp_path):
    open_workdir(tmp_path, steps=100)
    open_workdir(tmp_path, steps=150)
    assert json.loads((tmp_path / "config.json").read_text())["steps"] == 150


def test_fewer_steps_are_refused(tmp_path):
    open_workdir(tmp_path, steps=100)
    with pytest.raises(WorkdirError, match="steps: 100 -> 50"):
        open_workdir(tmp_path, steps=50)


@pytest.mark.parametrize("steps", [50, 200])
def test_other_steps_under_a_cosine_schedule_are_refused_once(tmp_path, steps):
    open_workdir(tmp_path, **{"optim.schedule": "cosine"})
    with pytest.raises(WorkdirError) as error:
        open_workdir(tmp_path, **{"optim.schedule": "cosine", "steps": steps})
    assert str(error.value).count(f"steps: 100 -> {steps}") == 1


def test_a_changed_tuple_is_a_difference_and_the_same_tuple_is_not(tmp_path):
    open_workdir(tmp_path, **{"data.prompt_buckets": (8, 16)})
    open_workdir(tmp_path, **{"data.prompt_buckets": (8, 16)})
    with pytest.raises(WorkdirError, match=r"data.prompt_buckets: \[8, 16\] -> \[8, 32\]"):
        open_workdir(tmp_path, **{"data.prompt_buckets": (8, 32)})


# ---- one run at a time ------------------------------------------------------------------------------


def test_a_second_run_in_the_folder_is_refused_and_told_who_holds_it(tmp_path):
    first = open_workdir(tmp_path)
    record = (tmp_path / "record.json").read_bytes()
    with pytest.raises(WorkdirError) as error:
        open_workdir(tmp_path)
    text = str(error.value)
    assert f"process {os.getpid()} on {socket.gethostname()}, since 20" in text and "--workdir" in text
    assert (tmp_path / "record.json").read_bytes() == record, "the refused run wrote nothing"
    del first
    open_workdir(tmp_path)


def test_a_holder_that_has_not_said_who_it_is_still_holds(tmp_path):
    first = open_workdir(tmp_path)
    os.truncate(tmp_path / "lock", 0)
    with pytest.raises(WorkdirError, match="another process"):
        open_workdir(tmp_path)
    del first


def test_a_file_system_without_locks_is_said_and_the_run_goes_on(tmp_path, monkeypatch, capsys):
    def none_here(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none_here)
    open_workdir(tmp_path)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {tmp_path}/lock: No locks available") and "second run" in line
