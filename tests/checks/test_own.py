"""A check of one's own: what it is handed, how it is judged, and what becomes of one that hangs, dies or raises."""

import datetime
import json
import os
import signal
import time

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from urlvr_jax.answers.classes import read_answers
from urlvr_jax.checks import own
from urlvr_jax.checks.grading import Asked, CheckError
from urlvr_jax.data import files

MINE = """
import os, sys, time


def right(response, gold):
    return response.endswith(gold)


def by_answer(answer, question, row, *, slack=0):
    return answer is not None and float(answer) == row["nested"]["target"] + slack


def a_column(response, target):
    return len(response) / target


def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    return {"score": 0.25, "acc": solution_str[-1] == ground_truth and data_source == "lab" and extra_info is None}


def trl(completions, target, **columns):
    assert set(columns) == {"prompts", "answer", "nested", "data_source"}, sorted(columns)
    return [c[-1] == str(t) for c, t in zip(completions, target, strict=True)]


def conversational(completions, prompts, **columns):
    assert prompts[0][-1]["role"] == "user"
    return [1.0 if c[0]["content"].startswith("A3") and c[0]["role"] == "assistant" else 0.0 for c in completions]


async def later(completions, **columns):
    return [c.startswith("A3") for c in completions]


def tokens(completions, completion_ids, **columns):
    return [True]


def everything(**anything):
    return True


def misbehaves(response):
    print("a line of noise")
    if response == "hang":
        while True:
            pass
    if response == "die":
        os._exit(3)
    if response == "leave":
        sys.exit(0)
    if response == "raise":
        raise ValueError("no")
    if response == "nan":
        return float("nan")
    if response == "text":
        return "yes"
    return None if response == "none" else True


def slow(response):
    time.sleep(0.2)
    open(os.environ["NOTE"], "a").write(f"{os.getpid()} {response}\\n")
    return response == "3"


def no_response(gold):
    return True
"""
QUESTIONS = ("Q1+2?", "Q4+4?")
ROWS = [
    {"prompt": q, "answer": a, "target": t, "nested": {"target": t}, "data_source": "lab"}
    for q, a, t in zip(QUESTIONS, ("3", "8"), (3, 8), strict=True)
]


