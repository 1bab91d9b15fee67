"""Several processes of one run: the numbers of one process, one folder, one writer."""

import json
import os
import resource
import signal
import socket
import time

import numpy as np
import pyarrow.parquet
import pytest
from launcher import environment, tiny
from runs import metrics_of, without_clocks

from urlvr_jax.runtime import hosts, link


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def one_and_two(launcher, tmp_path_factory):
    """(a run of one process with two devices, the same run of two processes with one device each)."""
    folder = tmp_path_factory.mktemp("hosts")
    options = {
        "mesh.data": 1,
        "mesh.fsdp": 2,
        "steps": 4,
        "eval.every": 2,
        "kl.coef": 0.01,
        "optim.minibatch_prompts": 2,
    }
    flags = environment()["XLA_FLAGS"] + " --xla_force_host_platform_device_count=2"
    one = launcher.run(tiny(folder / "one", options), env={"XLA_FLAGS": flags})
    assert one.status == 0, one.err
    where = ["--coordinator", f"127.0.0.1:{free_port()}", "--processes", "2"]
    words = tiny(folder / "two", options) + where
    both = [launcher.start([*words, "--process_id", str(i)]) for i in (0, 1)]
    for call in both:
        assert call.wait().status == 0, call.err
    return folder / "one", folder / "two", both


def test_two_processes_give_the_metrics_of_one(one_and_two):
    one, two, _ = one_and_two
    lines = [without_clocks(metrics_of(run)) for run in (one, two)]
    assert [line["step"] for line in lines[1]] == [0, 1, 2, 3, 4]
    for a, b in zip(*lines, strict=True):
        assert a.keys() == b.keys()
        for name, value in a.items():
            np.testing.assert_allclose(b[name], value, rtol=1e-6, atol=1e-6, err_msg=name)
    assert (one / "evals.jsonl").read_bytes() == (two / "evals.jsonl").read_bytes()
    texts = [
        pyarrow.parquet.read_table(run / "completions" / "completions_00004.parquet") for run in (one, two)
    ]
    assert texts[0]["completion"].equals(texts[1]["completion"])  # the same tokens


def test_one_process_writes_and_the_other_says_nothing(one_and_two):
    _, two, (first, second) = one_and_two
    assert len(json.loads((two / "record.json").read_text())["attempts"]) == 1
    said = [
        [line for line in call.out.splitlines() if not line.startswith("[Gloo]")]
        for call in (first, second)
    ]
    assert any("held-out accuracy" in line for line in said[0]) and said[1] == []
    assert sorted(os.listdir(two)) == [
        "checkpoints", "completions", "config.json", "evals.jsonl", "lock", "metrics.jsonl",
        "record.json", "rise_and_fall.png", "votes.jsonl",
        "warnings.jsonl",
    ]  # fmt: skip


def test_two_processes_export_together_what_one_exports(launcher, one_and_two, tmp_path):
    _, run, _ = one_and_two
    words = ["export", "--model", str(run), "--out"]
    where = ["--coordinator", f"127.0.0.1:{free_port()}", "--processes", "2"]
    both = [launcher.start([*words, str(tmp_path / "two"), *where, "--process_id", str(i)]) for i in (0, 1)]
    for call in (*both, launcher.start([*words, str(tmp_path / "one")])):
        assert call.wait().status == 0, call.err
    assert f"{tmp_path / 'two'}: 24 tensors of step 4" in both[0].out
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] == weights[1]


def two(launcher, workdir, options: dict, other: dict | None = None) -> list:
    """Two processes of a run, the second with `other` options."""
    where = ["--coordinator", f"127.0.0.1:{free_port()}", "--processes", "2"]
    each = ({**options}, {**options, **(other or {})})
    return [
        launcher.start([*tiny(workdir, given), *where, "--process_id", str(i)])
        for i, given in enumerate(each)
    ]


@pytest.mark.parametrize("killed", [0, 1])
def test_when_one_process_is_killed_the_other_ends_at_once_and_names_it(launcher, tmp_path, killed):
    both = two(launcher, tmp_path, {"steps": 10_000, "mesh.data": 2, "eval.every": 0})
    metrics = tmp_path / "metrics.jsonl"
    both[0].wait_for(lambda: metrics.is_file() and metrics.read_text().count("\n") > 2)
    both[killed].kill(signal.SIGKILL)
    began = time.monotonic()
    other = both[1 - killed].wait()
    assert time.monotonic() - began < 10 and other.status == link.LOST
    assert f"process {killed} of 2 (pid {both[killed].pid} on " in other.err and "is gone" in other.err
    assert "Traceback" not in other.err


def test_a_signal_to_one_process_saves_and_ends_both(launcher, tmp_path):
    both = two(
        launcher, tmp_path, {"steps": 10_000, "mesh.data": 2, "eval.every": 0, "checkpoint.every": 0}
    )
    metrics = tmp_path / "metrics.jsonl"
    both[0].wait_for(lambda: metrics.is_file() and metrics.read_text().count("\n") > 2)
    both[1].kill(signal.SIGTERM)
    assert [call.wait().status for call in both] == [128 + signal.SIGTERM] * 2
    last = metrics_of(tmp_path)[-1]["step"]
    assert (tmp_path / "checkpoints" / str(last)).is_dir() and f"after step {last}" in both[0].out


def test_a_full_disk_of_one_process_costs_checkpoints_and_not_the_run(launcher, tmp_path):
    options = {"mesh.data": 1, "mesh.fsdp": 2, "eval.every": 0, "log.completions_every": 0, "steps": 4}
    both = two(launcher, tmp_path, options)
    resource.prlimit(both[1].pid, resource.RLIMIT_FSIZE, (40_000, 40_000))
    assert [call.wait().status for call in both] == [1, 1]
    for step in (2, 4):
        assert (
            f"checkpoint {step} could not be written: File too large, on process 1; latest" in both[0].err
        )
    assert [line["step"] for line in metrics_of(tmp_path)] == [1, 2, 3, 4]


def test_processes_with_different_configurations_do_not_begin(launcher, tmp_path):
    both = two(launcher, tmp_path / "run", {"mesh.data": 2}, {"optim.lr": 0.5})
    assert [call.wait().status for call in both] == [2, 2]
    for call in both:
        assert "--config.optim.lr: 3e-05 on " in call.err and ", 0.5 in process 1 on " in call.err
    assert not (tmp_path / "run").exists()


def test_with_one_process_nothing_is_asked_of_others():
    assert hosts.is_writer() and hosts.agree("runs/ünï") == "runs/ünï" and hosts.largest(15) == 15
