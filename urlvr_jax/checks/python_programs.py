"""Python in a sandbox as the judge: unit tests of a program that was written, and what a given program does.

unit_tests     the answer is a program; the tests are the question row's, or those that stand in the question
python_tasks   the question has a program with an input (deduction) or an output (abduction), as Absolute Zero asks
               (2505.03335); the answer is the other one

What a test expects never enters the sandbox. A program gives values as text, which is read as a Python literal and
compared here, in a worker process: nothing of it is evaluated, and printing a verdict convinces nobody.
"""

from __future__ import annotations

import ast
import functools
import json
import re
import time
from collections.abc import Callable
from typing import NamedTuple

from urlvr_jax.answers.extract import fences
from urlvr_jax.checks import own, sandbox
from urlvr_jax.checks.grading import Check
from urlvr_jax.checks.workers import Pool
from urlvr_jax.errors import DataError

COLUMNS = ("tests", "test_list", "input_output")  # of public sets: our own, MBPP's, that of APPS and TACO
MOST_TEST = 20_000  # characters of an assert statement
MARGIN_S = 10.0  # a worker past its program's deadline by so much is taken for dead
_ASSERT = re.compile(r"^[ \t]{0,8}(assert\s[^\n]+)$", re.M)
_MAKERS = {"set": set, "tuple": tuple, "list": list, "sorted": sorted, "float": float}
_NOTHING = object()


class UnitTest(NamedTuple):
    """One test: text for standard input and what is printed, or an expression and its value."""

    given: str
    expected: object
    call: bool

    def passed(self, found) -> bool:
        """found: what was printed; or the value, _NOTHING without one."""
        if not self.call:
            return _lines(found) == _lines(self.expected)
        return _same(found, self.expected)


class Task(NamedTuple):
    """A program's function, and what is known of one call of it."""

    program: str
    function: str
    given: tuple | None  # arguments: the value is asked (deduction)
    value: object  # where `given` is None: arguments are asked (abduction)


# ---- tests -----------------------------------------------------------------------------------


def read_tests(row: dict, question: str, where: str = "this row") -> list[UnitTest]:
    """The tests of a row's first column of COLUMNS; without such a column the assert lines of the question.

    DataError for none, and for what is no list of tests.
    """
    column = next((name for name in COLUMNS if row.get(name) is not None), None)
    if column is None:
        found = [
            test for line in _ASSERT.findall(question) for test in _asserted(line, f"{where}: the question")
        ]
        if not found:
            raise DataError(
                f"{where}: no tests: it has no column {' or '.join(COLUMNS)}, and no line of its question is an assert "
                f"statement; its columns are {sorted(row)}"
            )
        return found
    return _read(row[column], f"{where}: `{column}`")


def _read(value, where: str) -> list[UnitTest]:
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where} is no JSON: {error!s:.80}") from None
    if isinstance(value, dict):
        value = _in_columns(value, where)
    value = [value] if isinstance(value, str) else value
    if not isinstance(value, list) or not value:
        raise DataError(
            f"{where} is {str(value)[:60]!r}: give a list of assert statements, or of {{input, output}}"
        )
    out = []
    for one in value:
        if isinstance(one, UnitTest):
            out.append(one)
        elif isinstance(one, str):
            out += _asserted(one, where)
        elif isinstance(one, dict) and all(isinstance(one.get(k), str) for k in ("input", "output")):
            out.append(UnitTest(one["input"], one["output"], call=False))
        else:
            raise DataError(
                f"{where} has {str(one)[:60]!r}: give an assert statement, or {{input, output}} as texts"
            )
    return out


def _in_columns(value: dict, where: str) -> list:
    """{inputs, outputs, perhaps fn_name}, as APPS and TACO have it."""
    given, wanted, name = value.get("inputs"), value.get("outputs"), value.get("fn_name")
    if not isinstance(given, list) or not isinstance(wanted, list) or len(given) != len(wanted):
        raise DataError(f"{where} needs lists `inputs` and `outputs` of one length, has {sorted(value)}")
    if name is None:
        return [{"input": _text(i), "output": _text(o)} for i, o in zip(given, wanted, strict=True)]
    if not isinstance(name, str) or not name.isidentifier() or not all(isinstance(i, list) for i in given):
        raise DataError(
            f"{where}: fn_name {name!r:.40} needs a name, and `inputs` that are lists of arguments"
        )
    function = f"(Solution().{name} if 'Solution' in globals() else {name})"
    return [
        UnitTest(f"{function}(*{i!r})", _Json(o), call=True) for i, o in zip(given, wanted, strict=True)
    ]


def _text(value) -> str:
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)


class _Json(NamedTuple):
    """A value that JSON wrote down: tuples are lists in it, and APPS wraps some in a list of one."""

    value: object


def _asserted(text: str, where: str) -> list[UnitTest]:
    """Of assert statements. `assert CALL == CONSTANT`: the constant stays here. Of any other the whole condition is
    evaluated in the program, which might forge it."""
    if len(text) > MOST_TEST:
        raise DataError(f"{where} has a test of {len(text)} characters: at most {MOST_TEST} are read")
    try:
        body = ast.parse(text.strip()).body
        if not body or not all(isinstance(one, ast.Assert) for one in body):
            raise DataError(f"{where} has {text[:60]!r}: give assert statements alone")
        return [_condition(one.test) for one in body]
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise DataError(f"{where} has {text[:60]!r}, which is no Python: {error!s:.80}") from None


def _condition(test: ast.expr) -> UnitTest:
    match test:
        case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
            sides = ((left, _constant(right)), (right, _constant(left)))
        case _:
            sides = ()
    for side, value in sides:
        if value is not _NOTHING:
            return UnitTest(ast.unparse(side), value, call=True)
    return UnitTest(f"bool({ast.unparse(test)})", True, call=True)


