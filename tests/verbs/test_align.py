"""evaluate --align: what it prints and writes, how it samples, and what it refuses."""

import json

import numpy as np
import pytest

from urlvr_jax import config
from urlvr_jax.errors import UserError
from urlvr_jax.verbs import align, command_line, evaluate

ALWAYS = {
    "self_certainty",
    "token_level_entropy",
    "probability",
    "majority_voting",
    "empo",
    "weighted_voting",
}


def flags(*words):
    return command_line.parse(["main.py", "evaluate", "--align", "--model=lab:plain", *words]).flags


def refused(*words) -> str:
    with pytest.raises(UserError) as error:
        evaluate.run(flags(*words))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_it_prints_one_object_and_writes_a_row_for_each_question_too(capsys, tmp_path):
    out = tmp_path / "aligned.json"
    words = ["--data=lab:train", "--config.eval.max_questions=20", "--config.eval.k=6", f"--out={out}"]
    words += [
        "--config.rollout.slots=8"
    ]  # so that the questions are sampled in several chunks, the last not full
    expression = "group_z(self_certainty) + 0.1*format"
    assert evaluate.run(flags(*words, f"--config.reward.name={expression}")) == 0
    printed, written = json.loads(capsys.readouterr().out), json.loads(out.read_text())
    rows = written.pop("questions")["lab:train"]
    assert printed == written
    assert (printed["k"], printed["temperature"], printed["top_p"], printed["advantage"]) == (
        6,
        1,
        1,
        "grpo",
    )
    of_set = printed["sets"]["lab:train"]
    of, votes = of_set["alignment"]["rewards"], of_set["alignment"]["votes"]
    assert set(of) >= ALWAYS | {expression} and list(of_set["alignment"]["left_out"]) == ["covo"]
    assert not set(of) & {"ground_truth", "verifier", "self_verify", "co_reward"}
    assert of_set["questions"] == len(rows) == 20 == sum(b["questions"] for b in votes["calibration"])
    assert [row["id"] for row in rows] == [f"train/{i}" for i in range(20)]
    for name in of:
        known = [row["auc"][name] for row in rows if row["auc"][name] is not None]
        assert len(known) == of[name]["auc/questions"] and np.mean(known) == pytest.approx(of[name]["auc"])
        assert of[name]["verdict"] in ("helps", "harms", "not decided")
    assert np.mean([row["accuracy"] for row in rows]) == pytest.approx(of_set["avg@6"])
    assert np.mean([row["majority_right"] for row in rows]) == of_set["maj@6"] == votes["predicted_limit"]
    assert np.mean([row["majority_share"] for row in rows]) == pytest.approx(votes["majority_share"])
    assert of["majority_voting"]["highest_paid_right"] == of_set["maj@6"], "no group is without an answer"
    assert of["probability"]["auc"] == pytest.approx(of["trajectory_level_entropy_sum"]["auc"], abs=0.02)
    assert of["trajectory_level_entropy"]["verdict"] == "helps"


def test_the_group_of_training_is_sampled_unless_k_is_typed():
    c = config.default()
    c.eval.k, c.rollout.group, c.rollout.temperature = 3, 5, 0.9
    assert align.how(flags(), c) == dict(k=5, temperature=0.9, top_p=1.0, top_k=0)
    assert align.how(flags("--config.eval.k=3"), c) == dict(k=3, temperature=0.9, top_p=1.0, top_k=0)


def test_rewards_that_read_labels_or_ask_the_policy_again_are_left_out_and_told():
    c = config.default()
    for name, why in (
        ("ground_truth", "labels"),
        ("0.5*self_verify", "generation"),
        ("co_reward", "wording"),
        ("covo", "scored after"),
    ):
        c.reward.name = name
        fns, left_out = align.rewards_for(c)
        assert name not in fns and why in left_out[name] and set(fns) >= ALWAYS
    c.reward.name, c.reward.shadow = "length", ("format", "empo(low=0.1)", "empo")
    fns, left_out = align.rewards_for(c)
    assert set(left_out) == {"covo"} and list(fns)[-3:] == ["length", "format", "empo(low=0.1)"]


def test_questions_without_labels_are_refused(tmp_path):
    file = tmp_path / "unlabelled.jsonl"
    file.write_text('{"prompt": "Q1+2?", "answer": 3}\n{"prompt": "Q3+4?"}\n')
    said = refused(f"--data={file}")
    assert "unlabelled.jsonl" in said and "line 2" in said and "needs `answer` in every row" in said


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--config.eval.k=1", "eval.k = 1 --config.eval.k=8"),
        ("--config.eval.temperature=0.6", "eval.temperature = 0.6 rollout.temperature leave"),
        ("--config.eval.top_p=0.9", "eval.top_p = 0.9 leave"),
        ("--config.eval.top_k=20", "eval.top_k = 20 leave"),
    ],
)
def test_another_sampling_is_refused_by_its_key(words, expected):
    said = refused("--data=lab:train", words)
    for word in expected.split():
        assert word in said, said
