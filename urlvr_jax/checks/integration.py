"""Integrals: a candidate is right when its derivative is the integrand. Reads the task from the question, and no label.

LADDER (2503.00735) checks numerically, as here. A candidate F is parsed by the grammar of answers/trees.py, never evaluated as
code, and differentiated by `jax.grad` in float64 at POINTS random points, seeded by the question, where the integrand f is
defined and at most LARGEST. F is right when, at each of those points where F' is finite,

    |F'(x) - f(x)| <= RELATIVE * |f(x)| + ABSOLUTE * min(1, largest |f| at the points)

and these are at least LEAST points. So every constant of integration is accepted. A point where F' is not finite is
left out; ln u has the slope u'/u on both sides of 0. Where f itself is defined at fewer than LEAST points there is no verdict.
"""

from __future__ import annotations

import functools
import hashlib
import re
from typing import NamedTuple

import numpy as np

from urlvr_jax.answers import trees
from urlvr_jax.answers.algebra import Outside
from urlvr_jax.checks import slopes
from urlvr_jax.checks.slopes import POINTS
from urlvr_jax.errors import DataError

RELATIVE, ABSOLUTE = 1e-6, 1e-9
LEAST = 6  # points of POINTS that decide
LARGEST = 1e12
DRAWN = 3 * POINTS  # points that are drawn, a third each from the RANGES
RANGES = (1.0, 4.0, 12.0)
MOST_KEPT = 50_000  # verdicts
_JUDGED: dict[tuple[str, str | None], bool | None] = {}
_CONSTANT = 0.7310585786300049  # what C stands for: with it C*x is no constant

_LAB = re.compile(r"I([^I?\n]{1,400})\?")
_SIGN = re.compile(r"(?:\\int|∫)(?![a-zA-Z])(?:\\limits)?")
_BOUNDS = re.compile(r"\s{0,9}[_^]")
_END = re.compile(r"\$|\\\)|\\\]|[?=\n]|(?<!\\)(?:;|[.,](?=\s|$))|$")
_D = re.compile(r"(?:\\(?:mathrm|text)\s{0,9}\{\s{0,9}d\s{0,9}\}|d)\s{0,9}([a-z])(?![A-Za-z])")
_WORDS = re.compile(
    r"(?i:\bintegrate|\b(?:integral|antiderivative|primitive)\s+of)\s+(?i:the\s+function\s+)?(?:\$|\\\()?"
    r"(?:[A-Za-z]\s{0,9}\(\s{0,9}[a-z]\s{0,9}\)\s{0,9}=)?"
)
_RESPECT = re.compile(r"\s+with\s+respect\s+to\b.*", re.I | re.S)
_NAMED = re.compile(r"\s*(?:[FfIy]\s{0,9}(?:\(\s{0,9}[a-z]\s{0,9}\))?)\s{0,9}=")


class Task(NamedTuple):
    """What is to be integrated, over which letter, and where it stands in its question."""

    integrand: trees.Tree
    variable: str
    start: int
    end: int
    sign: bool  # whether it stands behind an integral sign, with its dx

    def asking(self, question: str, integrand: trees.Tree) -> str:
        """The question with another integrand in the place of its own."""
        said = trees.text(integrand, self.variable) + f" d{self.variable}" * self.sign
        return f"{question[: self.start]}{' ' * self.sign}{said}{question[self.end :]}"


@functools.lru_cache(maxsize=4096)
def parse(question: str) -> Task | None:
    """The last indefinite integral of a question, or None: "I3x^2+2x?", "\\int 3x^2 dx", "Integrate 3x^2"."""
    for pattern, read in ((_SIGN, _behind_a_sign), (_LAB, _in_the_laboratory), (_WORDS, _in_words)):
        if found := list(pattern.finditer(question)):
            try:
                return read(question, found[-1])
            except Outside:
                return None
    return None


def _behind_a_sign(question: str, found: re.Match) -> Task | None:
    if _BOUNDS.match(question, found.end()):
        return None  # a definite integral is a number
    end = _END.search(question, found.end()).start()
    body = question[found.end() : end]
    if not (differentials := list(_D.finditer(body))):
        return None
    d = differentials[-1]
    rest = body[d.end() :].strip()
    text = f"{body[: d.start()]}(1){rest}" if rest or not body[: d.start()].strip() else body[: d.start()]
    return Task(trees.parse(text, d[1]), d[1], found.end(), end, True)


def _in_the_laboratory(question: str, found: re.Match) -> Task:
    return Task(trees.parse(found[1]), "x", *found.span(1), False)


def _in_words(question: str, found: re.Match) -> Task:
    end = _END.search(question, found.end()).start()
    body = question[found.end() : end]
    if other := re.search(r"(?i:with\s+respect\s+to)\s+(?:\$|\\\()?([a-z])\b", question[found.end() :]):
        variable = other[1]
        body = _RESPECT.sub("", body)
    else:
        variable = "x"
    body = body.rstrip()
    return Task(trees.parse(body, variable), variable, found.end(), found.end() + len(body), False)


# ---- the check --------------------------------------------------------------------------------


