"""Python programs as the judge: tests of a row or a question, and what a given program does."""

import contextlib
import json
import os
import pathlib
import signal
import time

import helpers
import numpy as np
import pytest
from test_sandbox import needs_sandbox

from urlvr_jax import config, validation
from urlvr_jax.answers.classes import read_answers
from urlvr_jax.answers.extract import extract, fences
from urlvr_jax.checks import python_programs, sandbox, table
from urlvr_jax.checks.grading import Asked
from urlvr_jax.checks.python_programs import UnitTest, python_tasks, read_tests, task_of, unit_tests
from urlvr_jax.checks.workers import Pool
from urlvr_jax.config import ConfigError
from urlvr_jax.errors import DataError
from urlvr_jax.rewards import expression
from urlvr_jax.rewards.interface import RewardError
from urlvr_jax.runtime import opening, own_rows
from urlvr_jax.types import Prompts

MBPP = {
    "test_list": [
        "assert similar((3, 4, 5, 6), (5, 7, 4, 10)) == (4, 5)",
        "assert set(similar((1, 2, 3, 4), (5, 4, 3, 7))) == set((3, 4))",
    ]
}
APPS = {"input_output": json.dumps({"inputs": ["1\n", ["2", "x"]], "outputs": ["2\n", "3"]})}
CALLED = {"input_output": {"fn_name": "add", "inputs": [[1, 2], [[1], [2]]], "outputs": [3, [[1, 2]]]}}
PLAIN = {"tests": [{"input": "4\n", "output": "5"}]}
SIMILAR = "def similar(a, b):\n    return tuple(sorted(set(a) & set(b)))"
PLUS_ONE = "print(int(input().split()[0]) + 1)   \n\n"
DEDUCTION = "What?\n```python\ndef f(x, s):\n    return s * x\n```\n```input\n3, 'ab'\n```"
ABDUCTION = DEDUCTION.replace("```input\n3, 'ab'", "```output\n'aaaa'")


@pytest.fixture
def c():
    c = config.default()
    c.answers.workers, c.answers.style, c.mesh.data = 1, "fence", 8
    return c


def fenced(text, name="python"):
    return f"Here:\n```{name}\n{text}\n```\n"


# ---- what is read ------------------------------------------------------------------------------


def test_the_last_block_that_is_closed_and_not_empty_is_the_answer():
    text = "```python\na = 1\n```\nand\n```\nb = 2\n```\n```\n```\n```python\nc ="
    found = extract(text, "fence")
    assert found.text == "b = 2" and text[found.start : found.end] == found.text
    assert fences(text) == [("python", "a = 1"), ("", "b = 2"), ("", "")]
    assert extract("no block, `one` or ``two``", "fence") is None


@pytest.mark.parametrize(
    "row, tests",
    [
        (MBPP, [UnitTest("similar((3, 4, 5, 6), (5, 7, 4, 10))", (4, 5), True), UnitTest("set(similar((1, 2, 3, 4), (5, 4, 3, 7)))", {3, 4}, True)]),
        (APPS, [UnitTest("1\n", "2\n", False), UnitTest("2\nx", "3", False)]),
        (PLAIN, [UnitTest("4\n", "5", False)]),
        ({"tests": json.dumps(PLAIN["tests"])}, [UnitTest("4\n", "5", False)]),
        ({"tests": "assert f(1) == 2\nassert 3 == f(2)"}, [UnitTest("f(1)", 2, True), UnitTest("f(2)", 3, True)]),
        ({"tests": ["assert f(1)"]}, [UnitTest("bool(f(1))", True, True)]),
        ({"tests": ["assert abs(f(1) - 2) < 1e-6"]}, [UnitTest("bool(abs(f(1) - 2) < 1e-06)", True, True)]),
        ({"tests": PLAIN["tests"], "test_list": ["nonsense"]}, [UnitTest("4\n", "5", False)]),
    ],
)  # fmt: skip
def test_tests_are_read_as_public_files_write_them(row, tests):
    assert read_tests(row, "the question: assert f(9) == 9") == tests


def test_tests_of_the_question_are_its_assert_lines_where_the_row_has_none():
    question = "Write f. Your code should pass:\nassert f(1) == 2\n  assert f(2) == 3\nIt asserts this."
    assert read_tests({}, question) == [UnitTest("f(1)", 2, True), UnitTest("f(2)", 3, True)]
    assert read_tests({"tests": None, "prompt": "p"}, question) == read_tests({}, question)


