"""An error of a verb names the flag or key that is amiss, and what to give."""

import json

import pytest
from launcher import TINY

from urlvr_jax import config
from urlvr_jax.errors import UserError
from urlvr_jax.verbs import (
    answers,
    command_line,
    countdown,
    evaluate,
    export,
    generate,
    opened,
    rewards,
    score,
)


def flags(*words):
    """What these words give a verb, which is found out by its flags alone."""
    return command_line.parse(["main.py", *words]).flags


def refused(run, *words) -> str:
    with pytest.raises(UserError) as error:
        run(flags(*words))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def run(tmp_path):
    """The folder of a run that has begun and has no checkpoint."""
    c = config.default()
    c.update_from_flattened_dict({k: v for k, v in TINY.items() if not isinstance(v, str)})
    c.rollout.response_buckets = (8,)
    c.model.path, c.model.init = "lab:untrained", "random"
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config.flat(c)))
    (folder / "record.json").write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("verb", "words", "expected"),
    [
        (evaluate, "evaluate", "--model missing lab:plain"),
        (generate, "generate", "--model missing lab:plain"),
        (score, "score --model=lab:plain", "--data missing file `prompt` `response`"),
        (export, "export --model=lab:plain", "--out missing folder"),
        (answers, "answers", "--data missing file `response`"),
        (countdown, "countdown", "--out missing file"),
        (score, "score --data=no.jsonl", "--data no.jsonl exist"),
        (answers, "answers --data=no.jsonl", "--data=no.jsonl exist"),
        (rewards, "rewards --out=no.md", "--out=no.md exist"),
        (export, "export --out=tests", "--out=tests empty new folder"),
        (evaluate, "evaluate --out=no/such.json", "--out=no/such.json folder"),
        (generate, "generate --model=lab:plain --step=3", "--step=3 run's --model=lab:plain"),
        (generate, "generate --model=no/where/here", "--model=no/where/here exist lab:NAME"),
    ],
)
def test_a_flag_that_is_missing_or_leads_nowhere_is_named(verb, words, expected):
    said = refused(verb.run, *words.split())
    for word in expected.split():
        assert word in said, said


def test_a_run_without_a_checkpoint_says_when_it_makes_one(run):
    assert refused(opened.open_flag, "generate", f"--model={run}") == (
        f"--model={run}: this run has no checkpoint yet; it makes one every 2 steps"
    )


def test_a_folder_within_a_run_leads_to_the_run(run):
    (run / "checkpoints").mkdir()
    said = refused(opened.open_flag, "generate", f"--model={run / 'checkpoints'}")
    assert said.endswith(f"a run is given by its own folder, --model={run}")


def test_a_run_whose_base_is_gone_names_the_key(run):
    file = run / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model.path": "gone/away/x"}))
    said = refused(opened.open_flag, "generate", f"--model={run}")
    assert "gone/away/x" in said and said.endswith("give --config.model.path=FOLDER")


def test_lengths_beyond_the_model_name_the_keys_and_by_how_much():
    longer = ["--config.rollout.max_new_tokens=500", "--config.rollout.response_buckets=500"]
    said = refused(opened.open_flag, "generate", "--model=lab:plain", *longer)
    for word in ("--model=lab:plain", "data.prompt_buckets", "rollout.max_new_tokens", "by 388"):
        assert word in said, said


def test_a_prompt_that_is_too_long_says_what_to_type(tmp_path):
    long = "Q1+2+3+4+5+6+7+8+9?"
    said = refused(generate.run, "generate", "--model=lab:plain", f"--prompt={long}")
    assert "19 tokens" in said and said.endswith("--config.data.prompt_buckets=32")
    file = tmp_path / "long.jsonl"
    file.write_text(json.dumps({"prompt": long, "answer": 45}) + "\n")
    said = refused(evaluate.run, "evaluate", "--model=lab:plain", f"--data={file}")
    assert said.startswith("--data: ") and said.endswith("--config.data.prompt_buckets=32")


def test_an_evaluation_set_of_the_configuration_that_is_not_there_names_its_key():
    said = refused(evaluate.run, "evaluate", "--model=lab:plain", "--config.eval.sets=no.jsonl")
    assert said.startswith("eval.sets: ") and "no.jsonl" in said


def test_a_row_to_score_that_is_too_long_is_named(tmp_path):
    file = tmp_path / "completions.jsonl"
    rows = [{"prompt": "Q1+2?", "response": text} for text in ("A3", "1" * 200)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = refused(score.run, "score", "--model=lab:plain", f"--data={file}")
    assert "line 2" in said and "206 tokens" in said and "128" in said
