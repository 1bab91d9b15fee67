"""The benchmark harness: specs, random models that cannot stop, the cost of the work, the line protocol."""

import json
import pathlib
import random
import subprocess
import sys

import attack_cases
import children
import jax.numpy as jnp
import launcher
import numpy as np
import protocol
import pytest
import report
import specs

from urlvr_jax.errors import UserError
from urlvr_jax.models import folders, transformer
from urlvr_jax.scoring.score import score

ROOT = pathlib.Path(__file__).resolve().parents[1]
SIZE = {
    "d_model": 16, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "head_dim": 8, "d_ff": 24, "vocab_size": 13,
}  # fmt: skip
WORK = {"model": SIZE, "prompts": 3, "samples": 2, "prompt_len": 4, "new_tokens": 5, "micro_batch": 2}


@pytest.fixture
def job(tmp_path, monkeypatch):
    """(work, folder of the made model, what a child reads)."""
    monkeypatch.setattr(specs, "HOME", tmp_path / "home")
    work = specs.complete(WORK)
    folder = specs.model_folder(work)
    specs.write_job(work, folder, 1, tmp_path / "job")
    return work, folder, protocol.read_job(str(tmp_path / "job"))


def test_named_specs_are_complete_and_wrong_ones_are_refused():
    for name in specs.SPECS:
        assert set(specs.load(name)[1]) == set(specs.DEFAULTS)
    with pytest.raises(specs.SpecError, match="unknown key 'prompt'"):
        specs.complete({"prompt": 3})
    with pytest.raises(specs.SpecError, match="does not divide"):
        specs.complete({**WORK, "micro_batch": 4})
    work = specs.complete({**WORK, "prompts": 9, "samples": 6, "micro_batch": 0})
    assert work["micro_batch"] == 6 and all(specs.takes(s, work, 6) for s in children.SYSTEMS)


def test_a_random_model_gives_special_tokens_no_probability(job):
    _, folder, given = job
    assert given.prompt_tokens.min() >= len(specs.SPECIALS)
    config = folders.model_config(folder)
    params = {n: jnp.asarray(x) for n, x in folders.load(folder, config).items()}
    for token in range(len(specs.SPECIALS)):
        stats = score(
            transformer.structure(config)[0], params, jnp.asarray(given.prompt_tokens),
            jnp.asarray(given.prompt_lengths), jnp.full((6, 1), token), 1.0,
        )  # fmt: skip
        assert stats["logp"].max() < -100


def test_the_work_counted_is_that_of_a_count_by_hand(job):
    work, folder, given = job
    cost = report.Cost.of(folder, work, given.prompt_lengths)
    layer = 16 * 32 * 2 + 16 * 16 * 2 + 3 * 16 * 24
    products = attended = 0
    for _ in range(3):  # prompts: their last token is the first input of each response
        products, attended = products + 3 * 2 * layer, attended + 1 + 2 + 3
    for _ in range(6):
        products += 5 * 2 * layer
        attended += 4 + 5 + 6 + 7 + 8
    want = 2 * products + 2 * 16 * 13 * 30 + 4 * 32 * 2 * attended
    done = protocol.work_done([5] * 6)
    assert cost.forward(done["tokens"], done["pairs"]) == want
    assert cost.flops("update", **done) == 3 * want


def test_a_child_answers_by_lines_and_its_death_is_loud(tmp_path, monkeypatch):
    (tmp_path / "echo.py").write_text(
        f"import sys; sys.path.insert(0, {str(children.PEERS)!r})\n"
        "from protocol import Server\n"
        "server = Server()\n"
        "print('noise')\n"
        "server.send(versions={})\n"
        "server.serve({'twice': lambda x: {'value': 2 * int(x)}, 'break': lambda: 1 / 0})\n"
    )
    monkeypatch.setattr(children, "PEERS", tmp_path)
    monkeypatch.setitem(children.SYSTEMS, "echo", ("echo.py", ""))
    child = children.Child("echo", tmp_path)
    try:
        assert children.ask_alone([child], child, "twice", "21")["value"] == 42
        with pytest.raises(children.ChildError, match="ZeroDivisionError"):
            child.ask("break")
        assert "noise" in child.log.read_text()
    finally:
        child.close()


def run_benchmark(file: str, *options, **variables) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / file), *map(str, options)],
        env=launcher.environment() | variables, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_tiny_specification_runs_from_weights_to_the_table(tmp_path):
    (tmp_path / "spec.json").write_text(json.dumps(WORK | {"repeats": 1}))
    run_benchmark(
        "speed/run.py",
        "--spec",
        tmp_path / "spec.json",
        "--out",
        tmp_path / "out.json",
        PEERS_HOME=str(tmp_path),
    )
    ours = json.loads((tmp_path / "out.json").read_text())["systems"]["ours"]
    assert all(ours[phase]["seconds"] > 0 for phase in ("rollout", "score", "update", "step"))


@pytest.mark.slow
def test_a_published_model_is_lowered_at_full_size_with_its_own_number_of_parameters():
    assert "| 1,543,714,304 |" in run_benchmark("checks/full_size.py", "Qwen2.5-1.5B")


@pytest.mark.slow
def test_the_accelerators_phases_run_on_a_small_shape(tmp_path):
    run_benchmark("accelerator.py", "--small", "--out", tmp_path / "out.json")
    phases = json.loads((tmp_path / "out.json").read_text())["phases"]
    assert {"ceilings", "rollout", "update", "score", "step"} <= set(phases)
    assert phases["rollout"]["tokens_per_s"] > 0 and phases["update"]["seconds"] > 0


def test_summaries_are_medians_of_rates():
    step = [{"rollout": s, "update": s, "step": 2 * s, "tokens": 30, "pairs": 90} for s in (1.0, 2.0, 4.0)]
    scores = [{"score": 3.0, "tokens": 30, "pairs": 90}] * 3
    entry = report.summary({"score": scores, "step": step})
    assert entry["rollout"]["seconds"] == 2.0 and entry["step"]["tokens_per_s"] == 7.5
    assert json.dumps(entry)
    np.testing.assert_allclose(report.ratios({"ours": entry, "peer": entry})["score"], 1.0)


QUICK_ATTACKS = [name for name in attack_cases.FAMILIES if name not in ("chat_templates", "weights")]


@pytest.mark.parametrize("name", QUICK_ATTACKS)
def test_some_attacks_of_each_family_that_is_quick_are_survived(tmp_path, monkeypatch, name):
    monkeypatch.setattr("sys.stdin", sys.stdin)  # a family may replace it
    attack = attack_cases.FAMILIES[name](tmp_path)
    ended = []
    for case in range(12):
        try:
            attack(random.Random(f"{name} 3 {case}"))
            ended.append("value")
        except UserError as error:
            assert str(error).strip()
            ended.append("error")
    assert len(ended) == 12