def candidate(answer: str | None, variable: str) -> trees.Tree | None:
    """An answer as a function of the variable; None for what is none, such as an integral or a derivative."""
    if answer is None:
        return None
    if named := _NAMED.match(answer):
        answer = answer[named.end() :]
    try:
        return trees.parse(answer, variable)
    except Outside:
        return None


def points_of(question: str) -> np.ndarray:
    """float64 `[DRAWN]`, a function of the question alone."""
    seed = int.from_bytes(hashlib.sha256(question.encode("utf-8", "surrogatepass")).digest()[:8], "big")
    drawn = np.random.default_rng(seed).uniform(-1, 1, (DRAWN // len(RANGES), len(RANGES)))
    return (drawn * np.array(RANGES)).ravel()


def _usable(tasks: dict[str, Task]) -> dict[str, tuple[np.ndarray, np.ndarray] | None]:
    """{question: points and integrand's values, each `[POINTS]`}, None where the integrand is defined at too few.

    Of fewer than POINTS the first come again.
    """
    programs = {question: _program(task.integrand) for question, task in tasks.items()}
    drawn = {question: points_of(question) for question in tasks}
    values = {question: np.full(DRAWN, np.nan) for question in tasks}
    for start in range(0, DRAWN, POINTS):  # most integrands are defined at all of the first
        here = slice(start, start + POINTS)
        asked = [q for q in tasks if programs[q] and len(_defined(values[q])) < POINTS]
        if asked:
            found, _ = slopes.slopes(
                [programs[q] for q in asked], np.stack([drawn[q][here] for q in asked])
            )
            for question, row in zip(asked, found, strict=True):
                values[question][here] = row
    out = {}
    for question in tasks:
        out[question] = None
        if len(keep := _defined(values[question])) >= LEAST:
            keep = np.resize(keep, POINTS)
            out[question] = drawn[question][keep], values[question][keep]
    return out


def _defined(values: np.ndarray) -> np.ndarray:
    """Places of the integrand's values that may be compared."""
    return np.flatnonzero(np.isfinite(values) & (np.abs(values) <= LARGEST))


def _program(tree: trees.Tree) -> slopes.Program | None:
    try:
        return slopes.program(tree, _CONSTANT)
    except slopes.TooLong:
        return None


def verdicts(pairs: list[tuple[str, str | None]]) -> list[bool | None]:
    """Whether each answer is an antiderivative of its question's integrand; None where nothing can be said.

    pairs: (question, answer). Equal pairs are judged once, also those of a reward and of the step's metrics. DataError for a
    question without an integral.
    """
    new = [pair for pair in dict.fromkeys(pairs) if pair not in _JUDGED]
    found = _judged(new) if new else {}
    out = [found[pair] if pair in found else _JUDGED[pair] for pair in pairs]
    if len(_JUDGED) + len(found) > MOST_KEPT:
        _JUDGED.clear()
    _JUDGED.update(found)
    return out


def _judged(pairs: list[tuple[str, str | None]]) -> dict[tuple[str, str | None], bool | None]:
    """The verdict of each of some distinct pairs."""
    tasks = {question: _task(question) for question, _ in pairs}
    usable = _usable(tasks)
    found: dict[tuple[str, str | None], bool | None] = {}
    asked, programs = [], []
    for pair in pairs:
        question, answer = pair
        tree = candidate(answer, tasks[question].variable)
        one = None if tree is None else _program(tree)
        found[pair] = None if tree is not None and usable[question] is None else False
        if one and usable[question] is not None:
            asked.append(pair)
            programs.append(one)
    if asked:
        x, f = (np.stack([usable[question][i] for question, _ in asked]) for i in (0, 1))
        _, slope = slopes.slopes(programs, x)
        found |= dict(zip(asked, map(bool, _agree(slope, f)), strict=True))
    return found


def _agree(slope: np.ndarray, f: np.ndarray) -> np.ndarray:
    """The rule at the head of this file: slopes and integrands `[n, POINTS]` -> bool `[n]`."""
    defined = np.isfinite(slope)
    largest = np.abs(f).max(axis=1, keepdims=True)
    allowed = RELATIVE * np.abs(f) + ABSOLUTE * np.where(largest > 0, np.minimum(1.0, largest), 1.0)
    near = np.abs(np.where(defined, slope, f) - f) <= allowed
    return near.all(axis=1) & (defined.sum(axis=1) >= LEAST)


def _task(question: str) -> Task:
    task = parse(question)
    if task is None:
        raise DataError(
            f"integration: no indefinite integral that can be read in the question {question[:80]!r}"
        )
    return task


def right(answers, questions) -> tuple[np.ndarray, int]:
    """Which of B answers integrate what their question asks, bool `[B]`, and how many got no verdict; these are wrong.

    answers `[B]`, each one's text or None; questions `[P]`, as in their file. DataError for a question without an integral.
    """
    group = len(answers) // len(questions)
    found = verdicts([(questions[b // group], answer) for b, answer in enumerate(answers)])
    return np.array([v is True for v in found], bool), found.count(None)
