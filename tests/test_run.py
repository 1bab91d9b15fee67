"""Runs from the command line, end to end, at a size that takes a second or two."""

import json
import shutil
import signal
import subprocess
import sys

import numpy as np
import orbax.checkpoint as ocp
import pyarrow.parquet
import pytest
from launcher import (
    ROOT,
    environment,
    launcher_fixture,  # noqa: F401
    tiny,
    words,
)

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
    "actor/sampler_logp_diff",
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
    "perf/update_padding",
}
EVALS = {f"eval/heldout/{m}@2{x}" for m in ("avg", "maj", "pass") for x in ("", "/low", "/high")}
COUNTDOWN = {
    "model.path": "lab:untrained_countdown", "model.init": "random", "data.train": "lab:countdown_train",
    "answers.style": "lab_expression", "answers.check": "countdown",
}  # fmt: skip
EVERY_KIND = (
    "self_certainty", "token_level_entropy", "probability", "probability_disparity", "majority_voting",
    "empo(low=0.1)", "self_verify", "co_reward", "countdown", "ground_truth", "random",
    "group_z(trajectory_level_entropy) + 0.1*format",
)  # fmt: skip
BESIDE = {"co_reward": {"data.rephrase": "lab"}, "countdown": COUNTDOWN}  # what a reward asks for
QUICK = {"eval.every": 0, "log.completions_every": 0, "steps": 4}
CLOCKS = ("timing_s/", "perf/")


def refuse_constant(name):
    raise AssertionError(f"{name} is not JSON")


def lines_of(file):
    """Lines of a finished file: whole, and JSON in the strict sense."""
    text = file.read_text()
    assert text.endswith("\n") or not text
    return [json.loads(line, parse_constant=refuse_constant) for line in text.splitlines()]


def metrics_of(run):
    return lines_of(run / "metrics.jsonl")


def without_clocks(lines):
    return [{k: v for k, v in line.items() if not k.startswith(CLOCKS)} for line in lines]


def final_state(run):
    """Every leaf of a run's latest checkpoint, as bytes, by path."""
    steps = [int(p.name) for p in (run / "checkpoints").iterdir() if p.name.isdigit()]
    folder = run / "checkpoints" / str(max(steps)) / "default"
    handler = ocp.PyTreeCheckpointer()
    tree = handler.metadata(folder).item_metadata.tree
    arguments = jax_tree_map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
    found = handler.restore(folder, args=ocp.args.PyTreeRestore(restore_args=arguments))
    return max(steps), {path: np.asarray(x).tobytes() for path, x in leaves(found)}


def jax_tree_map(fn, tree):
    import jax

    return jax.tree.map(fn, tree)


def leaves(tree, path=()):
    items = (
        tree.items()
        if isinstance(tree, dict)
        else enumerate(tree)
        if isinstance(tree, list | tuple)
        else ()
    )
    if not isinstance(tree, dict | list | tuple):
        return [] if tree is None else [(path, tree)]
    return [x for key, value in items for x in leaves(value, (*path, str(key)))]


