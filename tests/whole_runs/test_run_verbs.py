"""The verbs beside training, on a finished run."""

import json

import numpy as np
import pytest
from launcher import environment, tiny, words
from runs import EVALS, final_state, metrics_of

# ---- other verbs -----------------------------------------------------------------------------------


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


def test_verbs_say_so_where_no_answer_is_found(finished, launcher, tmp_path):
    """A model that was never trained answers in no style."""
    call = launcher.run(["evaluate", "--model", str(finished[0])])
    said = "warning: lab:heldout: answers.style = 'lab' finds an answer in 0 of "
    assert (
        call.status == 0
        and said in call.err
        and json.loads(call.out)["sets"]["lab:heldout"]["no_answer"] == 1
    )
    file = tmp_path / "responses.jsonl"
    file.write_text(json.dumps({"prompt": "Q1+2?", "response": "so \\boxed{5}"}) + "\n")
    for verb in (["answers"], ["score", "--model", str(finished[0])]):
        call = launcher.run([*verb, "--data", str(file)])
        assert call.status == 0 and "finds an answer in 0 of 1 responses" in call.err, call.err


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
    assert json.loads((folder / "urlvr_jax.json").read_text())["rollout.max_new_tokens"] == 8
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


@pytest.mark.slow
def test_a_run_fills_four_devices_and_is_read_on_one(launcher, tmp_path):
    four = {"XLA_FLAGS": f"{environment()['XLA_FLAGS']} --xla_force_host_platform_device_count=4"}
    options = {"steps": 2, "rollout.slots": 6, "checkpoint.every": 0}
    run = launcher.run(tiny(tmp_path / "run", options), env=four)
    assert run.status == 0, run.err
    assert run.err.splitlines()[0] == "rollout.slots = 6 does not divide over 4 devices: 8 is used"
    (attempt,) = json.loads((tmp_path / "run" / "record.json").read_text())["attempts"]
    assert attempt["mesh"] == {"data": 4, "fsdp": 1, "tensor": 1} and len(attempt["devices"]) == 4
    call = launcher.run(["generate", "--model", str(tmp_path / "run"), "--prompt", "Q1+2?"])
    assert call.status == 0, call.err
    assert [line.split("\t")[0] for line in call.out.splitlines()] == ["Q1+2?"] * 2


def test_samples_that_generate_writes_are_documents_and_completions(finished, launcher, tmp_path):
    file, samples = tmp_path / "mine.jsonl", tmp_path / "samples.jsonl"
    file.write_text('{"prompt": "Q1+2?"}\n{"prompt": "Q3+4?"}\n')
    said = ["--model", str(finished[0]), "--data", str(file), "--out", str(samples)]
    call = launcher.run(["generate", *said, "--config.eval.k=3", "--config.eval.temperature=1.5"])
    assert call.status == 0 and not call.out, call.err
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    assert [row["prompt"] for row in rows] == ["Q1+2?"] * 3 + ["Q3+4?"] * 3
    assert all(set(row) == {"prompt", "response", "ended"} for row in rows)
    score = ["score", "--model", str(finished[0]), "--data", str(samples), "--config.reward.name=length"]
    assert launcher.run(score).status == 0
    options = {
        "eval.every": 0,
        "log.completions_every": 0,
        "steps": 2,
        "rollout.group": 1,
        "optim.warmup_updates": 0,
    }
    run = tiny(tmp_path / "run", options, f"experiments/self_distillation.py:{samples}")
    call = launcher.run(run)
    assert call.status == 0, call.err
    record = json.loads((tmp_path / "run" / "record.json").read_text())["attempts"][-1]
    assert record["documents"] + record["documents_left_out"] == 6 and len(record["documents_sha256"]) == 16
    for more, why in (
        (["--prompt=Q1?"], "give one of them"),
        ([f"--out={tmp_path}/no/x"], "no such folder"),
    ):
        call = launcher.run(["generate", *said, *more])
        assert call.status == 2 and why in call.err


def test_a_vote_at_equal_tokens_has_as_many_samples_as_a_runs_tokens_pay_for(finished, launcher):
    words = ["evaluate", "--model", str(finished[0]), "--tokens_of", str(finished[0])]
    call = launcher.run([*words, "--config.eval.max_questions=2"])
    assert call.status == 0, call.err
    of_set = json.loads(call.out)["sets"]["lab:heldout"]
    found = of_set["equal_tokens"]
    tokens = sum(line.get("perf/rollout_tokens", 0) for line in metrics_of(finished[0]))
    assert found["tokens"] == tokens
    assert found["k"] == int(tokens / (of_set["questions"] * of_set["response_length/mean"]))
    assert found["low"] <= found["maj"] <= found["high"]
    call = launcher.run([*words[:-1], "nowhere"])
    assert call.status == 2 and "--tokens_of=nowhere is no run's folder" in call.err
