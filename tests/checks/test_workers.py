"""The pool of killable graders, and the verb that reads a file of responses."""

import importlib.util
import json
import os
import signal
import time

import pytest
from ml_collections import ConfigDict

from urlvr_jax.answers import saved
from urlvr_jax.checks import workers
from urlvr_jax.errors import DataError

GRADER = """
import os, time
def grade(pair):
    gold, answer = pair
    if answer == "hang":
        while True: pass
    if answer == "die":
        os._exit(3)
    if answer == "raise":
        raise ValueError("no")
    if answer == "slow":
        time.sleep(0.3)
    if answer == "pid":
        open(gold, "a").write(str(os.getpid()) + "\\n"); time.sleep(0.4)
    if answer == "noise":
        print("a line of noise")
    return gold == answer
"""


@pytest.fixture
def grader(tmp_path, monkeypatch):
    (tmp_path / "a_grader.py").write_text(GRADER)
    monkeypatch.syspath_prepend(tmp_path)
    return "a_grader:grade"


def test_verdicts_come_in_order_and_submitting_does_not_wait(grader):
    with workers.Pool(grader, 2, 20, call="") as pool:
        began = time.perf_counter()
        futures = pool.submit([("x", "slow")] + [(str(i), str(i % 3)) for i in range(9)])
        assert time.perf_counter() - began < 0.25
        assert [f.result().verdict for f in futures] == [False] + [i < 3 for i in range(9)]
        judged = pool.begin([("a", "noise"), ("é\ud800", "é\ud800")])()
        assert judged == ([False, True], 0, 0, 0, "")


def test_hanging_and_dying_graders_cost_their_own_verdict_only(grader):
    with workers.Pool(grader, 1, 0.5, call="") as pool:
        pairs = [
            ("1", "1"),
            ("1", "hang"),
            ("2", "2"),
            ("1", "die"),
            ("3", "3"),
            ("1", "raise"),
            ("4", "5"),
        ]
        judged = pool.begin(pairs)()
        assert judged.verdicts == [True, None, True, None, True, None, False]
        assert (judged.late, judged.lost, judged.failed) == (1, 1, 1)
        assert judged.error.startswith("ValueError: no (") and "a_grader.py, line " in judged.error


def test_killing_a_worker_loses_nothing(grader, tmp_path):
    note = tmp_path / "pids"
    with workers.Pool(grader, 1, 20, call="") as pool:
        futures = pool.submit([(str(note), "pid"), ("2", "2"), ("3", "4")])
        while not (note.exists() and note.read_text().endswith("\n")):
            time.sleep(0.02)
        os.kill(int(note.read_text()), signal.SIGKILL)
        assert [f.result().verdict for f in futures] == [False, True, False]
        assert len(set(note.read_text().split())) == 2


def test_closing_ends_a_hanging_worker_and_cancels_what_waits(grader):
    pool = workers.Pool(grader, 1, 60, call="")
    first, second = pool.submit([("1", "hang"), ("1", "1")])
    while not first.running():
        time.sleep(0.01)
    pool.close()
    assert first.result().verdict is None and second.cancelled()
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit([("1", "1")])


def test_a_grader_that_is_not_there_is_an_error():
    with (
        workers.Pool("no_such_module:grade", 1, call="") as pool,
        pytest.raises(workers.GraderError, match="no_such_module"),
    ):
        pool.begin([("1", "1")])()
    with pytest.raises(ValueError, match="workers"):
        workers.Pool(workers=0)


def settings(**changes):
    return ConfigDict(
        {"style": "boxed", "compat": False, "compat_workers": 1, "compat_deadline_s": 20.0} | changes
    )


ROWS = [
    {"response": r"so \boxed{\frac12}", "answer": "0.5"},
    {"response": r"so \boxed{50}", "answer": r"50\%"},
    {"response": "nothing", "answer": 4},
    {"response": r"\boxed{x+1}"},
]


def test_the_verb_prints_a_line_a_row_and_counts_broken_ones(tmp_path, capsys):
    file = tmp_path / "responses.jsonl"
    broken = [b"not json", b'{"response": 5}', b"[1]", b'"\xff"', b'{"response": "", "answer": [1]}']
    file.write_bytes(b"\n".join([json.dumps(r).encode() for r in ROWS] + broken + [b"", b""]))
    assert saved.read_file(settings(), str(file)) == 0
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert [row["key"] for row in lines] == ["1/2", "50", None, "x+1"]
    assert [row["verdict"] for row in lines] == [True, False, False, None]
    assert lines[0]["span"] == [10, 17] and lines[0]["gold_key"] == "1/2"
    for number in range(5, 10):
        assert f"{file}, line {number}: " in err
    assert err.splitlines()[-1].endswith(
        "9 rows, 5 broken, 3 with an answer; 1 right of 3 with a gold answer"
    )
    with pytest.raises(DataError, match="does not exist"):
        saved.read_file(settings(), str(tmp_path / "absent"))


@pytest.mark.skipif(importlib.util.find_spec("math_verify") is None, reason="math-verify is not installed")
def test_the_compat_grader_is_math_verify(tmp_path, capsys):
    file = tmp_path / "responses.jsonl"
    file.write_text("\n".join(map(json.dumps, ROWS)))
    saved.read_file(settings(compat=True), str(file))
    out, err = capsys.readouterr()
    assert [json.loads(line).get("math_verify") for line in out.splitlines()] == [True, True, None, None]
    assert "math-verify says otherwise in 1, no verdict in 0 (deadline) + 0 (lost)" in err