@pytest.mark.parametrize(
    "row, said",
    [
        ({"prompt": "p"}, r"no tests: it has no column tests or test_list or input_output, .* its columns are \['prompt'\]"),
        ({"tests": 5}, "`tests` is '5': give a list of assert statements"),
        ({"tests": []}, r"`tests` is '\[\]'"),
        ({"tests": ["x = 1"]}, "`tests` has 'x = 1': give assert statements alone"),
        ({"tests": ["assert ("]}, r"`tests` has 'assert \(', which is no Python"),
        ({"tests": ["assert " + "(" * 5000 + ")" * 5000]}, "which is no Python"),
        ({"tests": ["assert " + "x" * 30000]}, "a test of 30007 characters: at most 20000"),
        ({"tests": "[1"}, "`tests` is no JSON"),
        ({"tests": [{"input": 1, "output": "1"}]}, "give an assert statement, or {input, output} as texts"),
        ({"input_output": {"inputs": [1], "outputs": []}}, "needs lists `inputs` and `outputs` of one length"),
        ({"input_output": {"inputs": [1], "outputs": [1], "fn_name": "f"}}, "fn_name 'f' needs a name"),
        ({"input_output": {"inputs": [[1]], "outputs": [1], "fn_name": "f();x"}}, "fn_name"),
    ],
)  # fmt: skip
def test_tests_that_are_missing_or_malformed_are_one_line_with_their_question(row, said):
    with pytest.raises(DataError, match=said) as error:
        python_programs.require("unit_tests", ["Write f"], [row])
    assert str(error.value).startswith("unit_tests, question 'Write f': ") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "question, said",
    [
        ("What is 2+2?", r"needs a question with a fenced block ```python, .*it has \[\]"),
        (DEDUCTION + "\n```output\n1\n```", r"it has \['input', 'output', 'python'\]"),
        (DEDUCTION.replace("def f", "deff f"), "its program is no Python"),
        (DEDUCTION.replace("def f(x, s):\n    return", "f ="), "defines no function"),
        (DEDUCTION.replace("'ab'", "ab"), "its input '3, ab' is no Python literal"),
        (DEDUCTION.replace("def f", "#" * 10_000_000 + "\ndef f"), "a program of 10000030 characters: at most 100000 are run"),
    ],
)  # fmt: skip
def test_a_question_without_a_task_is_one_line(question, said):
    with pytest.raises(DataError, match=said) as error:
        python_programs.require("python_tasks", [DEDUCTION, question])
    assert "\n" not in str(error.value)


# ---- what is run -------------------------------------------------------------------------------


@needs_sandbox
@pytest.mark.parametrize(
    "program, row, share",
    [
        (SIMILAR, MBPP, 1.0),
        ("def similar(a, b): return (4, 5)", MBPP, 0.5),
        ("def similar(a, b): return [4, 5]", MBPP, 0.0),
        (PLUS_ONE, APPS, 1.0),
        ("print(2)", APPS, 0.5),
        ("print(2)\nraise ValueError", APPS, 0.0),
        ("class Solution:\n    def add(self, a, b): return a + b", CALLED, 1.0),
        ("def add(a, b): return (a, b)", CALLED, 0.0),
        ("def similar(a, b):\n    while True: pass", MBPP, 0.0),
        (None, MBPP, 0.0),
    ],
)
def test_the_share_of_tests_that_a_program_passes(program, row, share):
    assert unit_tests(program, read_tests(row, ""), 3.0) == share


@needs_sandbox
def test_a_program_that_claims_a_verdict_or_lies_about_equality_is_not_paid():
    tests = read_tests({"tests": ["assert f(3) == 815731"]}, "")
    for program in (
        "class A:\n    def __eq__(self, o): return True\ndef f(x): return A()",
        "import os\nos.write(1, b'=815730\\n' * 9)\nos._exit(0)",
        "import sys\nprint(1)\nsys.exit(0)",
    ):
        assert unit_tests(program, tests, 5.0) == 0


@needs_sandbox
def test_absolute_zeros_two_tasks():
    deduction, abduction = task_of(DEDUCTION), task_of(ABDUCTION)
    assert [
        python_tasks(a, deduction, 5.0) for a in ("'ababab'", '"ababab"', "'abab'", "ababab", None)
    ] == [1, 1, 0, 0, 0]
    answers = (
        "4, 'a'",
        "2, 'aa'",
        "1, 'aaaa'",
        "4, 'b'",
        "4",
        "len('aaaa'), 'a'",
        "__import__('os'), 'a'",
        "",
        None,
    )
    assert [python_tasks(a, abduction, 5.0) for a in answers] == [1, 1, 1, 0, 0, 0, 0, 0, 0]


@needs_sandbox
def test_the_check_judges_a_step_and_counts_what_could_not_be_run(c):
    c.answers.check = "unit_tests"
    check = table.of(c)
    texts = [fenced(SIMILAR), fenced("def similar(a, b): return (4, 5)"), "none", fenced("#" * 200_000)]
    answers = read_answers(texts, 4, "fence", check.key_of)
    found = check.grade(answers, Asked(("q",), ("q",), None, [MBPP]))
    assert found.correct.tolist() == [[True, False, False, False]]
    np.testing.assert_array_equal(found.scores, [[1, 0.5, 0, 0]])
    assert found.ungraded == {"late": 0, "lost": 0, "failed": 1, "none": 0}
    assert "a program of 200000 characters: at most 100000 are run" in found.error
    c.answers.check = "python_tasks"
    check = table.of(c)
    answers = read_answers([fenced("'ababab'", "output"), fenced("1", "output")], 2, "fence", check.key_of)
    assert check.grade(answers, Asked((DEDUCTION,), ("",), None)).correct.tolist() == [[True, False]]


