"""Whole runs from the command line, at a size that takes a second or two: what they write and log."""

import json

import numpy as np
import pyarrow.parquet
import pytest
from launcher import ROOT, tiny
from runs import ALWAYS, EVALS, LABELLED, OF_UPDATES, QUICK, lines_of, metrics_of

COUNTDOWN = {
    "model.path": "lab:untrained_countdown", "model.init": "random", "data.train": "lab:countdown_train",
    "answers.style": "lab_expression", "answers.check": "countdown",
}  # fmt: skip
EVERY_KIND = (
    "probability_disparity", "majority_voting", "self_verify", "co_reward", "countdown", "ground_truth", "random",
    "group_z(trajectory_level_entropy) + 0.1*format",
)  # fmt: skip
BESIDE = {"co_reward": {"data.rephrase": "lab"}, "countdown": COUNTDOWN}  # what a reward asks for


# ---- what a run leaves behind ----------------------------------------------------------------------


def test_a_run_writes_its_files(finished):
    run, _ = finished
    names = {p.name for p in run.iterdir()}
    assert {"config.json", "record.json", "metrics.jsonl", "evals.jsonl", "completions"} <= names
    assert {"checkpoints", "rise_and_fall.png"} <= names
    assert (run / "rise_and_fall.png").read_bytes().startswith(b"\x89PNG")
    assert not list(run.rglob("*.tmp*"))


def test_the_record_has_versions_git_and_devices(finished):
    run, _ = finished
    config = json.loads((run / "config.json").read_text())
    assert config["rollout.response_buckets"] == [8] and config["model.path"] == "lab:untrained"
    (attempt,) = json.loads((run / "record.json").read_text())["attempts"]
    assert attempt["versions"]["jax"] and len(attempt["devices"]) == 1
    assert attempt["parameters"] > 1000 and attempt["questions"] == 2048
    if (ROOT / ".git").is_dir():
        assert len(attempt["git"]["commit"]) == 40


def test_metric_lines_have_every_step_and_every_name(finished):
    lines = metrics_of(finished[0])
    assert [x["step"] for x in lines] == list(range(7))
    for line in lines[1:]:
        assert set(line) >= ALWAYS | LABELLED
    for line in lines:
        assert (set(line) >= EVALS) == (line["step"] % 3 == 0)
        for name in EVALS & set(line):
            low, high = (
                line[name.removesuffix("/low").removesuffix("/high") + x] for x in ("/low", "/high")
            )
            assert 0 <= low <= high <= 1


def test_evaluations_are_kept_question_by_question(finished):
    evals = lines_of(finished[0] / "evals.jsonl")
    assert [(e["step"], e["set"], e["k"], len(e["correct"])) for e in evals] == [
        (s, "heldout", 2, 8) for s in (0, 3, 6)
    ]


def test_completions_are_tables_of_what_was_sampled(finished):
    tables = sorted((finished[0] / "completions").iterdir())
    assert [t.name for t in tables] == [f"completions_{s:05d}.parquet" for s in (2, 4, 6)]
    table = pyarrow.parquet.read_table(tables[0]).to_pydict()
    assert {"prompt", "completion", "answer", "gold", "reward", "length", "ended"} <= set(table)
    assert len(table["prompt"]) == 8 and set(table["step"]) == {2}
    assert table["prompt"][0] == table["prompt"][1] != table["prompt"][2]
    line = metrics_of(finished[0])[2]
    assert np.mean(table["reward"]) == pytest.approx(line["reward/mean"], rel=1e-5)
    assert np.mean(table["length"]) == line["response_length/mean"]


def test_the_last_step_is_saved_and_older_ones_are_dropped(finished):
    steps = {p.name for p in (finished[0] / "checkpoints").iterdir()}
    assert {"4", "6"} <= steps and len(steps) <= 3


def test_the_output_says_what_happened(finished):
    run, out = finished
    for text in ("step 6/6", "held-out accuracy", "rise  peak - base", str(run), "Model Collapse Step"):
        assert text in out
    steps = [line for line in out.splitlines() if line.startswith("step") and "s/step" in line]
    assert steps and max(map(len, steps)) < 160
    for column in ("truth", "votes right", "no answer", "cut", "equal groups"):
        assert f"  {column} " in steps[-1]


# ---- every reward ----------------------------------------------------------------------------------


@pytest.mark.parametrize("reward", EVERY_KIND)
def test_every_kind_of_reward_logs_every_metric_and_compiles_nothing_after_its_first_step(
    launcher, tmp_path, reward
):
    call = launcher.run(tiny(tmp_path / "run", QUICK | {"reward.name": reward} | BESIDE.get(reward, {})))
    assert call.status == 0, call.err
    lines = metrics_of(tmp_path / "run")
    assert [x["step"] for x in lines] == [1, 2, 3, 4]
    for line in lines:
        assert set(line) >= ALWAYS | LABELLED
        assert not any(name.startswith("eval/") for name in line)
        assert line["actor/skipped_updates"] == 0
        assert line["actor/idle_updates"] == (line["frac_reward_zero_std"] == 1)
        assert line["actor/idle_updates"] or set(line) >= OF_UPDATES
    assert len({line["perf/compilations"] for line in lines}) == 1
    assert {p.name for p in (tmp_path / "run" / "checkpoints").iterdir()} == {"2", "4"}


