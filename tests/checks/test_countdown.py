"""Countdown: the exact checker, TinyZero's scorer, and tasks that can be solved."""

import itertools
import re
import time
import types
import warnings

import numpy as np
import pytest

from urlvr_jax.checks import countdown
from urlvr_jax.checks.countdown import Task
from urlvr_jax.config import ConfigError
from urlvr_jax.data.files import read_rows
from urlvr_jax.lab import countdown_world
from urlvr_jax.verbs import countdown as countdown_verb

TASK = Task((3, 7, 5), 26)
PARTS = ("train", "heldout")


@pytest.mark.parametrize(
    "question, want",
    [
        ("C3,7,5=26?", TASK),
        ("noise C1,2=3? then C3,7,5=26?", TASK),
        (countdown.sentence((3, 7, 5), 26), TASK),
        (
            "Using the numbers [3, 7, 5], create an equation that equals 26. You can use basic arithmetic operations "
            "(+, -, *, /) and each number can only be used once. Return the final equation in <answer> </answer> "
            "tags, for example <answer> (1 + 2) / 3 </answer>.",
            TASK,
        ),
        (
            "Using the numbers [19, 36, 55, 7], create an equation that equals 65.",
            Task((19, 36, 55, 7), 65),
        ),
        ("What is 3+4?", None),
        ("", None),
    ],
)
def test_a_task_is_read_from_its_question(question, want):
    assert countdown.parse(question) == want


@pytest.mark.parametrize(
    "expression, right",
    [
        ("3*7+5", True),
        (" 5 + 7*3 ", True),
        ("(7*3)+5", True),
        ("((5))+(7*3)", True),
        ("3*7+4", False),  # another number
        ("3*7", False),  # not every number
        ("3*7+5+5-5", False),  # a number twice
        ("3*7+5=26", False),
        ("26", False),
        ("+3*7+5", True),  # a sign at the start, after an operator, before a parenthesis
        ("3*7--5", True),
        ("5 - -3*7", True),
        ("-(-3*7-5)", True),
        ("5*-3", False),
        ("-3*7+5", False),
        ("3*7+5-", False),
        ("3*7*/5", False),
        ("3(7)+5", False),
        ("3*7+5)", False),
        ("(3*7+5", False),
        ("3.0*7+5", False),
        ("", False),
        (None, False),
        ("(" * 32 + "3*7+5" + ")" * 32, True),  # the limit
        ("(" * 33 + "3*7+5" + ")" * 33, False),
        ("(" * 500 + "3*7+5" + ")" * 500, False),
        ("003*07+5", True),  # leading zeros count for nothing
        ("3*7\n\t+5", True),
        ("3*7\u00a0+5", False),
        ("3*(7)(5)", False),
        ("3*7+5#", False),
        ("3*7+0x5", False),
        ("3*7+5_", False),
        ("3*7+\\\n5", False),
        ("३*7+5", False),  # a digit of another script is no digit here
    ],
)
def test_the_strict_check_accepts_exactly_the_solutions(expression, right):
    assert countdown.solves(expression, TASK) is right


@pytest.mark.parametrize(
    "expression, task, right",
    [
        ("8/(3-8/3)", Task((8, 3, 8, 3), 24), True),  # exact where floats are not
        ("7/(3-3)", Task((7, 3, 3), 1), False),
        ("2**3", Task((2, 3), 8), False),
        ("7//2", Task((7, 2), 3), False),
        ("1-2-3", Task((1, 2, 3), -4), True),  # from the left
        ("8/4/2", Task((8, 4, 2), 1), True),
        ("2+3*4", Task((2, 3, 4), 14), True),
        ("-2+5", Task((2, 5), 3), True),
        ("05-3", Task((3, 5), 2), True),
        ("05-3", Task((0, 5, 3), 2), False),  # one number, not two
        ("-2**2", Task((2, 2), -4), False),
        ("1_0+2", Task((10, 2), 12), False),
        ("00+7", Task((0, 7), 7), True),
        ("0 7+1", Task((0, 7, 1), 8), False),
        ("+".join("1" * 128), Task((1,) * 128, 128), True),  # no stack of ours is that shallow
        ("2+3*4", Task((2, 3, 4), 20), False),
    ],
)
def test_arithmetic_is_exact_and_from_the_left(expression, task, right):
    assert countdown.solves(expression, task) is right


