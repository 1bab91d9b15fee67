"""Small programs in a language of our own, which always ends: what they do, and who is right about it.

Two tasks (deduction and abduction of Absolute Zero, 2505.03335), each read from the question itself:

    "D+3<9*2|4?"     deduction: what comes out if 4 goes in?         4+3=7, 7<9, 7*2=14: 14
    "I+3<9*2|14?"    abduction: what goes in if 14 comes out?        4; or 11, for 11+3=14 is not below 9

A program changes one number, from left to right: `+3`, `-3`, `*3`; `<9*2` and `>9*2` only if the number is below 9, or
above; `[+3]2` twice. All numbers are taken modulo 100. There is no loop but the counted one and nothing to call, so
the interpreter is total: it needs neither a deadline nor a sandbox.
"""

from __future__ import annotations

import dataclasses
import operator
import re

import numpy as np

from urlvr_jax.errors import DataError

MODULUS = 100
DEDUCTION, ABDUCTION = "D", "I"
_CHANGE = r"[+\-*]\d{1,2}"
_INSTRUCTION = rf"(?:[<>]\d{{1,2}})?{_CHANGE}|\[{_CHANGE}\]\d"
_TASK = re.compile(rf"([DI])((?:{_INSTRUCTION}){{1,8}})\|(\d{{1,2}})\?", re.A)
_PARTS = re.compile(r"(?:([<>])(\d{1,2}))?\[?([+\-*])(\d{1,2})(?:\](\d))?", re.A)
_OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul}


@dataclasses.dataclass(frozen=True)
class Instruction:
    """`sign number`, `times` times; where there is a `than`, only if the value is below it ("<") or above (">")."""

    sign: str
    number: int
    times: int = 1
    compare: str = ""
    than: int = 0

    def __str__(self) -> str:
        change = f"{self.sign}{self.number}"
        if self.compare:
            return f"{self.compare}{self.than}{change}"
        return change if self.times == 1 else f"[{change}]{self.times}"

    def applies(self, value: int) -> bool:
        if not self.compare:
            return True
        return value < self.than if self.compare == "<" else value > self.than

    def whole(self, value: int) -> int:
        """The change made once, in whole numbers."""
        return _OPERATIONS[self.sign](value, self.number)


@dataclasses.dataclass(frozen=True)
class Task:
    kind: str  # DEDUCTION: value goes in; ABDUCTION: value came out
    program: tuple[Instruction, ...]
    value: int


def parse(question: str) -> Task | None:
    """The last task in a text, or None."""
    found = _TASK.findall(question)
    if not found:
        return None
    kind, program, value = found[-1]
    parts = _PARTS.findall(program)
    instructions = tuple(Instruction(s, int(n), int(t or 1), c, int(h or 0)) for c, h, s, n, t in parts)
    return Task(kind, instructions, int(value))


def run(program, value: int) -> int:
    """What comes out of instructions if `value` goes in, 0..99."""
    value %= MODULUS
    for instruction in program:
        if instruction.applies(value):
            for _ in range(instruction.times):
                value = instruction.whole(value) % MODULUS
    return value


def solves(answer: str | None, task: Task) -> bool:
    """Whether an answer is what comes out; or a number from 0 to 99 that, put in, makes it come out."""
    if answer is None or not re.fullmatch(r"\d{1,2}", answer, re.A):
        return False
    if task.kind == DEDUCTION:
        return run(task.program, task.value) == int(answer)
    return run(task.program, int(answer)) == task.value


def right(answers, questions) -> np.ndarray:
    """Which of B answers are right about the program in their question: bool `[B]`.

    answers `[B]`, each one's number as text, or None; questions `[P]`. DataError for a question without a program.
    """
    group = len(answers) // len(questions)
    out = []
    for p, question in enumerate(questions):
        task = parse(question)
        if task is None:
            raise DataError(f"programs: no program in the question {question[:80]!r}, such as 'D+3<9*2|4?'")
        out += [solves(answer, task) for answer in answers[p * group : (p + 1) * group]]
    return np.array(out, bool)