def assert_same_run(a, b):
    """Everything two runs have in common, bit for bit, clocks apart."""
    assert without_clocks(metrics_of(a)) == without_clocks(metrics_of(b))
    assert (a / "evals.jsonl").read_bytes() == (b / "evals.jsonl").read_bytes()
    tables = [sorted((run / "completions").glob("*.parquet")) for run in (a, b)]
    assert [t.name for t in tables[0]] == [t.name for t in tables[1]]
    for x, y in zip(*tables, strict=True):
        assert pyarrow.parquet.read_table(x).equals(pyarrow.parquet.read_table(y))
    assert final_state(a) == final_state(b)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run started the way a user starts one; (folder, standard output)."""
    run = tmp_path_factory.mktemp("finished") / "run"
    done = subprocess.run(
        [sys.executable, "-m", "urlvr_jax.main", *tiny(run)],
        cwd=ROOT, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return run, done.stdout


# ---- what a run leaves behind ---------------------------------------------------------------


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


# ---- every reward ---------------------------------------------------------------------------


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


def test_several_updates_a_step_and_buckets_compile_nothing_after_the_first_step(launcher, tmp_path):
    options = {
        "optim.minibatch_prompts": 2,
        "optim.epochs": 2,
        "optim.micro_rows": 2,
        "rollout.group": 4,
        "rollout.train_group": 2,
        "rollout.slots": 8,
        "rollout.rescore": True,
        "rollout.response_buckets": "(4, 8)",
        "advantage.name": "rloo",
        "data.shuffle": True,
    }
    call = launcher.run(tiny(tmp_path / "run", QUICK | options))
    assert call.status == 0, call.err
    lines = metrics_of(tmp_path / "run")
    assert len({line["perf/compilations"] for line in lines}) == 1
    assert all(set(line) >= ALWAYS | LABELLED for line in lines)


# ---- going on -------------------------------------------------------------------------------


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


def test_a_killed_run_goes_on_from_its_last_checkpoint(launcher, uninterrupted, tmp_path):
    run = tmp_path / "run"
    call = launcher.start(tiny(run, LONG))
    call.wait_for(lambda: (run / "checkpoints" / "7").is_dir())
    call.kill(signal.SIGKILL)
    assert call.wait().status == -signal.SIGKILL
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 99, "reward/me')
    call = launcher.run(tiny(run, LONG))
    assert call.status == 0, call.err
    assert_same_run(run, uninterrupted)


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


# ---- other verbs ----------------------------------------------------------------------------


def test_a_dry_run_prints_configuration_and_prompt_and_writes_nothing(launcher, tmp_path):
    call = launcher.run([*tiny(tmp_path / "run"), "--dry_run", "--config.data.template=<{prompt}>"])
    assert call.status == 0, call.err
    shown, _ = json.JSONDecoder().raw_decode(call.out)
    assert shown["data.template"] == "<{prompt}>" and shown["steps"] == 6
    assert "first prompt: '<Q7+10+11-18?>'" in call.out
    assert list(tmp_path.iterdir()) == []


def test_evaluate_reads_a_run(finished, launcher, tmp_path):
    out = tmp_path / "result.json"
    call = launcher.run(["evaluate", "--model", str(finished[0]), "--out", str(out)])
    assert call.status == 0, call.err
    result = json.loads(call.out)
    assert result == json.loads(out.read_text())
    assert result["step"] == 6
    of_set = result["sets"]["lab:heldout"]
    assert of_set["questions"] == 8
    last = metrics_of(finished[0])[-1]
    for name in EVALS:
        assert of_set[name.removeprefix("eval/heldout/")] == last[name], "the run's own last evaluation"


def test_evaluate_reads_a_question_file(finished, launcher, tmp_path):
    file = tmp_path / "mine.jsonl"
    file.write_text('{"prompt": "Q1+2?", "answer": 3}\n{"prompt": "Q1+1+1+1+1+1+1+1+1?", "answer": 9}\n')
    call = launcher.run(["evaluate", "--model", str(finished[0]), "--data", str(file), "--config.eval.k=4"])
    assert call.status == 0, call.err
    of_set = json.loads(call.out)["sets"][str(file)]
    assert of_set["questions"] == 1 and of_set["too_long"] == 1 and "avg@4" in of_set


def test_generate_answers_a_prompt_and_standard_input(finished, launcher):
    call = launcher.run(["generate", "--model", str(finished[0]), "--prompt", "Q1+2?"])
    assert call.status == 0, call.err
    rows = [line.split("\t") for line in call.out.splitlines()]
    assert [r[0] for r in rows] == ["Q1+2?"] * 2
    assert all(len(r[1]) <= 8 for r in rows)
    call = launcher.run(["generate", "--model", str(finished[0])], stdin="Q1+2?\n\nQ3+4?\n")
    assert call.status == 0, call.err
    assert [line.split("\t")[0] for line in call.out.splitlines()] == ["Q1+2?"] * 2 + ["Q3+4?"] * 2
    assert [line.split("\t") for line in call.out.splitlines()][:2] == rows


def test_export_writes_a_folder_that_transformers_runs(finished, launcher, tmp_path):
    import torch
    import transformers

    folder = tmp_path / "exported"
    call = launcher.run(["export", "--model", str(finished[0]), "--out", str(folder)])
    assert call.status == 0, call.err
    assert "step 6" in call.out
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokens = tokenizer("Q1+2?", return_tensors="pt").input_ids
    with torch.no_grad():
        logits = model(tokens).logits
    assert logits.shape == (1, 5, len(tokenizer)) and bool(torch.isfinite(logits).all())
    _, state = final_state(finished[0])
    embed = np.frombuffer(state["params", "embed"], np.float32).reshape(len(tokenizer), -1)
    assert np.array_equal(model.get_input_embeddings().weight.detach().numpy(), embed)
    call = launcher.run(
        ["evaluate", "--model", str(folder), *words({"eval.max_questions": 4, "rollout.group": 2})]
    )
    assert call.status == 0, call.err


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["evaluate"], "--model is missing"),
        (["generate", "--model", "lab:nope", "--prompt", "Q1+2?"], "lab:nope"),
        (["generate", "--model", "/nowhere", "--prompt", "Q1+2?"], "/nowhere"),
        (["export", "--model", "lab:untrained"], "--out is missing"),
        (["evaluate", "--model", "lab:untrained"], "lab/bases/untrained"),
    ],
)
def test_a_verb_that_lacks_something_says_what(launcher, arguments, expected):
    call = launcher.run(arguments)
    assert call.status == 2, call.err
    assert expected in call.err and "Traceback" not in call.err


def test_generate_without_a_prompt_or_with_a_long_one_says_so(finished, launcher):
    call = launcher.run(["generate", "--model", str(finished[0])], stdin="\n")
    assert call.status == 2 and "no prompt" in call.err
    call = launcher.run(["generate", "--model", str(finished[0]), "--prompt", "Q" + "1+" * 20 + "1?"])
    assert call.status == 2 and "43 tokens" in call.err and "16" in call.err


# ---- rewards of one's own -------------------------------------------------------------------

MINE = """
import jax.numpy as jnp
from urlvr_jax.rewards import needs