def _constant(node: ast.expr):
    """The value of a literal, or of set(...), sorted(...) and the like of one; _NOTHING of all else."""
    try:
        match node:
            case ast.Call(func=ast.Name(id=name), args=[inner], keywords=[]) if name in _MAKERS:
                return _MAKERS[name](ast.literal_eval(inner))
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return _NOTHING


def _literal(text: str | None):
    """What a text says as a Python literal; _NOTHING where it is none."""
    if text is None:
        return _NOTHING
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return _NOTHING


def _same(found, expected) -> bool:
    try:
        if isinstance(expected, _Json):
            plain = json.loads(json.dumps(found))
            return plain == expected.value or [plain] == expected.value
        return found is not _NOTHING and bool(found == expected)
    except (ValueError, TypeError, RecursionError):
        return False


def _lines(text: str) -> list[str]:
    """Lines without blanks at their ends, nor empty lines at the end, as most graders compare them."""
    return [line.rstrip() for line in text.rstrip().splitlines()]


# ---- the two checks ---------------------------------------------------------------------------


def unit_tests(program: str | None, tests: list[UnitTest], seconds: float) -> float:
    """The share of tests that a program passes within `seconds`, all together; 0 without a program."""
    if program is None:
        return 0.0
    end = time.monotonic() + seconds
    passed = 0
    calls = [test for test in tests if test.call]
    if calls:
        ran = sandbox.run(program, seconds, calls=[test.given for test in calls])
        found = map(_literal, sandbox.values(ran, len(calls)))
        passed += sum(test.passed(value) for test, value in zip(calls, found, strict=True))
    for test in tests:
        if not test.call and (left := end - time.monotonic()) > 0:
            ran = sandbox.run(program, left, stdin=test.given)
            passed += ran.status == 0 and test.passed(ran.out.decode("utf-8", "replace"))
    return passed / len(tests)


def task_of(question: str, where: str = "this row") -> Task:
    """The task in a question: a fenced block of python, and one of input or of output. DataError without one."""
    blocks = dict(fences(question))  # the last of each name
    program = blocks.get("python")
    if program is None or ("input" in blocks) == ("output" in blocks):
        raise DataError(
            f"{where}: python_tasks needs a question with a fenced block ```python, and either ```input or ```output; "
            f"it has {sorted(blocks)}"
        )
    if len(program) > sandbox.MOST_PROGRAM:
        raise DataError(
            f"{where}: a program of {len(program)} characters: at most {sandbox.MOST_PROGRAM} are run"
        )
    try:
        names = [one.name for one in ast.parse(program).body if isinstance(one, ast.FunctionDef)]
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise DataError(f"{where}: its program is no Python: {error!s:.80}") from None
    if not names:
        raise DataError(f"{where}: its program defines no function")
    function = "f" if "f" in names else names[-1]
    known = "input" if "input" in blocks else "output"
    value = _arguments(blocks["input"]) if known == "input" else _literal(blocks["output"])
    if value is None or value is _NOTHING:
        raise DataError(f"{where}: its {known} {blocks[known][:60]!r} is no Python literal")
    return Task(program, function, value if known == "input" else None, None if known == "input" else value)


def python_tasks(answer: str | None, task: Task, seconds: float) -> float:
    """1 where the answer is what the program returns; or arguments, literals alone, for which it returns that."""
    given = task.given if task.given is not None else answer and _arguments(answer)
    wanted = task.value if task.given is None else _literal(answer)
    if given is None or wanted is _NOTHING or answer is None:
        return 0.0
    return float(_same(_literal(_returned(task.program, f"{task.function}(*{given!r})", seconds)), wanted))


@functools.lru_cache(maxsize=256)
def _returned(program: str, call: str, seconds: float) -> str | None:
    """Of a deduction all responses ask for one value."""
    return sandbox.values(sandbox.run(program, seconds, calls=[call]), 1)[0]


def _arguments(text: str) -> tuple | None:
    """`'a', 3` -> ('a', 3); None where they are no literals."""
    found = _literal(f"({text.strip().rstrip(',')},)") if text.strip() else ()
    return found if isinstance(found, tuple) else None


# ---- as checks ---------------------------------------------------------------------------------


def _judge_tests(seconds: float) -> Callable:
    def judge(answer, question, row):
        share = unit_tests(answer, read_tests(row, question), seconds)
        return {"score": share, "acc": share == 1}

    return judge


def _judge_task(seconds: float) -> Callable:
    return lambda answer, question: python_tasks(answer, task_of(question), seconds)


JUDGES = {"unit_tests": _judge_tests, "python_tasks": _judge_task}


def load(name: str, workers: int, deadline_s: float) -> Check:
    """The check `name` of JUDGES: `workers` processes run programs, all of a response's within `deadline_s`.

    SandboxError where programs cannot be run.
    """
    sandbox.require()
    pool = Pool(f"{name}:{deadline_s}", workers, deadline_s + MARGIN_S, call=f"{__name__}:for_worker")
    fn = JUDGES[name](deadline_s)
    return Check(False, str.strip, functools.partial(own.begin, name, fn, pool))


def for_worker(name: str) -> Callable:
    """What a worker process calls for each response. name: "unit_tests:10.0"."""
    judge, _, seconds = name.partition(":")
    return functools.partial(own.score, JUDGES[judge](float(seconds)))


def require(name: str, questions, rows=None) -> None:
    """DataError for the first of P questions that this check could not judge. rows `[P]`: all columns, or None."""
    for i, question in enumerate(questions):
        row = rows[i] if rows else {}
        where = f"{name}, question {question[:40]!r}"
        if name == "unit_tests":
            read_tests(row, question, where)
        else:
            task_of(question, where)