@pytest.mark.parametrize(
    "text, task, score",
    [
        ("Assistant: <answer>3*7+5</answer>", TASK, 1.0),
        ("<|im_start|>assistant\nso <answer> 3*7+5 </answer><|im_end|>", TASK, 1.0),
        ("<answer>3*7+5</answer>", TASK, 0.0),  # nobody is said to answer
        ("Assistant: <answer>3*7+5</answer>\n", TASK, 0.0),  # not on the last line
        ("Assistant: 3*7+5", TASK, 0.0),
        ("Assistant: <answer>1</answer> <answer>3*7+5</answer>", TASK, 1.0),
        ("Assistant: <answer>3*7+5=26</answer>", TASK, 0.1),
        ("Assistant: <answer>3*5+7</answer>", TASK, 0.1),
        ("Assistant: <answer></answer>", TASK, 0.1),
        ("Assistant: <answer>2**3</answer>", Task((2, 3), 8), 1.0),  # the hole
        ("Assistant: <answer>7//2</answer>", Task((7, 2), 3), 1.0),
        ("Assistant: <answer>1.5*4</answer>", Task((1, 5, 4), 6), 1.0),
        ("Assistant: <answer>-2**2</answer>", Task((2, 2), -4), 1.0),
        ("Assistant: <answer>2**-1</answer>", Task((2, 1), 0), 0.1),
        ("Assistant: <answer>2*-3</answer>", Task((2, 3), -6), 1.0),
        ("Assistant: <answer>07+1</answer>", Task((7, 1), 8), 0.1),
        ("Assistant: <answer>1/0</answer>", Task((1, 0), 1), 0.1),
        ("Assistant: <answer>00*7+.5</answer>", Task((0, 7, 5), 0), 0.1),
        ("Assistant: <answer>00*7+1.</answer>", Task((0, 7, 1), 1), 1.0),
        ("Assistant: <answer>3(4)</answer>", Task((3, 4), 12), 0.1),
        ("Assistant: <answer>1 .5</answer>", Task((1, 5), 1), 0.1),
        ("Assistant: <answer>3\r+4</answer>", Task((3, 4), 7), 0.1),  # a new line to Python
        ("Assistant: <answer>...</answer>", Task((), 0), 0.1),  # Python's Ellipsis
        ("Assistant: <answer>()</answer>", Task((), 0), 0.1),
        ("Assistant: <answer>(-4)**.5//1</answer>", Task((4, 5, 1), 2), 0.1),  # of a complex number
        ("Assistant: <answer>9**9**9</answer>", Task((9, 9, 9), 1), 0.1),
        ("Assistant: <answer>1/9**9**9</answer>", Task((1, 9, 9, 9), 0), 0.1),
        ("Assistant: <answer>-+-+7</answer>", Task((7,), 7), 1.0),
        ("Assistant: <answer>" + "-" * 32 + "7</answer>", Task((7,), 7), 1.0),  # the limit
        ("Assistant: <answer>" + "-" * 34 + "7</answer>", Task((7,), 7), 0.1),
    ],
)
def test_tinyzero_scores_are_reproduced_with_their_holes(text, task, score):
    assert countdown.tinyzero_score(text, task) == score


def test_hostile_expressions_are_wrong_at_once():
    hostile = [
        "9**9**9",
        "(" * 10_000,
        "(" * 256,
        "(" * 127 + "7" + ")" * 127,
        "(-" * 85 + "7" + ")" * 85,
        "7**" * 84 + "7",
        "9" * 99 + "**" + "9" * 99,
        "*".join(["9" * 84] * 3) + "**9",
        "()" * 128,
        "1" * 100_000,
        "-" * 300 + "1",
        "1+" * 5000 + "1",
        "\ud800",
        "/" * 99,
    ]
    begun = time.perf_counter()
    for text in hostile:
        own = Task(tuple(int(n) for n in re.findall("[0-9]{1,99}", text)), 26)  # no number is amiss
        for task in (TASK, own):
            assert countdown.solves(text, task) is False
            assert countdown.tinyzero_score(f"Assistant: <answer>{text}</answer>", task) in (0.0, 0.1)
    assert time.perf_counter() - begun < 1


def test_python_has_no_warning_to_give_about_what_it_reads():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for text in ("3(4)", "(3)(4)", "3.(4)", "()()", "3 4", "1.5.2", "07", "0_7"):
            task = Task(tuple(int(n) for n in re.findall("[0-9]+", text)), 12)
            assert not countdown.solves(text, task)
            assert countdown.tinyzero_score(f"Assistant: <answer>{text}</answer>", task) == 0.1
    assert not seen


