"""What the tests of whole runs share: the names a run logs, how its files are read, and one finished run."""

import json
import subprocess
import sys

import pyarrow.parquet
import pytest
from kill_and_resume import final_state
from launcher import ROOT, environment, tiny

LABELLED = {f"train/ensemble/{x}" for x in ("label_accuracy", "reward_accuracy", "ground_truth_reward")}
VOTES = {"train/ensemble/majority_ratio", "train/ensemble/majority_voting_reward"}
ALWAYS = VOTES | {
    "step",
    "reward/mean",
    "reward/std",
    "frac_reward_zero_std",
    "actor/entropy",
    "actor/grad_norm",
    "actor/pg_clipfrac",
    "actor/idle_updates",
    "actor/skipped_updates",
    "response_length/mean",
    "response_length/max",
    "response_length/clip_ratio",
    "repetition_rate",
    "timing_s/rollout",
    "timing_s/score",
    "timing_s/reward",
    "timing_s/update",
    "timing_s/step",
    "perf/compilations",
    "perf/rollout_tokens",
    "perf/tokens_per_s",
    "perf/device_idle",
}
OF_UPDATES = {"actor/sampler_logp_diff", "perf/update_padding"}  # absent where all advantages are 0
EVALS = {f"eval/heldout/{m}@2{x}" for m in ("avg", "maj", "pass") for x in ("", "/low", "/high")}
QUICK = {"eval.every": 0, "log.completions_every": 0, "steps": 4}
CLOCKS = ("timing_s/", "perf/")


def refuse_constant(name):
    raise AssertionError(f"{name} is not JSON")


def lines_of(file):
    """Lines of a finished file: whole, and JSON in the strict sense."""
    text = file.read_text()
    assert text.endswith("\n") or not text
    return [json.loads(line, parse_constant=refuse_constant) for line in text.splitlines()]


def errors_of(call) -> list[str]:
    """Lines of standard error, but for what is said of answers that a model without training does not give."""
    return [line for line in call.err.splitlines() if not line.startswith("warning: answers.style")]


def metrics_of(run):
    return lines_of(run / "metrics.jsonl")


def without_clocks(lines):
    return [{k: v for k, v in line.items() if not k.startswith(CLOCKS)} for line in lines]


def assert_same_run(a, b):
    """Everything two runs have in common, bit for bit, clocks apart."""
    assert without_clocks(metrics_of(a)) == without_clocks(metrics_of(b))
    for name in ("evals.jsonl", "votes.jsonl"):
        assert (a / name).read_bytes() == (b / name).read_bytes(), name
    tables = [sorted((run / "completions").glob("*.parquet")) for run in (a, b)]
    assert [t.name for t in tables[0]] == [t.name for t in tables[1]]
    for x, y in zip(*tables, strict=True):
        assert pyarrow.parquet.read_table(x).equals(pyarrow.parquet.read_table(y))
    assert final_state(a) == final_state(b)


@pytest.fixture(scope="session", name="finished")
def finished_fixture(tmp_path_factory):
    """A run started the way a user starts one; (folder, standard output)."""
    run = tmp_path_factory.mktemp("finished") / "run"
    done = subprocess.run(
        [sys.executable, "-m", "urlvr_jax.main", *tiny(run)],
        cwd=ROOT, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return run, done.stdout