@pytest.fixture
def mine(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    return str(file)


def graded(where, texts, workers=0, deadline_s=20.0, asked=None):
    """What a check finds of responses to two questions."""
    check = own.load(where, workers, deadline_s)
    asked = asked or Asked(QUESTIONS, QUESTIONS, ["3", "8"], ROWS)
    return check.grade(read_answers(texts, len(texts) // 2, "lab", check.key_of), asked)


@pytest.mark.parametrize(
    "name, right, scores",
    [
        ("right", [[1, 0], [1, 0]], None),
        ("by_answer", [[1, 0], [1, 0]], None),
        ("a_column", [[0, 1], [0, 0]], [[2 / 3, 2 / 3], [2 / 8, 1 / 8]]),
        ("compute_score", [[1, 0], [1, 0]], [[0.25] * 2] * 2),
        ("trl", [[1, 0], [1, 0]], None),
    ],
)
@pytest.mark.parametrize("workers", [0, 1])
def test_a_function_is_handed_what_its_parameters_are_called(mine, name, right, scores, workers):
    found = graded(f"{mine}:{name}", ["A3", "A4", "A8", "8"][:3] + ["B"], workers)
    if name == "a_column":
        right = [[1, 1], [0, 0]]  # above a half
    assert found.correct.tolist() == np.array(right, bool).tolist()
    np.testing.assert_allclose(found.scores, right if scores is None else scores, rtol=1e-6)
    assert found.scores.dtype == np.float32 and not any(found.ungraded.values())


def test_a_function_says_whether_it_needs_gold_answers(mine):
    assert (
        own.load(f"{mine}:right", 0, 1.0).needs_gold
        and own.load(f"{mine}:compute_score", 0, 1.0).needs_gold
    )
    assert (
        not own.load(f"{mine}:by_answer", 0, 1.0).needs_gold
        and not own.load(f"{mine}:trl", 0, 1.0).needs_gold
    )
    without = Asked(QUESTIONS, QUESTIONS, None, ROWS)
    assert graded(f"{mine}:right", ["A3", "A8"], asked=without).correct is None
    assert graded(f"{mine}:by_answer", ["A3", "A8"], asked=without).correct.all()


@pytest.mark.parametrize("workers", [0, 2])
def test_what_a_function_does_not_judge_is_wrong_and_counted(mine, workers):
    texts = ["a", "raise", "nan", "text", "leave", "none"] + (["hang", "die"] if workers else ["b", "b"])
    found = graded(f"{mine}:misbehaves", texts, workers, 1.0)
    assert found.correct.reshape(-1).tolist() == [True] + [False] * 5 + [not workers] * 2
    assert found.ungraded == {"late": workers // 2, "lost": workers // 2, "failed": 4, "none": 1}
    assert "ValueError: no (" in found.error
    nothing = graded(f"{mine}:misbehaves", ["raise", "nan"], workers, 1.0)
    assert nothing.correct is None and "none of 2 responses, 2 of them distinct, was judged" in nothing.why
    assert "ValueError: no (" in nothing.why and "mine.py, line " in nothing.why


def test_equal_responses_of_a_question_are_judged_once_beside_whatever_else_goes_on(
    mine, tmp_path, monkeypatch
):
    note = tmp_path / "note"
    monkeypatch.setenv("NOTE", str(note))
    check = own.load(f"{mine}:slow", 2, 20.0)
    answers = read_answers(["3", "4", "3", "3"] * 2, 4, "lab", check.key_of)
    grade = check.begin(answers, Asked(QUESTIONS, QUESTIONS, None, ROWS))
    while not note.exists():
        time.sleep(0.01)  # they are at work though nobody waits
    os.kill(int(note.read_text().split()[0]), signal.SIGKILL)
    assert grade().correct.tolist() == [[True, False, True, True]] * 2
    assert grade() is grade() and grade().ungraded["lost"] == 0
    assert len({line.split()[1] for line in note.read_text().splitlines()}) == 2
    assert len(note.read_text().splitlines()) <= 5  # four, and one that was begun again


def test_functions_for_chats_and_coroutines_are_called_as_they_are_meant(mine):
    rows = [row | {"prompt": [{"role": "user", "content": row["prompt"]}]} for row in ROWS]
    chats = Asked(QUESTIONS, QUESTIONS, ["3", "8"], rows)
    right = [[True, False], [False, False]]
    assert graded(f"{mine}:conversational", ["A3", "A4", "A8", "B"], asked=chats).correct.tolist() == right
    assert graded(f"{mine}:later", ["A3", "A4", "A8", "B"]).correct.tolist() == right
    with pytest.raises(
        CheckError, match=r"asks for \['completion_ids'\]: the question file has the columns"
    ):
        own.require_columns(f"{mine}:tokens", ROWS)


@pytest.mark.parametrize(
    "name, said",
    [
        ("no_response", "does not ask for the response: its parameters are ['gold']"),
        ("everything", "does not ask for the response"),
        ("absent", "has no function 'absent'"),
    ],
)
def test_a_function_that_cannot_be_a_check_is_refused_by_name(mine, name, said):
    with pytest.raises(CheckError) as error:
        own.load(f"{mine}:{name}", 0, 1.0)
    assert said in str(error.value) and "answers.check" in str(error.value)


def test_a_column_that_the_file_lacks_is_named_with_those_it_has(mine):
    own.require_columns(f"{mine}:a_column", ROWS)
    own.require_columns(f"{mine}:compute_score", [{"prompt": "a"}])
    with pytest.raises(
        CheckError, match=r"asks for \['target'\]: the question file has the columns \['prompt'\]"
    ):
        own.require_columns(f"{mine}:a_column", [*ROWS, {"prompt": "a"}])


@pytest.mark.parametrize("form", ["jsonl", "json", "parquet"])
def test_a_row_keeps_all_columns_where_they_are_asked_for(tmp_path, form):
    file = tmp_path / f"questions.{form}"
    rows = [row | {"tests": ["a", "b"]} for row in ROWS]
    if form == "parquet":
        rows = [row | {"day": datetime.date(2026, 3, 8)} for row in rows]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    else:
        text = json.dumps(rows) if form == "json" else "\n".join(map(json.dumps, rows))
        file.write_text(text)
    assert [row["row"] for row in files.read(str(file), {}, columns=True).rows] == rows
    assert "row" not in files.read(str(file), {}).rows[0]