@needs("entropy", "top2_gap")
def my_reward(inputs):
    return inputs.per_group(inputs.stats["top2_gap"].sum(axis=1) - inputs.stats["entropy"].sum(axis=1))


def undeclared(inputs):
    return inputs.per_group(inputs.stats["logp"].sum(axis=1))


def undeclared_answers(inputs):
    return jnp.where(inputs.answers >= 0, 1.0, 0.0)


def wrong_shape(inputs):
    return jnp.zeros(inputs.lengths.shape)


def not_a_number(inputs):
    return jnp.full(inputs.shape, jnp.nan)


@needs("answers")
def verifier(inputs, reference):
    return (inputs.answers == reference.answers[:, None]) * 1.0


def huge(inputs):
    return jnp.full(inputs.shape, 3e38) * jnp.array([1.0, 0.9])


def huge_once(inputs):
    usual = inputs.per_group(inputs.lengths.astype(jnp.float32))
    return huge(inputs) if inputs.prompts[0] == SECOND else usual
"""


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """A reward file."""
    second = json.loads((ROOT / "urlvr_jax/lab/questions/train.jsonl").read_text().splitlines()[4])
    file = tmp_path_factory.mktemp("rewards") / "mine.py"
    file.write_text(MINE.replace("SECOND", repr(second["prompt"])))
    return file


def test_a_reward_in_a_file_of_ones_own_trains(launcher, tmp_path, mine):
    call = launcher.run(tiny(tmp_path / "run", QUICK | {"reward.fn": f"{mine}:my_reward"}))
    assert call.status == 0, call.err
    lines = metrics_of(tmp_path / "run")
    assert all(set(line) >= ALWAYS | LABELLED for line in lines)
    assert lines[0]["reward/std"] > 0
    assert len({line["perf/compilations"] for line in lines}) == 1
    # Completions scored with the run: by its own reward, or by the one that was typed.
    file = tmp_path / "saved.jsonl"
    file.write_text('{"prompt": "Q1+2?", "response": "1"}\n' * 2)
    words = ["score", "--model", str(tmp_path / "run"), "--data", str(file)]
    for typed, want in (([], None), (["--config.reward.name=format"], 0.0)):
        call = launcher.run([*words, *typed])
        assert call.status == 0, call.err
        scores = [json.loads(line)["reward"] for line in call.out.splitlines()]
        assert len(set(scores)) == 1 and (scores[0] == want) == (want is not None)


@pytest.mark.parametrize(
    "fn, expected",
    [
        ("{folder}/nowhere.py:my_reward", "nowhere.py"),
        ("{folder}/mine.py", "my.py:my_reward"),
        ("{folder}/mine.py:other", "no function 'other'"),
    ],
)
def test_a_reward_that_cannot_be_loaded_is_refused_before_anything_starts(
    launcher, tmp_path, mine, fn, expected
):
    fn = fn.format(folder=mine.parent)
    call = launcher.run(tiny(tmp_path / "run", QUICK | {"reward.fn": fn}))
    assert call.status == 2
    assert "reward.fn" in call.err and expected in call.err and "Traceback" not in call.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "name, expected",
    [
        ("undeclared", "@needs('logp')"),
        ("undeclared_answers", "@needs('answers')"),
        ("wrong_shape", "'wrong_shape' returned shape (8,), expected [P, G] = (4, 2)"),
        ("not_a_number", "step 1: reward 'not_a_number' is not finite in [[0, 0]"),
    ],
)
def test_a_reward_that_misbehaves_stops_the_run_and_is_named(launcher, tmp_path, mine, name, expected):
    call = launcher.run(tiny(tmp_path / "run", QUICK | {"reward.fn": f"{mine}:{name}"}))
    assert call.status not in (0, None)
    assert expected in call.err.splitlines()[-1]


def test_a_sum_trains_and_logs_its_terms_and_shadows_are_watched(launcher, tmp_path, mine):
    shadow = ("probability_disparity", "empo(low=0.1)", f"'{mine}:my_reward'", "majority_voting")
    name = f"0.5*group_z(self_certainty) + 0.1*majority_voting - 0.01*'{mine}:my_reward'"
    options = {"reward.name": name, "reward.shadow": shadow}
    call = launcher.run(tiny(tmp_path / "run", QUICK | options))
    assert call.status == 0, call.err
    lines = metrics_of(tmp_path / "run")
    for line in lines:
        for term in ("self_certainty", "majority_voting", "my_reward"):
            assert {f"reward/{term}/mean", f"reward/{term}/std"} <= set(line)
        for name in ("probability_disparity", "empo(low=0.1)", "my_reward", "majority_voting"):
            assert f"shadow/{name}/mean" in line
        vote = line["train/ensemble/majority_voting_reward"]
        assert line["shadow/majority_voting/mean"] == pytest.approx(vote)
        assert line["reward/majority_voting/mean"] == pytest.approx(vote)
    assert len({line["perf/compilations"] for line in lines}) == 1


def test_shadows_change_nothing_that_is_trained(launcher, tmp_path):
    one = launcher.run(tiny(tmp_path / "one", QUICK))
    two = launcher.run(tiny(tmp_path / "two", QUICK | {"reward.shadow": "('random', 'probability')"}))
    assert one.status == two.status == 0
    for a, b in zip(
        *map(without_clocks, map(metrics_of, (tmp_path / "one", tmp_path / "two"))), strict=True
    ):
        assert a == {k: v for k, v in b.items() if not k.startswith("shadow/")} and a != b
    assert final_state(tmp_path / "one") == final_state(tmp_path / "two")


def test_a_verifier_makes_a_sum_a_verifier_and_is_no_shadow(launcher, tmp_path, mine):
    file = tmp_path / "unlabelled.jsonl"
    file.write_text('{"prompt": "Q1+2?"}\n')
    options = QUICK | {"data.train": str(file), "reward.name": "0.1*self_certainty + ground_truth"}
    call = launcher.run(tiny(tmp_path / "run", options))
    assert call.status == 2 and "needs a gold answer" in call.err and "0 for 1" in call.err
    for shadow in ("ground_truth", f"'{mine}:verifier'"):
        call = launcher.run(tiny(tmp_path / "run", QUICK | {"reward.shadow": f"({shadow!r},)"}))
        assert call.status == 2 and "verifier" in call.err and "no label" in call.err
        assert not (tmp_path / "run").exists()


def test_questions_without_answers_train_and_log_no_label_metrics(launcher, tmp_path, mine):
    file = tmp_path / "unlabelled.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"Q{i}+{i}?"}) + "\n" for i in range(10)))
    options = QUICK | {"data.train": str(file)}
    call = launcher.run(tiny(tmp_path / "run", options))
    assert call.status == 0, call.err
    for line in metrics_of(tmp_path / "run"):
        assert set(line) >= ALWAYS
        assert not set(line) & LABELLED
        assert not any("pass@" in name for name in line)
    for reward in ({"reward.name": "ground_truth"}, {"reward.fn": f"{mine}:verifier"}):
        call = launcher.run(tiny(tmp_path / "refused", options | reward))
        assert call.status == 2
        assert "needs a gold answer" in call.err and str(file) in call.err and "0 for 10" in call.err
        assert not (tmp_path / "refused").exists()


def test_held_out_questions_without_answers_are_refused(launcher, tmp_path):
    file = tmp_path / "unlabelled.jsonl"
    file.write_text('{"prompt": "Q1+2?"}\n')
    call = launcher.run(tiny(tmp_path / "run", {"eval.sets": f"('{file}',)"}))
    assert call.status == 2 and str(file) in call.err and "answer" in call.err


# ---- numbers that are not finite ------------------------------------------------------------


def test_one_update_that_is_not_finite_is_skipped_and_counted(launcher, tmp_path, mine):
    call = launcher.run(tiny(tmp_path / "run", QUICK | {"reward.fn": f"{mine}:huge_once"}))
    assert call.status == 0, call.err
    lines = metrics_of(tmp_path / "run")
    assert [line["actor/skipped_updates"] for line in lines] == [0, 1, 0, 0]
    assert "actor/entropy" in lines[3] and np.isfinite(lines[3]["actor/grad_norm"])


def test_updates_that_stay_not_finite_stop_the_run_with_the_batch_saved(launcher, tmp_path, mine):
    run = tmp_path / "run"
    options = QUICK | {"reward.fn": f"{mine}:huge", "steps": 9, "checkpoint.every": 2}
    call = launcher.run(tiny(run, options))
    assert call.status not in (0, None)
    assert "not finite in 3 steps in a row" in call.err.splitlines()[-1]
    lines = metrics_of(run)
    assert [line["actor/skipped_updates"] for line in lines] == [1, 1, 1]
    with np.load(run / "bad_batch_00003.npz") as batch:
        assert batch["tokens"].shape == (8, 8) and not np.isfinite(batch["advantages"]).all()
    step, state = final_state(run)
    assert step == 2
    assert all(
        np.isfinite(np.frombuffer(x, np.float32)).all() for p, x in state.items() if p[0] == "params"
    )
    assert not np.frombuffer(state[("updates",)], np.int32).any()


# ---- supervised -----------------------------------------------------------------------------


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