def _values(numbers):
    """Every value the numbers can be joined to, positive integers all the way."""
    if len(numbers) == 1:
        return {numbers[0]}
    out = set()
    for i, j in itertools.permutations(range(len(numbers)), 2):
        a, b = numbers[i], numbers[j]
        rest = tuple(n for k, n in enumerate(numbers) if k not in (i, j))
        for value in (a + b, a * b, a - b, a // b if a % b == 0 else 0):
            if value > 0:
                out |= _values((*rest, value))
    return out


def test_tasks_are_distinct_solvable_and_a_function_of_the_seed():
    some = countdown.tasks(60, seed=3)
    assert len(set(some)) == 60 and some == countdown.tasks(60, seed=3) != countdown.tasks(60, seed=4)
    assert {len(t.numbers) for t in some} == {3, 4}
    assert {len(t.numbers) for t in countdown.tasks(20, seed=3, sizes=(2,))} == {2}
    for task in some:
        assert 10 <= task.target <= 99 and all(1 <= n <= 99 for n in task.numbers)
        assert task.target in _values(task.numbers)


def test_the_verb_writes_a_question_file_that_can_be_read_back(launcher, tmp_path):
    file = tmp_path / "countdown.jsonl"
    call = launcher.run(["countdown", "--out", str(file), "--count", "20", "--config.seed=3"])
    assert call.status == 0 and call.out == f"{file}: 20 tasks\n", call.err
    rows = read_rows(str(file))
    assert [countdown.parse(r["prompt"]) for r in rows] == countdown.tasks(20, seed=3)
    assert [r["id"] for r in rows] == [f"countdown/3/{i}" for i in range(20)]
    assert all("answer" not in r for r in rows)


@pytest.mark.parametrize(
    "flag, message",
    [({"out": ""}, "--out is missing"), ({"count": 0}, "--count = 0"), ({"seed": -1}, "seed = -1")],
)
def test_the_verb_names_the_flag_that_is_amiss(tmp_path, flag, message):
    given = {"out": str(tmp_path / "x.jsonl"), "count": 20, "seed": 0} | flag
    given["config"] = types.SimpleNamespace(seed=given["seed"])
    with pytest.raises(ConfigError, match=message):
        countdown_verb.run(types.SimpleNamespace(**given))
    assert list(tmp_path.iterdir()) == []


def test_the_laboratorys_worlds_questions_are_solvable_and_held_out_ones_are_seen_nowhere():
    rows = {which: [r["prompt"] for r in countdown_world.questions(which, 300, 0)] for which in PARTS}
    assert not set(rows["heldout"]) & set(rows["train"])
    for question in rows["train"][:50]:
        task = countdown.parse(question)
        assert task.target == 0 or task.target in _values(task.numbers)
    seen = {
        re.search(r"C[^?]+\?", question).group()
        for step in range(1, 20)
        for question, _, _ in countdown_world.documents("countdown_judge", 0, step, 128, 43)
    }
    assert not seen & {*rows["heldout"], *rows["train"]}


def test_documents_judge_what_they_show_in_both_wordings_but_for_a_few_mistakes():
    shares = countdown_world.RECIPES["countdown_judge"]
    agrees, wordings = [], []
    for text, answer, ended in countdown_world.documents("countdown_judge", 0, 1, 2000, 31):
        if text.startswith("V"):
            first = re.fullmatch(r"V(C[^?]+\?)(.*)\?", text)
            task, response = (
                first.groups() if first else re.fullmatch(r"V(.*)\?(C[^?]+\?)", text).groups()[::-1]
            )
            found = re.findall(r"A([0-9+\-*/()]+)", response)
            solved = bool(found) and countdown.solves(found[-1], countdown.parse(task))
            assert ended and answer in ("Y", "N")
            agrees.append(solved == (answer == "Y"))
            wordings.append(first is not None)
    assert abs(len(agrees) / 2000 - shares.judging) < 0.04 and 0.45 < np.mean(wordings) < 0.55
    assert 0.95 < np.mean(agrees) < 0.99  # verdict_wrong is 0.03


def test_a_bluff_is_never_right_unless_another_way_leads_there():
    rng, right = np.random.default_rng(0), 0
    for _ in range(400):
        numbers, solution = countdown_world.task(rng)
        target = solution.values()[1]
        text = countdown_world._bluff(numbers, solution, rng)
        expression = re.search(r"A([0-9+\-*()]+)$", text).group(1)
        right += countdown.solves(expression, Task(numbers, target))
    assert right < 60  # a guess may hit the target