@needs_sandbox
def test_a_program_whose_worker_is_killed_is_run_once_more(tmp_path):
    program = "import time\ntime.sleep(1)\ndef f(x): return x + 1"
    task = {
        "answer": program,
        "question": "assert f(1) == 2",
        "row": {},
        "gold": None,
        "response": "",
        "prompt": "",
    }
    with Pool("unit_tests:20.0", 1, 30.0, call="urlvr_jax.checks.python_programs:for_worker") as pool:
        wait = pool.begin([task])
        end = time.monotonic() + 60
        while not (running := children_with(b"/inside.py")) and time.monotonic() < end:
            time.sleep(0.05)
        os.kill(running[0], signal.SIGKILL)
        found = wait()
    assert found.verdicts == [[1.0, True]] and found.lost == 0


def children_with(words: bytes) -> list[int]:
    """Processes of this one that have a sandbox with these words as their child."""
    parents = {}
    for folder in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            parents[int(folder.name)] = parent, (folder / "cmdline").read_bytes()
    return [
        up for up, said in parents.values() if words in said and parents.get(up, (0,))[0] == os.getpid()
    ]


@needs_sandbox
def test_the_rewards_without_labels_are_handed_the_question_alone(c):
    question = "Write f.\nassert f(1) == 2\nassert f(2) == 5"
    prompts = Prompts(("0",), (question,), np.zeros((1, 1), np.int32), np.ones(1, np.int32), (question,))
    texts = [fenced("def f(x): return x * x + 1"), fenced("def f(x): return x + 1"), "no"]
    passed = own_rows.outside(c, read_answers(texts, 3, "fence", str.strip), prompts, "unit_tests")
    np.testing.assert_array_equal(passed, [[1, 0.5, 0]])
    for name, expected in (("unit_tests", [[1, 0, 0]]), ("unit_tests(mode='share')", [[1, 0.5, 0]])):
        fn = expression.load(name)
        given = helpers.reward_inputs(fn, lengths=np.ones(3, np.int32), group=3, tests_passed=passed)
        np.testing.assert_array_equal(np.asarray(expression.compute(fn, given)), expected)
        assert not expression.needs_labels(fn)
    texts = [fenced("'ababab'", "output"), fenced("2", "output")]
    prompts = Prompts(("0",), ("x",), np.zeros((1, 1), np.int32), np.ones(1, np.int32), (DEDUCTION,))
    solved = own_rows.outside(c, read_answers(texts, 2, "fence", str.strip), prompts, "python_tasks")
    fn = expression.load("python_tasks")
    given = helpers.reward_inputs(fn, lengths=np.ones(2, np.int32), group=2, task_solved=solved)
    np.testing.assert_array_equal(np.asarray(expression.compute(fn, given)), [[1, 0]])
    with pytest.raises(RewardError, match=r"choose one of \['all', 'share'\]"):
        expression.load("unit_tests(mode='most')")


# ---- before the run starts ---------------------------------------------------------------------


def test_processes_to_run_programs_are_asked_for(c):
    c.answers.workers = 0
    for name in python_programs.JUDGES:
        c.answers.check = name
        with pytest.raises(
            ConfigError, match=rf"'{name}' runs programs beside the device: --config.answers.workers=2"
        ):
            validation.validate(c, 8)
    c.answers.check, c.reward.name = "gold", "python_tasks"
    with pytest.raises(ConfigError, match="reward 'python_tasks' runs programs beside the device"):
        opening.require_programs(c, expression.load_configured(c), [DEDUCTION])


def test_without_a_sandbox_a_run_that_needs_one_does_not_start(c, monkeypatch):
    def none():
        raise sandbox.SandboxError("this machine has none: install bubblewrap")

    monkeypatch.setattr(sandbox, "require", none)
    table._opened.cache_clear()
    c.answers.deadline_s = 7.0  # no check of another test
    c.answers.check = "unit_tests"
    with pytest.raises(sandbox.SandboxError, match="install bubblewrap"):
        opening.open_run(c)
    c.answers.check, c.reward.name = "gold", "unit_tests"
    with pytest.raises(sandbox.SandboxError, match="install bubblewrap"):
        opening.require_programs(c, expression.load_configured(c), ["assert f(1) == 2"])


@needs_sandbox
def test_a_question_that_a_reward_cannot_judge_is_found_before_the_run(c):
    c.reward.name = "unit_tests"
    with pytest.raises(DataError, match="question 'Q1\\+2\\?': this row|question 'Q1\\+2\\?': no tests"):
        opening.require_programs(c, expression.load_configured(c), ["Q1+2?"])
