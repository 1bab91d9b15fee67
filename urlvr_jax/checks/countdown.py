"""Countdown: reach a target from given numbers with + - * / and parentheses. Tasks, and an exact checker.

The checker reads numbers and target from the question itself: an external check that needs no label
(RLSR; the oracle beside self-verification). Nothing here hands text to an evaluator: a parser with limits.

    python -m urlvr_jax.countdown train.jsonl --count 4000 --seed 0      a question file, solvable tasks
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import operator
import pathlib
import re
from fractions import Fraction

import numpy as np

from urlvr_jax.errors import DataError

MODES = ("strict", "tinyzero")
MOST_CHARACTERS, MOST_DEPTH, MOST_BITS = 256, 32, 4096
_STREAM = 301  # of NumPy generators
_LAB = re.compile(r"C(\d{1,6}(?:,\d{1,6}){1,9})=(\d{1,9})\?", re.A)
_WORDS = re.compile(r"numbers \[(\d{1,6}(?:, \d{1,6}){1,9})\].{0,60}?equals? (\d{1,9})\b", re.S | re.A)
QUESTION = (
    "Using the numbers [{numbers}], create an equation that equals {target}. You can use basic arithmetic "
    "operations (+, -, *, /) and each number can only be used once. Return the final equation in "
    "<answer> </answer> tags, for example <answer> (1 + 2) / 3 </answer>."
)


class ExpressionError(ValueError):
    """Text outside the grammar or past its limits."""


@dataclasses.dataclass(frozen=True)
class Task:
    numbers: tuple[int, ...]
    target: int


def parse(question: str) -> Task | None:
    """Numbers and target of the last task in a text, or None: "C3,7,5=26?", or
    "... numbers [3, 7, 5] ... equals 26"."""
    found = _LAB.findall(question) or _WORDS.findall(question)
    if not found:
        return None
    numbers, target = found[-1]
    return Task(tuple(int(n) for n in numbers.split(",")), int(target))


# ---- expressions ----------------------------------------------------------------------------

_TOKEN = re.compile(r"\s*(?:(\d+\.?\d*|\.\d+)|(\*\*|//|[-+*/()]))", re.A)
_BINARY = {"+": 1, "-": 1, "*": 2, "/": 2, "//": 2}
_OPERATIONS = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
    "//": operator.floordiv,
}  # fmt: skip


def tokens(expression: str) -> list[str]:
    if len(expression) > MOST_CHARACTERS:
        raise ExpressionError(f"longer than {MOST_CHARACTERS} characters")
    out, at, text = [], 0, expression.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if not match:
            raise ExpressionError(f"no token at {text[at : at + 10]!r}")
        out.append(match.group(1) or match.group(2))
        at = match.end()
    return out


class _Parser:
    """Precedence climbing, left-associative; `loose` adds what Python's grammar adds: signs, **, //."""

    def __init__(self, words: list[str], loose: bool):
        self.words, self.at, self.loose, self.depth = words, 0, loose, 0

    def peek(self) -> str:
        return self.words[self.at] if self.at < len(self.words) else ""

    def take(self) -> str:
        word = self.peek()
        self.at += 1
        return word

    def value(self):
        out = self.binary(1)
        if self.peek():
            raise ExpressionError(f"unexpected {self.peek()!r}")
        return out

    def binary(self, lowest: int):
        left = self.signed()
        while _BINARY.get(self.peek(), 0) >= lowest and (self.loose or self.peek() != "//"):
            sign = self.take()
            left = _bounded(_OPERATIONS[sign](left, self.binary(_BINARY[sign] + 1)))
        return left

    def signed(self):
        if self.loose and self.peek() in ("+", "-"):
            with _Deeper(self):
                return -self.signed() if self.take() == "-" else self.signed()
        base = self.atom()
        if self.loose and self.peek() == "**":
            self.take()
            with _Deeper(self):
                return _power(base, self.signed())
        return base

    def atom(self):
        word = self.take()
        if word == "(":
            with _Deeper(self):
                out = self.binary(1)
            if self.take() != ")":
                raise ExpressionError("a parenthesis is not closed")
            return out
        if not word or not (word[0].isdigit() or word[0] == "."):
            raise ExpressionError(f"expected a number, found {word!r}")
        return self.number(word)

    def number(self, word: str):
        if not word.isdigit():
            if not self.loose:
                raise ExpressionError(f"{word!r} is not an integer")
            return float(word)
        if self.loose and len(word) > 1 and word[0] == "0" and word.strip("0"):
            raise ExpressionError(f"{word!r}: leading zeros")  # Python refuses them, but for zero itself
        return int(word) if self.loose else Fraction(int(word))


