"""A run that trains adapters: what it saves, how it goes on, what the verbs make of it, and that it learns."""

import json
import shutil

import numpy as np
import pytest
from launcher import tiny
from runs import assert_same_run, final_state, lines_of, metrics_of
from safetensors.numpy import load_file, save_file

from urlvr_jax.lab import shipped

LORA = {
    "model.path": "lab:plain",
    "model.init": "pretrained",
    "model.lora.rank": 2,
    "model.lora.targets": "q,v,down",
    "optim.lr": 1e-2,
    "kl.coef": 0.01,
    "eval.every": 2,
}


@pytest.fixture(scope="module")
def trained(launcher, tmp_path_factory):
    run = tmp_path_factory.mktemp("lora") / "run"
    call = launcher.run(tiny(run, LORA))
    assert call.status == 0, call.err
    return run


def test_a_checkpoint_has_adapters_their_moments_and_the_step_alone(trained):
    step, state = final_state(trained)
    assert step == 6
    names = {path[-1] for path in state}
    adapters = {n for n in names if n.endswith(("lora_a", "lora_b"))}
    assert len(adapters) == 2 * 3 * 2  # two layers
    assert not any("kernel" in part or part == "embed" for path in state for part in path)
    record = json.loads((trained / "record.json").read_text())["attempts"][0]
    assert len(record["base_fingerprint"]) == 16 and record["parameters"] == 108_160
    kl = [line["actor/kl"] for line in metrics_of(trained) if "actor/kl" in line]
    assert kl[0] < 1e-9 < kl[-1], "the policy begins as its reference, and leaves it"
    assert max(line.get("actor/sampler_logp_diff_max", 0) for line in metrics_of(trained)) < 1e-4


@pytest.mark.parametrize("base", ["param_dtype", pytest.param("int8", marks=pytest.mark.slow)])
def test_a_run_that_is_extended_is_bit_for_bit_an_uninterrupted_one(launcher, trained, tmp_path, base):
    how = LORA | {"model.lora.base": base}
    whole = trained
    if base == "int8":
        whole = tmp_path / "whole"
        assert launcher.run(tiny(whole, how)).status == 0
    run = tmp_path / "run"
    for steps, said in ((4, "from step 0"), (6, "from step 4")):
        call = launcher.run(tiny(run, how | {"steps": steps}))
        assert call.status == 0 and said in call.out, call.err
    assert_same_run(run, whole)


@pytest.mark.slow
def test_another_base_under_the_same_name_is_refused(launcher, tmp_path):
    base, run = tmp_path / "base", tmp_path / "run"
    shutil.copytree(shipped.base("lab:plain"), base)
    how = LORA | {"model.path": str(base), "kl.coef": 0.0}
    assert launcher.run(tiny(run, how | {"steps": 2})).status == 0
    weights = load_file(base / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    save_file(
        weights | {name: weights[name] * np.float32(1.01)},
        base / "model.safetensors",
        metadata={"format": "pt"},
    )
    for arguments in (
        tiny(run, how),
        ["evaluate", "--model", str(run)],
        ["export", "--model", str(run), "--out", str(tmp_path / "out")],
    ):
        call = launcher.run(arguments)
        assert call.status == 2 and "model.path has other weights now" in call.err, call.err
        assert "give the base that it began from" in call.err
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    call = launcher.run(tiny(run, how))
    assert call.status == 0 and "from step 2" in call.out, call.err


def test_verbs_open_a_run_with_adapters(launcher, trained, tmp_path):
    call = launcher.run(["evaluate", "--model", str(trained)])
    assert call.status == 0, call.err
    found = json.loads(call.out)["sets"]["lab:heldout"]
    assert found["avg@2"] == metrics_of(trained)[-1]["eval/heldout/avg@2"], "the run's own last evaluation"
    file = tmp_path / "responses.jsonl"
    file.write_text(json.dumps({"prompt": "Q1+2?", "response": "1+2=3.A3."}) + "\n")
    merged = tmp_path / "merged"
    call = launcher.run(["export", "--model", str(trained), "--out", str(merged)])
    assert call.status == 0 and "24 tensors of step 6" in call.out, call.err
    scored = [
        launcher.run(["score", "--model", str(m), "--data", str(file)])
        for m in (trained, merged, "lab:plain")
    ]
    assert all(call.status == 0 for call in scored), [call.err for call in scored]
    ours, theirs, base = (json.loads(call.out.splitlines()[0])["reward"] for call in scored)
    np.testing.assert_allclose(theirs, ours, rtol=1e-5)
    assert abs(base - ours) > 1e-4
    adapter = tmp_path / "adapter"
    call = launcher.run(["export", "--model", str(trained), "--out", str(adapter), "--adapter"])
    assert call.status == 0 and "12 tensors of adapters of step 6" in call.out, call.err
    assert {p.name for p in adapter.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    assert json.loads((adapter / "adapter_config.json").read_text())["r"] == 2
    call = launcher.run(["export", "--model", "lab:plain", "--out", str(tmp_path / "x"), "--adapter"])
    assert call.status == 2 and "lab:plain has no adapters" in call.err
    call = launcher.run(["doctor", *tiny(tmp_path / "new", LORA)])
    assert call.status == 0 and "ok   memory" in call.out, call.out


def test_a_rank_beyond_the_model_is_refused_before_anything_is_loaded(launcher, tmp_path):
    call = launcher.run(tiny(tmp_path / "run", LORA | {"model.lora.rank": 500}))
    assert (
        call.status == 2
        and call.err.startswith("error: model.lora.rank = 500 exceeds ")
        and "choose" in call.err
    )
    assert not (tmp_path / "run").exists()


def test_supervised_mode_trains_adapters_too(launcher, tmp_path):
    how = {
        "mode": "supervised",
        "data.documents": "lab:clean",
        "rollout.group": 1,
        "advantage.name": "none",
    }
    plain = {k: v for k, v in LORA.items() if k != "kl.coef"}
    options = (
        how
        | plain
        | {"rollout.max_new_tokens": 44, "rollout.response_buckets": "(44,)", "optim.micro_rows": 4}
    )
    call = launcher.run(tiny(tmp_path / "run", options | {"steps": 12, "eval.every": 0}))
    assert call.status == 0, call.err
    losses = [line["actor/nll"] for line in metrics_of(tmp_path / "run")]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


@pytest.mark.slow
def test_adapters_learn_from_votes_in_the_laboratory(launcher, tmp_path):
    """Ten steps at twice the rate of the experiment, where held-out accuracy goes from 0.62 to 0.82."""
    changes = {"steps": 10, "optim.lr": 2e-3, "eval.max_questions": 200, "log.completions_every": 0}
    words = [f"--config.{key}={value}" for key, value in changes.items()]
    run = tmp_path / "run"
    call = launcher.run(["--config", "experiments/lora.py", "--workdir", str(run), *words])
    assert call.status == 0, call.err
    base, *_, last = lines_of(run / "evals.jsonl")
    accuracy = lambda line: np.mean(line["correct"]) / 2
    assert accuracy(last) > accuracy(base) + 0.08, (accuracy(base), accuracy(last))
