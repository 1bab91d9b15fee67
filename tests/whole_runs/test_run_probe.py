"""A run with a probe: measured at each evaluation, never trained on, and the end of a run that has fallen."""

import json

from launcher import tiny
from runs import lines_of, metrics_of

PROBE = {"probe/label_accuracy", "probe/fall", "probe/alarm", "probe/votes@inf/low", "eval/probe/avg@4"}


def test_a_probe_is_measured_and_ends_a_run_that_has_fallen(launcher, tmp_path):
    options = {
        "model.path": "lab:plain", "model.init": "pretrained", "optim.lr": 0.05, "rollout.group": 4, "steps": 12,
        "eval.every": 4, "labels.probe": 64, "labels.stop": True, "rollout.max_new_tokens": 28,
        "rollout.response_buckets": "(28,)", "log.completions_every": 0, "collapse.watch": False,
    }  # fmt: skip
    run = tiny(tmp_path / "run", options)
    call = launcher.run(run)
    assert call.status == 0, call.err
    lines = metrics_of(tmp_path / "run")
    evaluated = [line for line in lines if "probe/alarm" in line]
    assert all(set(line) >= PROBE for line in evaluated) and evaluated[0]["step"] == 0
    assert evaluated[0]["eval/probe/avg@4"] > 0.1 and evaluated[-1]["eval/probe/avg@4"] < 0.05
    assert [line["probe/alarm"] for line in evaluated] == [0.0] * (len(evaluated) - 1) + [1.0]
    assert lines[-1]["step"] == evaluated[-1]["step"] < 12, "the alarm ends the run"
    assert "warning" in call.err and "the probe's accuracy has fallen below that of step" in call.err
    assert len({line["perf/compilations"] for line in lines if "perf/compilations" in line}) == 1
    record = json.loads((tmp_path / "run" / "record.json").read_text())["attempts"][-1]
    assert record["questions"] == 2048 - 64 and record["test_time_training"] == {}
    asked = {line["set"]: len(line["correct"]) for line in lines_of(tmp_path / "run" / "evals.jsonl")}
    assert asked["probe"] == 64 and list(asked)[-1] == "probe"
    again = launcher.run(run)
    assert again.status == 0 and metrics_of(tmp_path / "run") == lines, "what has ended goes no further"
