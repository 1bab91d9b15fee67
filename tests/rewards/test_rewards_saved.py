"""Saved completions: the verb `score`, and what a broken file is told."""

import json

import helpers
import numpy as np
import pytest

from urlvr_jax import errors
from urlvr_jax.models import folders
from urlvr_jax.runtime.engine import Engine
from urlvr_jax.runtime.opening import open_model
from urlvr_jax.verbs import score as score_verb

QUESTIONS = {"Q1+2?": "3", "Q16-13+2?": "5", "Q2+2?": "4"}
RESPONSES = ["A3", "1+2=3;A3", "A4", ""]


def rows(**changes):
    """Three prompts, their rows interleaved."""
    return [
        {"prompt": q, "response": r, "answer": a} | changes for r in RESPONSES for q, a in QUESTIONS.items()
    ]


def written(folder, lines):
    file = folder / "saved.jsonl"
    file.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines))
    return file


@pytest.fixture(scope="module")
def opened():
    """(engine, parameters, tokenizer) of a base that ships, under a configuration of another shape."""
    c = helpers.experiment(model__path="lab:plain", rollout__temperature=0.8, mesh__data=8)
    path, model_config, tokenizer = open_model(c)
    engine = Engine(c, model_config, tokenizer.stop_ids)
    return engine, engine.place(folders.load(path, model_config)), tokenizer


@pytest.fixture
def scored(opened, tmp_path, monkeypatch):
    engine, params, tokenizer = opened

    def score(lines, at_once=8, **reward):
        monkeypatch.setattr(score_verb, "ROWS_AT_ONCE", at_once)
        c = engine.c.copy_and_resolve_references()
        c.update_from_flattened_dict({f"reward.{k}": v for k, v in reward.items()})
        one = Engine(c, engine.model_config, engine.stop_ids)
        return score_verb.rewards_of(
            one, params, tokenizer, score_verb.read(str(written(tmp_path, lines))), 0
        )

    return score


def test_rows_come_back_in_order_with_votes_of_their_own_prompt(scored):
    out = scored(rows(), name="majority_voting", shadow=("ttrl",))
    assert [line["line"] for line in out] == list(range(1, 13))
    assert [(line["prompt"], line["response"]) for line in out] == [
        (r["prompt"], r["response"]) for r in rows()
    ]
    for line in out:
        assert line["reward"] == line["shadows"]["ttrl"] == float(line["answer"] == "3")
        assert line["correct"] == (line["answer"] == QUESTIONS[line["prompt"]])
        assert line["tokens"] == len(line["response"]) + 1  # the end token
    unlabelled = [{k: v for k, v in r.items() if k != "answer"} for r in rows()]
    assert "correct" not in scored(unlabelled, name="majority_voting")[0]


def test_saved_completions_have_the_statistics_of_the_model_at_the_temperature(opened, scored):
    engine, params, tokenizer = opened
    lines = rows(ended=False)[:9] + rows()[9:]
    out = scored(lines, name="trajectory_level_entropy_sum")
    host = {n: np.asarray(x) for n, x in params.items()}
    for line, row in zip(out, lines, strict=True):
        prompt, ids = tokenizer.encode(row["prompt"]), tokenizer.encode(row["response"])
        ids += [tokenizer.stop_ids[0]] * row.get("ended", True)
        z = (
            helpers.reference_logits(host, engine.model_config, np.array(prompt + ids))[len(prompt) - 1 :]
            / 0.8
        )
        want = sum(helpers.reference_statistics(z[t], y)["logp"] for t, y in enumerate(ids))
        helpers.assert_close([line["reward"]], [want], 3e-5)
        assert line["tokens"] == len(ids)


def test_how_many_rows_go_at_once_changes_no_reward(scored):
    one, two = (scored(rows(), n, name="self_certainty") for n in (4, 64))
    helpers.assert_close([x["reward"] for x in one], [x["reward"] for x in two])


def test_sums_show_their_terms_and_controls_need_answers(scored):
    out = scored(rows(), name="ground_truth + 0.1*length")
    for line in out:
        assert line["terms"]["ground_truth"] == float(line["correct"])
        np.testing.assert_allclose(
            line["reward"], line["correct"] + 0.1 * line["terms"]["length"], rtol=1e-6
        )
    lines = rows()
    for row in lines:
        if row["prompt"] == "Q2+2?":
            del row["answer"]
    with pytest.raises(errors.DataError, match="line 3: reward 'ground_truth' needs an `answer`"):
        scored(lines, name="ground_truth")


@pytest.mark.parametrize("lines, message", [
    ([], "no completions in it"),
    ([{"prompt": "Q1+2?", "response": "A3"}, "{"], "line 2: not JSON in UTF-8"),
    ([{"prompt": "Q1+2?"}], "line 1: needs a string `response`"),
    ([{"prompt": "Q1+2?", "response": 3}], "line 1: needs a string `response`"),
    ([{"response": "A3"}], "line 1: needs a non-empty string `prompt`"),
    ([{"prompt": "Q1+2?", "response": "A3", "ended": 1}], "line 1: `ended` must be true or false"),
    ([{"prompt": "Q1+2?", "response": "A3", "answer": [3]}], "line 1: `answer` must be a string or a number"),
    ([{"prompt": "Q1+2?", "response": "\ud800"}], "line 1: `response` has half of a surrogate pair"),
    (rows()[:-1], "line 9: prompt 'Q2.2.' has 3 rows, the one in line 1 has 4.*of one size"),
    ([*rows()[:-1], rows()[-1] | {"answer": "7"}], "line 12: `answer` '7', but '4' in line 3"),
])  # fmt: skip
def test_a_broken_row_is_named_by_file_and_line(scored, lines, message):
    with pytest.raises(errors.DataError, match=f"saved.jsonl.*{message}"):
        scored(lines, name="format")


def test_the_verb_writes_one_line_a_row(launcher, tmp_path):
    file = written(tmp_path, rows())
    words = ["score", "--model", "lab:plain", "--data", str(file)]
    call = launcher.run([*words, "--config.reward.name=probability_disparity"])
    assert call.status == 0, call.err
    lines = [json.loads(line) for line in call.out.splitlines()]
    assert [line["line"] for line in lines] == list(range(1, 13))
    for line in lines:
        assert (line["reward"] > 0) == (line["answer"] is not None)


@pytest.mark.parametrize("words, message", [
    ([], "--data is missing"),
    (["--data", "/nowhere.jsonl"], "'/nowhere.jsonl' does not exist"),
    (["--data", "FILE", "--config.reward.name=dupo"], "looks for a hidden part of the question: set verify.dual"),
    (["--data", "FILE", "--config.reward.name=self_verify", "--config.verify.dual=lab"], "set it to ''"),
    (["--data", "FILE", "--config.reward.name=rlccf"], "set data.votes"),
    (["--data", "FILE", "--config.reward.name=empo(lo=1)"], "reward.name = 'empo(lo=1)': reward 'empo' has no option"),
])  # fmt: skip
def test_the_verb_says_what_it_lacks(launcher, tmp_path, words, message):
    file = written(tmp_path, rows())
    call = launcher.run(["score", "--model", "lab:plain", *(w.replace("FILE", str(file)) for w in words)])
    assert call.status == 2 and message in call.err and "Traceback" not in call.err


def test_the_verb_rewards_lists_them_all(launcher):
    call = launcher.run(["rewards"])
    assert call.status == 0
    for word in (
        "probability_disparity",
        "mean_t KL(U || p_t) + log V",
        "empo(low=0.0, high=1.0)",
        "2504.16084",
    ):
        assert word in call.out
