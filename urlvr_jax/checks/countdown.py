"""Countdown: reach a target from given numbers with + - * / and parentheses. Tasks, and an exact checker.

The checker reads numbers and target from the question itself: an external check that needs no label
(RLSR; the oracle beside self-verification). No text is handed to `eval`: within limits Python's `ast` reads it, and
of the tree only numbers and the operations of a table are evaluated.

    python -m urlvr_jax.main countdown --out train.jsonl --count 4000 --config.seed=0      writes solvable tasks
"""

from __future__ import annotations

import ast
import dataclasses
import itertools
import operator
import re
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from urlvr_jax.errors import DataError

MODES = ("strict", "tinyzero")
MOST_CHARACTERS, MOST_DEPTH, MOST_BITS = 256, 32, 4096
_STREAM = 301  # of NumPy generators
_LAB = re.compile(r"C(\d{1,6}(?:,\d{1,6}){1,9})=(\d{1,9})\?", re.A)
# Reads SENTENCE, and other wordings: "numbers [3, 7] ... equal 21".
_WORDS = re.compile(r"numbers \[(\d{1,6}(?:, \d{1,6}){1,9})\].{0,60}?equals? (\d{1,9})\b", re.S | re.A)
SENTENCE = (  # TinyZero's, around the numbers and the target
    "Using the numbers [",
    "], create an equation that equals ",
    ". You can use basic arithmetic operations (+, -, *, /) and each number can only be used once. Show your "
    "work in <think> </think> tags. And return the final answer in <answer> </answer> tags, for example "
    "<answer> (1 + 2) / 3 </answer>.",
)


class ExpressionError(ValueError):
    """Text outside the grammar or past its limits."""


@dataclasses.dataclass(frozen=True)
class Task:
    numbers: tuple[int, ...]
    target: int


def sentence(numbers, target) -> str:
    """TinyZero's question, which `parse` reads; numbers and target are anything that prints as a number."""
    start, middle, end = SENTENCE
    return f"{start}{', '.join(map(str, numbers))}{middle}{target}{end}"


def parse(question: str) -> Task | None:
    """Numbers and target of the last task in a text, or None: "C3,7,5=26?", or
    "... numbers [3, 7, 5] ... equals 26"."""
    found = _LAB.findall(question) or _WORDS.findall(question)
    if not found:
        return None
    numbers, target = found[-1]
    return Task(tuple(int(n) for n in numbers.split(",")), int(target))


# ---- expressions ----------------------------------------------------------------------------


def parsed(text: str) -> ast.expr:
    """Python's own reading of one expression. ExpressionError for text past the limits, and for what is none.

    The limits come first: short text with few parentheses can neither hang the parser nor exhaust the stack.
    """
    if len(text) > MOST_CHARACTERS:
        raise ExpressionError(f"longer than {MOST_CHARACTERS} characters")
    if max(itertools.accumulate((c == "(") - (c == ")") for c in text), default=0) > MOST_DEPTH:
        raise ExpressionError(f"parentheses nested deeper than {MOST_DEPTH}")
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, MemoryError, RecursionError) as error:  # the last two: nested too deep for Python
        raise ExpressionError(f"no expression: {error}") from None


def evaluate(node: ast.expr, operations: dict, number: Callable, depth: int = 0):
    """What a tree of numbers, each made by `number`, and of `operations` alone comes to.

    ExpressionError for any other node, a value too large, and signs, powers or right operands nested too
    deep; ArithmeticError, or TypeError for a complex number, where the operations raise it.
    """
    if depth > MOST_DEPTH:
        raise ExpressionError(f"nested deeper than {MOST_DEPTH}")
    match node:
        case ast.Constant(value=int() | float()):
            return number(node.value)
        case ast.UnaryOp() if type(node.op) in operations:
            return operations[type(node.op)](evaluate(node.operand, operations, number, depth + 1))
        case ast.BinOp() if type(node.op) in operations:
            left = evaluate(node.left, operations, number, depth)  # a long sum grows to the left
            right = evaluate(node.right, operations, number, depth + 1)
            return _bounded(operations[type(node.op)](left, right))
    raise ExpressionError(f"{type(node).__name__} has no place here")


def _bounded(value):
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        raise ExpressionError("too large")
    return value


def _power(base, exponent):
    size = base.bit_length() if isinstance(base, int) else 64
    if isinstance(exponent, int) and size * abs(exponent) > MOST_BITS:
        raise ExpressionError("power too large")
    return base**exponent


_STRICT = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.UAdd: operator.pos, ast.USub: operator.neg,
}  # fmt: skip
_TINYZERO = _STRICT | {ast.FloorDiv: operator.floordiv, ast.Pow: _power}