@pytest.mark.parametrize("place, reference", [("loss", "fixed"), ("reward", "fixed"), ("loss", "previous")])
def test_a_kl_term_is_logged_and_compiles_nothing_after_the_first_step(
    launcher, tmp_path, place, reference
):
    kl = {"kl.coef": 0.1, "kl.place": place, "kl.reference": reference}
    if reference == "previous":
        kl["optim.epochs"] = 2
    call = launcher.run(tiny(tmp_path / "run", QUICK | kl))
    assert call.status == 0, call.err
    lines = metrics_of(tmp_path / "run")
    assert all("actor/kl" in line for line in lines)
    if reference == "fixed":
        assert lines[0]["actor/kl"] == pytest.approx(0, abs=1e-5)
    assert lines[-1]["actor/kl"] > 0
    assert len({line["perf/compilations"] for line in lines}) == 1


def test_the_distance_from_the_base_is_watched_without_training_on_it(launcher, tmp_path):
    runs = {}
    for watch in (False, True):
        call = launcher.run(tiny(tmp_path / str(watch), QUICK | {"kl.watch": watch}))
        assert call.status == 0, call.err
        runs[watch] = metrics_of(tmp_path / str(watch))
    for plain, watched in zip(runs[False], runs[True], strict=True):
        assert "actor/kl" not in plain and watched["reward/mean"] == plain["reward/mean"]
        assert watched["actor/entropy"] == plain["actor/entropy"]
    assert runs[True][0]["actor/kl"] == pytest.approx(0, abs=1e-5)
    assert runs[True][-1]["actor/kl"] > 0


def test_a_run_ends_at_its_model_collapse_step_and_asked_again_goes_no_farther(launcher, tmp_path):
    """A base without training is never right: its first step is the collapse step."""
    run = tmp_path / "run"
    for _ in range(2):
        call = launcher.run(tiny(run, QUICK | {"collapse.until_mcs": True}))
        assert call.status == 0, call.err
        assert [line["step"] for line in metrics_of(run)] == [1]
    assert (run / "checkpoints" / "1").is_dir()


ALARMING = """
import jax.numpy as jnp
from urlvr_jax.measure import detectors, warning

warning.DETECTORS = (detectors.Detector("always", "length", lambda x: x + 9.0, 1.0, "a test"),)

def mine(inputs):
    return inputs.per_group(inputs.lengths.astype(jnp.float32))
"""


def test_a_run_ends_at_an_alarm_and_asked_again_goes_no_farther(launcher, tmp_path):
    """The reward's file brings a detector that always sees collapse."""
    run, file = tmp_path / "run", tmp_path / "alarming.py"
    file.write_text(ALARMING)
    for _ in range(2):
        call = launcher.run(tiny(run, QUICK | {"collapse.stop": True, "reward.fn": f"{file}:mine"}))
        assert call.status == 0, call.err
        lines = metrics_of(run)
        assert [line["collapse/alarm"] for line in lines] == [0, 1]
        assert lines[-1]["collapse/reason"] == "always" and lines[-1]["collapse/onset"] == 1
        assert "collapse since about step 1 (always): no checkpoint is from before it" in call.out


def test_several_updates_a_step_and_buckets_compile_nothing_after_the_first_step(launcher, tmp_path):
    options = {
        "optim.minibatch_prompts": 2,
        "optim.epochs": 2,
        "optim.micro_rows": 2,
        "rollout.group": 4,
        "rollout.train_group": 2,
        "rollout.slots": 8,
        "rollout.rescore": True,
        "loss.sampler_correction": "token",
        "rollout.response_buckets": "(4, 8)",
        "advantage.name": "rloo",
        "data.shuffle": True,
    }
    call = launcher.run(tiny(tmp_path / "run", QUICK | options))
    assert call.status == 0, call.err
    lines = metrics_of(tmp_path / "run")
    assert len({line["perf/compilations"] for line in lines}) == 1
    assert all(set(line) >= ALWAYS | LABELLED for line in lines)
    assert all(line["actor/sampler_weight_capped"] == 0 for line in lines)
    assert all(abs(line["actor/sampler_weight"] - 1) < 1e-4 for line in lines)


# ---- supervised ------------------------------------------------------------------------------------


def test_a_base_is_pretrained_on_documents_of_its_world(launcher, tmp_path):
    options = {
        "data.prompts_per_step": 32, "rollout.group": 1, "steps": 12, "eval.every": 0,
        "rollout.max_new_tokens": 24, "rollout.response_buckets": "(24,)", "optim.warmup_updates": 0,
        "log.completions_every": 0,
    }  # fmt: skip
    call = launcher.run(tiny(tmp_path / "run", options, "experiments/lab_pretrain.py:plain"))
    assert call.status == 0, call.err
    lines = metrics_of(tmp_path / "run")
    assert lines[-1]["actor/nll"] < lines[0]["actor/nll"] - 0.3
    assert not any(name.startswith(("reward/", "train/ensemble")) for line in lines for name in line)
    assert len({line["perf/compilations"] for line in lines}) == 1