class _Deeper:
    """Counts nesting, so that hostile text cannot exhaust the stack."""

    def __init__(self, parser: _Parser):
        self.parser = parser

    def __enter__(self):
        self.parser.depth += 1
        if self.parser.depth > MOST_DEPTH:
            raise ExpressionError(f"nested deeper than {MOST_DEPTH}")

    def __exit__(self, *_):
        self.parser.depth -= 1


def _bounded(value):
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        raise ExpressionError("too large")
    return value


def _power(base, exponent):
    size = base.bit_length() if isinstance(base, int) else 64
    if isinstance(exponent, int) and size * abs(exponent) > MOST_BITS:
        raise ExpressionError("power too large")
    return base**exponent


# ---- the check ------------------------------------------------------------------------------


def solves(expression: str | None, task: Task) -> bool:
    """Strict: an expression of + - * / ( ) over integers that uses every number exactly once and is
    exactly the target. No answer, anything else, and division by zero are wrong."""
    if expression is None:
        return False
    try:
        words = tokens(expression)
        used = sorted(int(w) for w in words if w.isdigit())
        return used == sorted(task.numbers) and _Parser(words, loose=False).value() == task.target
    except (ExpressionError, ZeroDivisionError):
        return False


def tinyzero_score(text: str, task: Task) -> float:
    """1, 0.1 or 0 as TinyZero's scorer gives them, text being prompt and response.

    Its holes are kept: only the last line is searched; `**` and `//` pass; "1.5*4" uses 1, 5 and 4. One
    departure: a power past 4096 bits, or an expression past 256 characters, is 0.1 here, where the original
    may not return.
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
        value = _Parser(tokens(expression), loose=True).value()
        return 1.0 if abs(value - task.target) < 1e-5 else 0.1
    except (ExpressionError, ArithmeticError):
        return 0.1


def right(texts, answers, questions, prompts, mode: str = "strict") -> np.ndarray:
    """Which of B responses solve the task of their question: bool `[B]`. DataError for a question without one.

    texts `[B]`, answers `[B]` (each one's expression, or None), questions `[P]` as in their file, prompts `[P]` as
    rendered for the model: `tinyzero` looks for the response behind the prompt's own marker.
    """
    group, out = len(texts) // len(questions), []
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
    a positive integer. A function of its arguments."""
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


def _join(values: list[int], rng) -> int | None:
    """Join two random values by a random operation until one is left; None where it leaves the
    positive integers."""
    while len(values) > 1:
        i, j = rng.choice(len(values), 2, replace=False)
        a, b = values[i], values[j]
        sign = "+-*/"[int(rng.integers(4))]
        if sign == "/" and a % b or sign == "-" and a <= b:
            return None
        joined = a // b if sign == "/" else _OPERATIONS[sign](a, b)
        values = [v for k, v in enumerate(values) if k not in (i, j)] + [joined]
    return values[0]


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a Countdown question file.")
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sizes", type=int, nargs="+", default=[3, 4], help="how many numbers a task has")
    options = parser.parse_args()
    rows = [
        {
            "id": f"countdown/{options.seed}/{i}",
            "prompt": QUESTION.format(numbers=", ".join(map(str, t.numbers)), target=t.target),
        }
        for i, t in enumerate(tasks(options.count, options.seed, sizes=options.sizes))
    ]
    options.file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(f"{options.file}: {len(rows)} tasks")


if __name__ == "__main__":
    main()