# ---- the check ------------------------------------------------------------------------------


def solves(expression: str | None, task: Task) -> bool:
    """Strict: an expression of + - * / ( ) over integers that uses every number exactly once and is
    exactly the target. No answer, anything else, and division by zero are wrong.

    + and - may also be signs: -2+5 is 5-2, and no positive target needs a sign. Where Python would refuse, white space of any kind is a space, and leading zeros count for nothing: 007 is 7.
    """
    if expression is None or len(expression) > MOST_CHARACTERS:
        return False
    text = expression.rstrip()
    if not re.fullmatch(r"[0-9+\-*/()\s]+", text, re.A):
        return False
    if sorted(int(n) for n in re.findall("[0-9]+", text)) != sorted(task.numbers):
        return False
    text = re.sub(r"\b0+(?=[0-9])", "", " ".join(text.split()))
    try:
        return evaluate(parsed(text), _STRICT, Fraction) == task.target
    except (ExpressionError, ZeroDivisionError):
        return False


def tinyzero_score(text: str, task: Task) -> float:
    """1, 0.1 or 0 as TinyZero's scorer gives them, text being prompt and response.

    Its holes are kept: only the last line is searched; `**` and `//` pass; "1.5*4" uses 1, 5 and 4. One
    departure: what is past the limits above, as a power of 4096 bits, is 0.1 here, where the original may not
    return.
    """
    for marker in ("Assistant:", "<|im_start|>assistant"):
        if marker in text:
            text = text.split(marker, 1)[1]
            break
    else:
        return 0.0
    found = re.findall(r"<answer>(.*?)</answer>", text.split("\n")[-1])
    if not found:
        return 0.0
    expression = found[-1].strip()
    if len(expression) > MOST_CHARACTERS or not re.fullmatch(r"[0-9+\-*/().\s]+", expression):
        return 0.1
    if sorted(int(n) for n in re.findall("[0-9]+", expression)) != sorted(task.numbers):
        return 0.1
    try:
        found = evaluate(parsed(expression), _TINYZERO, lambda n: n)
        return 1.0 if abs(found - task.target) < 1e-5 else 0.1
    except (ExpressionError, ArithmeticError, TypeError):
        return 0.1


def right(texts, answers, questions, prompts, mode: str = "strict") -> np.ndarray:
    """Which of B responses solve the task of their question: bool `[B]`. DataError for a question without one.

    texts `[B]`, answers `[B]` (each one's expression, or None), questions `[P]` as in their file, prompts `[P]` as
    rendered for the model: `tinyzero` looks for the response behind the prompt's own marker.
    """
    group = len(texts) // len(questions)
    out = []
    for p, question in enumerate(questions):
        task = parse(question)
        if task is None:
            raise DataError(f"countdown: no numbers and target in the question {question[:80]!r}")
        for b in range(p * group, (p + 1) * group):
            if mode == "tinyzero":
                out.append(tinyzero_score(prompts[p] + texts[b], task) == 1)
            else:
                out.append(solves(answers[b], task))
    return np.array(out, bool)


# ---- tasks ----------------------------------------------------------------------------------


def tasks(count: int, seed: int, *, sizes=(3, 4), largest=99, targets=(10, 99)) -> list[Task]:
    """`count` distinct solvable tasks: numbers are drawn, then joined at random, every value between
    a positive integer. A function of its arguments. ValueError where there are too few such tasks."""
    rng = np.random.default_rng((seed, _STREAM))
    out: dict[Task, None] = {}
    misses = 0
    while len(out) < count:
        numbers = [int(n) for n in rng.integers(1, largest + 1, int(rng.choice(sizes)))]
        target = _join(list(numbers), rng)
        task = Task(tuple(numbers), target or 0)
        if target is None or not targets[0] <= target <= targets[1] or task in out:
            misses += 1
            if misses > 10_000 * count:
                raise ValueError(f"no {count} distinct tasks with sizes={sizes}, largest={largest}")
            continue
        out[task] = None
    return list(out)


_JOINS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.floordiv}


def _join(values: list[int], rng) -> int | None:
    """Join two random values by a random operation until one is left; None where it leaves the
    positive integers."""
    while len(values) > 1:
        i, j = rng.choice(len(values), 2, replace=False)
        a, b = values[i], values[j]
        sign = "+-*/"[int(rng.integers(4))]
        if sign == "/" and a % b or sign == "-" and a <= b:
            return None
        joined = _JOINS[sign](a, b)
        values = [v for k, v in enumerate(values) if k not in (i, j)] + [joined]
    return values[0]
