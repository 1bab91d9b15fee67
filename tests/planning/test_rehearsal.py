"""What doctor finds by reading the question files, and by a made-up step through check and reward."""

import json

import helpers
import pytest

from urlvr_jax.planning import rehearsal

MINE = """
import time
import jax.numpy as jnp


def mine(inputs):
    assert len(inputs.questions) == inputs.shape[0] and any(inputs.texts)
    return jnp.zeros(inputs.shape)


def of_rows(inputs, reference):
    return jnp.array([[float(r["weight"])] * inputs.shape[1] for r in reference.row]) * reference.score


def raises(inputs):
    return usual_name_misspelt


def right(response, gold):
    return gold in response


def slow(response):
    time.sleep(0.05)
    return True


def never(response):
    raise OSError("the service is away")


def columns(response, tests):
    return True
"""


@pytest.fixture
def mine(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    return str(file)


def found(**changes):
    """{name of what is not well: (status, text)}, and what is."""
    lab = {"data__prompt_buckets": (16,), "eval__k": 1, "eval__every": 100, "rollout__max_new_tokens": 44}
    c = helpers.experiment(**(lab | {"rollout__response_buckets": (), "steps": 1000} | changes))
    out = rehearsal.rehearse(c)
    wrong = {f.name: (f.status, f.seen) for f in reversed(out) if f.status != "ok"}
    return wrong, [f.name for f in out if f.status == "ok"]


def test_the_laboratory_is_well():
    wrong, well = found()
    assert not wrong and well == ["data.train", "eval.sets", "evaluations", "reward"]
    assert found(mode="supervised", rollout__group=1) == ({}, [])


def test_rewards_of_ones_own_are_called(mine):
    assert not found(reward__fn=f"{mine}:mine")[0]
    (status, text) = found(reward__fn=f"{mine}:raises")[0]["reward"]
    assert status == "fail" and "'raises' raised NameError" in text
    assert "'weight'" in found(reward__fn=f"{mine}:of_rows")[0]["reward"][1], (
        "the laboratory has no such column"
    )


def test_a_reward_that_reads_rows_gets_them(mine, tmp_path):
    file = tmp_path / "q.jsonl"
    file.write_text(
        "".join(json.dumps({"prompt": f"Q{i}+1?", "answer": i + 1, "weight": 2}) + "\n" for i in range(9))
    )
    wrong, well = found(
        reward__fn=f"{mine}:of_rows", data__train=str(file), eval__every=0, answers__style="number"
    )
    assert not wrong and "reward" in well


def test_checks_of_ones_own_are_called_and_timed(mine):
    assert not found(answers__check=f"{mine}:right")[0]
    status, text = found(answers__check=f"{mine}:slow", data__prompts_per_step=1024)[0]["answers.check"]
    assert status == "warn" and "may take" in text
    assert (
        "none of 8 responses, 2 of them distinct, was judged"
        in found(answers__check=f"{mine}:never")[0]["answers.check"][1]
    )
    assert "asks for ['tests']" in found(answers__check=f"{mine}:columns")[0]["reward"][1]


def test_evaluations_that_sample_more_than_training_are_said():
    status, text = found(eval__every=1, steps=10)[0]["evaluations"]
    assert status == "warn" and text.startswith(
        "11 of 600 questions, 1 responses each: 6600 responses, 2062% of"
    )


def test_files_styles_and_sets_that_do_not_fit_are_said(tmp_path):
    file = tmp_path / "q.jsonl"
    file.write_text(
        "".join(json.dumps({"prompt": f"{i} clips and {i}?", "answer": 7}) + "\n" for i in range(9))
    )
    wrong, _ = found(data__train=str(file))
    assert "all 9 gold answers are '7'" in wrong["data.train"][1]
    assert "of another kind" in wrong["eval.sets"][1] and "laboratory" in wrong["answers.style"][1]
    file.write_text("{broken")
    assert found(data__train=str(file))[0]["rehearsal"][0] == "fail"
    assert found(eval__sets=(str(file),))[0]["eval.sets"][0] == "fail"


def test_a_judge_or_votes_that_are_not_there_are_said():
    missing = found(reward__name="self_verify", verify__judge="lab:nobody")[0]["reward"]
    assert missing[0] == "fail" and "verify.judge = 'lab:nobody': 'lab:nobody' does not ship" in missing[1]
    long = found(
        reward__name="self_verify", verify__judge="lab:countdown_judge", verify__prompt_buckets=(512,)
    )
    assert "verify.judge = 'lab:countdown_judge'" in long[0]["reward"][1]
    assert "reward" in found(reward__name="self_verify", verify__judge="lab:countdown_judge")[1]
    assert "set data.votes" in found(reward__name="rlccf")[0]["reward"][1]
    gone = found(reward__name="rlccf", data__votes=("nowhere.jsonl",))[0]["reward"][1]
    assert "data.votes: file of completions 'nowhere.jsonl' does not exist" in gone
    assert "set verify.dual" in found(reward__name="dupo")[0]["reward"][1]
    assert "set data.rephrase" in found(reward__name="co_reward")[0]["reward"][1]
    assert "set continuation.corpus" in found(reward__name="rlp")[0]["reward"][1]
