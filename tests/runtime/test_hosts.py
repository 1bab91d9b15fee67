"""Several processes of one run: the numbers of one process, one folder, one writer."""

import json
import os
import socket

import numpy as np
import pyarrow.parquet
import pytest
from launcher import environment, tiny
from runs import metrics_of, without_clocks

from urlvr_jax.runtime import hosts


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def one_and_two(launcher, tmp_path_factory):
    """(a run of one process with two devices, the same run of two processes with one device each)."""
    folder = tmp_path_factory.mktemp("hosts")
    options = {"mesh.data": 2, "steps": 4, "eval.every": 2, "kl.coef": 0.01, "optim.minibatch_prompts": 2}
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
    ]  # fmt: skip


def test_with_one_process_nothing_is_asked_of_others():
    assert hosts.is_writer() and hosts.agree("runs/ünï") == "runs/ünï" and hosts.largest(15) == 15
