"""A fifth world of the laboratory: tiny Python functions, which checks/python_programs.py runs in a sandbox.

A question is a deduction, an abduction or an induction, the three kinds of Absolute Zero (2505.03335):

    ```python                  ```python                                 assert f(3) == 7
    def f(x): return 3*x-2     def f(x): return x+7 if x<5 else 2*x      assert f(4) == 10
    ```                        ```                                       assert f(1) == 1
    ```input                   ```output
    4                          11
    ```                        ```

A document answers by a fenced block, output, input or python, in one of four ways:

    solved   "3*4=12;12-2=10" before the block: the function worked out for the input that is given, or for the one
             that is answered; of an induction "10-7=3;3*3=9;7-9=-2", factor and constant of the line through the first
             two tests, whose inputs are neighbours. Each step may slip
    tried    a deduction that looks at no condition and adds no constant after a factor; an abduction from a number taken
             at random; an induction that looks at the first test alone
    direct   no steps, often wrong
    junk     digits and signs, and no answer

A line through three tests is one line: no table of two answers passes them.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from urlvr_jax.lab.programs_world import Recipe
from urlvr_jax.lab.world import part

SPECIAL = ("<pad>", "<end>", "<unk>")
FENCES = ("```", "\n```", "python\n", "input\n", "output\n", "\n")
WORDS = ("def f(x): return ", " if ", " else ", "assert f(", ") == ", "True", "False")
SYMBOLS = (*"0123456789+-*<>=;x", *WORDS, *FENCES)
LAYERS = 3  # of its models
QUESTIONS = {"tasks_train": 800, "tasks_heldout": 600, "tests_train": 800, "tests_heldout": 600}
DEDUCTION, ABDUCTION, INDUCTION = KINDS = ("output", "input", "python")  # by the block that is asked for
LARGEST_INPUT, LARGEST_FACTOR, LARGEST_CONSTANT, LARGEST_VALUE = 9, 9, 12, 99
ASKED, LONGEST = 24, 34  # tokens of a question and of a solution without slips at most
_DOCUMENT_STREAM = 205
_TOKEN = re.compile("|".join(re.escape(s) for s in sorted(SYMBOLS, key=len, reverse=True)))


RECIPES = {"python": Recipe(solved=0.40, tried=0.30, direct=0.24, junk=0.06, slip=0.04, direct_wrong=0.5)}


class Line(NamedTuple):
    """factor * x + constant, as Python: 3*x-2, x+7, 2*x."""

    factor: int
    constant: int

    def __str__(self) -> str:
        scaled = f"{self.factor}*x" if self.factor != 1 else "x"
        return f"{scaled}{self.constant:+d}" if self.constant else scaled

    def __call__(self, x: int) -> int:
        return self.factor * x + self.constant


class Choice(NamedTuple):
    """One line where x is on one side of a number, and another elsewhere: x+7 if x<5 else 2*x."""

    then: Line
    sign: str
    than: int
    otherwise: Line

    def __str__(self) -> str:
        return f"{self.then} if x{self.sign}{self.than} else {self.otherwise}"

    def __call__(self, x: int) -> int:
        return (self.then if self.holds(x) else self.otherwise)(x)

    def holds(self, x: int) -> bool:
        return x < self.than if self.sign == "<" else x > self.than


class Task(NamedTuple):
    """A kind, a function, and the inputs that a question is about: three of an induction, else one."""

    kind: str
    function: Line | Choice
    inputs: tuple[int, ...]


def text_of(function) -> str:
    return f"def f(x): return {function}"


def question(task: Task) -> str:
    """As checks/python_programs.py reads it."""
    kind, function, (x, *_) = task
    if kind == INDUCTION:
        return "".join(f"assert f({x}) == {function(x)}\n" for x in task.inputs)
    known = _block("input", x) if kind == DEDUCTION else _block("output", function(x))
    return _block("python", text_of(function)) + known


def _block(name: str, content) -> str:
    return f"```{name}\n{content}\n```\n"


# ---- what is asked ----------------------------------------------------------------------------


def drawn(rng, kinds, which: str) -> Task:
    """A task of one of these kinds about a function of this part: no value leaves 0..LARGEST_VALUE."""
    while True:
        kind = kinds[int(rng.integers(len(kinds)))]
        function = _line(rng) if kind == INDUCTION or rng.random() < 0.5 else _choice(rng)
        inputs = _inputs(rng, kind)
        if part(text_of(function)) == which and all(0 <= function(x) <= LARGEST_VALUE for x in inputs):
            return Task(kind, function, inputs)


def _inputs(rng, kind: str) -> tuple[int, ...]:
    """Of an induction two neighbours, and another."""
    if kind != INDUCTION:
        return (int(rng.integers(LARGEST_INPUT + 1)),)
    x = int(rng.integers(LARGEST_INPUT))
    others = [other for other in range(LARGEST_INPUT + 1) if other not in (x, x + 1)]
    return x, x + 1, int(rng.choice(others))


def _line(rng) -> Line:
    line = Line(
        int(rng.integers(1, LARGEST_FACTOR + 1)), int(rng.integers(-LARGEST_CONSTANT, LARGEST_CONSTANT + 1))
    )
    return line if line != Line(1, 0) else _line(rng)  # x alone leaves nothing to work out


def _choice(rng) -> Choice:
    """Of lines with one operation, that are not the same."""
    lines = [Line(factor, 0) for factor in range(2, 10)] + [Line(1, c) for c in range(-9, 10) if c]
    then, otherwise = (lines[int(i)] for i in rng.choice(len(lines), 2, replace=False))
    return Choice(then, "<>"[int(rng.integers(2))], int(rng.integers(1, LARGEST_INPUT)), otherwise)


# ---- what documents answer --------------------------------------------------------------------


def solved(task: Task, slip: float, rng) -> str:
    """The answer with its steps; a slip is carried on."""
    kind, function, inputs = task
    steps = _Steps(slip, rng)
    if kind == INDUCTION:
        x, value = inputs[0], function(inputs[0])
        factor = steps.do(function(inputs[1]), "-", value)
        constant = steps.do(value, "-", steps.do(factor, "*", x))
        return steps.before(kind, text_of(Line(factor, constant)))
    (x,) = inputs
    if isinstance(function, Choice):
        holds = function.holds(x)
        steps.said.append(f"{x}{function.sign}{function.than}={holds}")
        function = function.then if holds else function.otherwise
    value = steps.of_line(function, x)
    return steps.before(kind, value if kind == DEDUCTION else x)


def tried(task: Task, slip: float, rng) -> str:
    """The answer of somebody careless: see above."""
    kind, function, (x, *_) = task
    if kind == ABDUCTION:
        return solved(task._replace(inputs=(int(rng.integers(LARGEST_INPUT + 1)),)), slip, rng)
    steps = _Steps(slip, rng)
    if kind == INDUCTION:
        return steps.before(kind, text_of(Line(1, steps.do(function(x), "-", x))))
    line = function.then if isinstance(function, Choice) else function
    return steps.before(kind, steps.of_line(Line(line.factor, 0) if line.factor != 1 else line, x))


def direct(task: Task, wrong: float, rng) -> str:
    """The answer alone."""
    kind, function, (x, *_) = task
    missed = rng.random() < wrong
    if kind == DEDUCTION:
        return _answer(kind, _near(function(x), rng) if missed else function(x))
    if kind == ABDUCTION:
        return _answer(kind, int(rng.integers(LARGEST_INPUT + 1)) if missed else x)
    factor, constant = function
    return _answer(kind, text_of(Line(factor, _near(constant, rng)) if missed else function))


def junk(rng) -> str:
    return "".join(rng.choice(list("0123456789+-*=;x"), int(rng.integers(1, LONGEST))))


class _Steps:
    """A working as it is written, and its slips."""

    def __init__(self, slip: float, rng):
        self.slip, self.rng, self.said = slip, rng, []

    def do(self, left: int, sign: str, right: int) -> int:
        value = {"+": left + right, "-": left - right, "*": left * right}[sign]
        if self.rng.random() < self.slip:
            value = _near(value, self.rng)
        self.said.append(f"{left}{sign}{right}={value}")
        return value

    def of_line(self, line: Line, x: int) -> int:
        value = x if line.factor == 1 else self.do(line.factor, "*", x)
        return self.do(value, "+-"[line.constant < 0], abs(line.constant)) if line.constant else value

    def before(self, kind: str, answer) -> str:
        return ";".join(self.said) + "\n" + _answer(kind, answer)


def _answer(kind: str, content) -> str:
    return _block(kind, content).rstrip()


def _near(value: int, rng) -> int:
    return value + int(rng.choice([-10, -2, -1, 1, 2, 10]))


def respond(task: Task, recipe: Recipe, rng, longest: int) -> tuple[str, bool]:
    """One document's answer within `longest` tokens, and whether it ends there by itself."""
    way = rng.choice(4, p=[recipe.solved, recipe.tried, recipe.direct, recipe.junk])
    if way < 2:
        text = (solved, tried)[way](task, recipe.slip, rng)
    else:
        text = direct(task, recipe.direct_wrong, rng) if way == 2 else junk(rng)
    tokens = _TOKEN.findall(text)
    return "".join(tokens[:longest]), len(tokens) < longest


def documents(recipe: str, seed: int, step: int, count: int, longest: int):
    """`count` documents (question, answer, ends), a function of (seed, step)."""
    rng = np.random.default_rng((seed, _DOCUMENT_STREAM, step))
    tasks = [drawn(rng, KINDS, "documents") for _ in range(count)]
    return [(question(task), *respond(task, RECIPES[recipe], rng, longest)) for task in tasks]


def questions(which: str, count: int, seed: int) -> list[dict]:
    """`count` distinct questions of a part, tests or tasks of the other kinds. No labels: the sandbox checks them."""
    kind, _, of_part = which.partition("_")
    kinds = (INDUCTION,) if kind == "tests" else (DEDUCTION, ABDUCTION)
    rng = np.random.default_rng((seed, _DOCUMENT_STREAM, tuple(QUESTIONS).index(which)))
    rows = {}
    while len(rows) < count:
        text = question(drawn(rng, kinds, of_part))
        rows[text] = {"prompt": text}
    return list(rows.values())
