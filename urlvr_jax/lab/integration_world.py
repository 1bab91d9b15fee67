"""A third world of the laboratory: integrals, which a machine checks by differentiating.

A question is a sum of one to three terms, "I6x^2+8sin(4x)?". A document answers it in one of four ways:

    worked   "6/3=2;8/4=2;A2x^3-2cos(4x)"   each term's quotient, then the answer; each may slip
    direct   "A2x^3-2cos(4x)"               no steps; each term wrong now and then
    derived  "A12x+32cos(4x)"               the derivative
    junk     digits, signs and letters, and no answer

Three terms are rare in documents: those questions are hard for the base. No question has a label.
"""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from urlvr_jax.checks import variants
from urlvr_jax.lab.world import part

SPECIAL = ("<pad>", "<end>", "<unk>")
SYMBOLS = "0123456789+-*/^()=;?xsincoeIA"
LAYERS = 2
HARD = 3  # terms
QUESTIONS = {"train": 1000, "heldout": 400, "hard": 300, "hard_heldout": 300}
_DOCUMENT_STREAM = 203
_PARTS = {"train": "train", "heldout": "heldout", "hard": "train", "hard_heldout": "heldout"}
ASKED, LONGEST = 24, 39  # characters of a question and of a worked answer at most


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What share of documents answers how, how often each way is wrong, and how many terms are asked for."""

    worked: float
    direct: float
    derived: float
    junk: float
    slip: float  # chance that a term of a worked answer is wrong
    direct_wrong: float  # the same of a direct answer
    terms: tuple[float, ...] = (0.45, 0.52, 0.03)  # shares of questions with 1, 2 and 3 terms


RECIPES = {
    "integration": Recipe(worked=0.45, direct=0.40, derived=0.08, junk=0.07, slip=0.06, direct_wrong=0.35),
}


class Term(NamedTuple):
    """factor * x^n for kind "x", else factor * kind(n x): a term of an integrand, of its integral or of its derivative."""

    factor: Fraction
    kind: str  # x, e, sin, cos
    n: int

    def integral(self) -> Term:
        match self.kind:
            case "x":
                return Term(self.factor / (self.n + 1), "x", self.n + 1)
            case "sin":
                return Term(-self.factor / self.n, "cos", self.n)
        return Term(self.factor / self.n, {"e": "e", "cos": "sin"}[self.kind], self.n)

    def derivative(self) -> Term:
        match self.kind:
            case "x":
                return Term(self.factor * self.n, "x", max(self.n - 1, 0))
            case "cos":
                return Term(-self.factor * self.n, "sin", self.n)
        return Term(self.factor * self.n, {"e": "e", "sin": "cos"}[self.kind], self.n)

    @property
    def divisor(self) -> int:
        return self.n + 1 if self.kind == "x" else self.n

    def text(self) -> str:
        """With its sign if it is negative: 2x^3, -5x^3/3, x, 7, e^x, 3e^(2x), -2cos(4x)."""
        above, below = self.factor.numerator, self.factor.denominator
        inner = "x" if self.n == 1 else f"{self.n}x"
        if self.kind == "x":
            base = "" if self.n == 0 else "x" if self.n == 1 else f"x^{self.n}"
        elif self.kind == "e":
            base = "e^x" if self.n == 1 else f"e^({inner})"
        else:
            base = f"{self.kind}({inner})"
        said = "" if abs(above) == 1 and base else str(abs(above))
        return "-" * (above < 0) + said + base + (f"/{below}" if below != 1 else "")


def sum_text(terms) -> str:
    """Terms joined by their signs."""
    said = "".join(t if t[0] == "-" else f"+{t}" for t in (term.text() for term in terms))
    return said.removeprefix("+")


def question(terms) -> str:
    return f"I{sum_text(terms)}?"


def draw(rng, count: int) -> list[Term]:
    """`count` terms of different kinds or powers whose worked answer is not too long."""
    while True:
        terms = {}
        while len(terms) < count:
            sign = 1 if not terms or rng.random() < 0.6 else -1
            kind = ("x", "x", "x", "e", "sin", "cos")[int(rng.integers(6))]
            n = int(rng.integers(0, 6)) if kind == "x" else int(rng.integers(1, 5))
            terms[kind, n] = Term(Fraction(sign * int(rng.integers(1, 10))), kind, n)
        out = list(terms.values())
        worked = _worked(out, [t.integral() for t in out])
        if len(worked) <= LONGEST and len(question(out)) <= ASKED:
            return out


def _worked(terms, integrals) -> str:
    steps = [f"{abs(t.factor)}/{t.divisor}={abs(i.factor)}" for t, i in zip(terms, integrals, strict=True)]
    return ";".join([*steps, f"A{sum_text(integrals)}"])


def _mistaken(term: Term, integral: Term, rng) -> Term:
    """An integral with the sign turned, the factor not divided or near by, or the power not raised."""
    way = int(rng.integers(4))
    if way == 0:
        return integral._replace(factor=-integral.factor)
    if way == 1:
        return integral._replace(factor=term.factor * (1 if integral.factor * term.factor > 0 else -1))
    if way == 2 and term.kind == "x":
        return integral._replace(n=max(term.n, 1))
    step = Fraction(int(rng.choice([-2, -1, 1, 2])))
    return integral._replace(factor=integral.factor + step or integral.factor + 3)


def respond(terms, recipe: Recipe, rng, longest: int) -> str:
    """One document's answer."""
    way = rng.choice(4, p=[recipe.worked, recipe.direct, recipe.derived, recipe.junk])
    if way == 3:
        size = int(rng.integers(1, longest))
        return "".join(rng.choice(list(SYMBOLS.replace("I", "").replace("A", "")), size))
    if way == 2:
        kept = [d for d in (t.derivative() for t in terms) if d.factor]
        return f"A{sum_text(kept) if kept else '0'}"[:longest]
    wrong = recipe.slip if way == 0 else recipe.direct_wrong
    integrals = [_mistaken(t, t.integral(), rng) if rng.random() < wrong else t.integral() for t in terms]
    return (_worked(terms, integrals) if way == 0 else f"A{sum_text(integrals)}")[:longest]


def documents(recipe: str, seed: int, step: int, count: int, longest: int):
    """`count` documents (question, answer, ends), a function of (seed, step)."""
    rng = np.random.default_rng((seed, _DOCUMENT_STREAM, step))
    shares = RECIPES[recipe]
    out = []
    while len(out) < count:
        terms = draw(rng, 1 + int(rng.choice(len(shares.terms), p=shares.terms)))
        text = question(terms)
        if len(terms) > 1 and part(text) != "documents":
            continue
        response = respond(terms, shares, rng, longest)
        out.append((text, response, len(response) < longest))
    return out


def questions(which: str, count: int, seed: int) -> list[dict]:
    """`count` distinct questions of one part, as rows of a question file; of the hard ones HARD terms, else 2 or 3. No labels."""
    rng = np.random.default_rng((seed, _DOCUMENT_STREAM, list(_PARTS).index(which)))
    rows = {}
    while len(rows) < count:
        terms = draw(rng, HARD if which.startswith("hard") else 2 + int(rng.random() < 0.3))
        text = question(terms)
        if part(text) == _PARTS[which]:
            rows[text] = {"prompt": text}
    return list(rows.values())


def curriculum(hard: list[dict]) -> list[dict]:
    """The hard questions with three easier variants of each before them, none of them held out."""
    rows = variants.curriculum(hard, 0, deepest=3, width=1)
    return [row for row in rows if "level" not in row or part(row["prompt"]) != "heldout"]
