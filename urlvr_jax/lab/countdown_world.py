"""A second world of the laboratory: Countdown, where checking is easier than solving.

A question gives three numbers and a target, "C3,7,5=26?". A document answers it in one of four ways:

    solved   "3*7=21;21+5=26;A3*7+5"    step by step, to the target; each step may slip
    tried    "3+7=10;10*5=50;A(3+7)*5"  step by step, at random: rarely the target
    direct   "A3*7+5"                   no steps, often wrong
    junk     digits and signs, and no answer

A recipe may also contain documents that judge a question and a response to it, in one of two wordings, and
end with "Y" or "N". Only a base that has read such documents can be asked for a verdict. Some judge a bluff: a
response that looks right and is not, as a policy might learn to write; some a near miss: right numbers, right sums,
another result. A judge that computes works the answer out first, "3*7=21;21+5=26;Y"; one that compares writes the target
beside what comes out, "3*7=21;21+5=26;27;N".
"""

from __future__ import annotations

import ast
import dataclasses

import numpy as np

from urlvr_jax.answers import extract
from urlvr_jax.checks import countdown
from urlvr_jax.lab.world import part

SPECIAL = ("<pad>", "<end>", "<unk>")
SYMBOLS = "0123456789+-*=;?,()CAVYN"
LAYERS = 3  # of its models: one more than for sums, so that they can check
QUESTIONS = {"train": 800, "heldout": 600}
LARGEST_NUMBER, LARGEST = 9, 99
_DOCUMENT_STREAM = 202
_TRIES = 1000
MOST_WORKING = 18  # characters: "9*9=81;81*9=729;" has 16
_SIGNS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}
WORDINGS = {"question_first": "V{prompt}{response}?", "response_first": "V{response}?{prompt}"}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What share of documents answers how, and how often each way is wrong."""

    solved: float
    tried: float
    direct: float
    junk: float
    slip: float  # chance that one step's result is wrong
    direct_wrong: float  # chance that a direct answer is a random expression
    judging: float = 0.0  # share of documents that give a verdict
    verdict_wrong: float = 0.0
    bluff: float = 0.0  # share of judged responses that are made to look right
    near: float = 0.0  # and of those that reach another result by right steps
    missed: float = 0.0  # and of those that are right but for the target, which is a little beside
    by: str = (
        ""  # what a verdict follows: "steps" of the answer's expression, "steps and target"; "" nothing
    )


_ANSWERS = dict(solved=0.60, tried=0.25, direct=0.10, junk=0.05, slip=0.03, direct_wrong=0.5)
RECIPES = {
    "countdown": Recipe(**_ANSWERS),
    "countdown_judge": Recipe(**_ANSWERS, judging=0.5, verdict_wrong=0.03, bluff=0.2),
    "countdown_verdicts": Recipe(**_ANSWERS, judging=0.8, verdict_wrong=0.03, bluff=0.2),  # goes on from it
    # These go on from lab:countdown_judge.
    "countdown_computing": Recipe(
        **_ANSWERS, judging=0.7, verdict_wrong=0.0, bluff=0.2, near=0.3, by="steps"
    ),
    "countdown_checker": Recipe(
        **_ANSWERS, judging=0.7, verdict_wrong=0.0, bluff=0.2, near=0.15, missed=0.3, by="steps and target"
    ),
}


@dataclasses.dataclass(frozen=True)
class Chain:
    """((a s b) t c): three numbers in the order they are used, two signs."""

    numbers: tuple[int, int, int]
    signs: tuple[str, str]

    def values(self) -> tuple[int, int]:
        a, b, c = self.numbers
        first = _apply(self.signs[0], a, b)
        return first, _apply(self.signs[1], first, c)

    def expression(self) -> str:
        a, b, c = self.numbers
        inner = f"{a}{self.signs[0]}{b}"
        if self.signs[1] == "*" and self.signs[0] != "*":
            inner = f"({inner})"
        return f"{inner}{self.signs[1]}{c}"


def _apply(sign: str, a: int, b: int) -> int:
    return a + b if sign == "+" else a - b if sign == "-" else a * b


def _draw(numbers, rng) -> Chain:
    """The numbers in a random order under random signs, every value within 0..LARGEST."""
    for _ in range(_TRIES):
        order = tuple(int(n) for n in rng.permutation(numbers))
        chain = Chain(order, tuple("+-*"[int(i)] for i in rng.integers(3, size=2)))
        if all(0 <= v <= LARGEST for v in chain.values()):
            return chain
    raise ValueError(f"no chain of {numbers} stays within 0..{LARGEST}")


def task(rng) -> tuple[tuple[int, ...], Chain]:
    """Three numbers, and one way to the target."""
    numbers = tuple(int(n) for n in rng.integers(1, LARGEST_NUMBER + 1, 3))
    return numbers, _draw(numbers, rng)


def question(numbers, target: int) -> str:
    return f"C{','.join(map(str, numbers))}={target}?"


def _steps(chain: Chain, slip: float, rng) -> str:
    (a, b, c), (s, t) = chain.numbers, chain.signs
    first = _slipped(_apply(s, a, b), slip, rng)
    second = _slipped(_apply(t, first, c), slip, rng)
    return f"{a}{s}{b}={first};{first}{t}{c}={second};A{chain.expression()}"


def _slipped(value: int, slip: float, rng) -> int:
    return value + int(rng.choice([-10, -2, -1, 1, 2, 10])) if rng.random() < slip else value


def respond(numbers, solution: Chain, recipe: Recipe, rng, longest: int) -> str:
    """One document's answer."""
    way = rng.choice(4, p=[recipe.solved, recipe.tried, recipe.direct, recipe.junk])
    if way == 3:
        size = int(rng.integers(1, longest))
        return "".join(rng.choice(list("0123456789+-*=;()"), size))
    guess = way == 1 or (way == 2 and rng.random() < recipe.direct_wrong)
    chain = _draw(numbers, rng) if guess else solution
    text = f"A{chain.expression()}" if way == 2 else _steps(chain, recipe.slip, rng)
    return text[:longest]


def _bluff(numbers, solution: Chain, rng) -> str:
    """A response that ends at the target by a false result, a number nobody gave, or a number left out; or
    whose expression is not what its steps say."""
    target = solution.values()[1]
    guess = _draw(numbers, rng)
    (a, b, c), (s, t) = guess.numbers, guess.signs
    first = guess.values()[0]
    kind = rng.choice(4)
    if kind == 0:
        return f"{a}{s}{b}={first};{first}{t}{c}={target};A{guess.expression()}"
    if kind == 1:
        t, c = ("+", target - first) if target > first else ("-", first - target)
        return f"{a}{s}{b}={first};{first}{t}{c}={target};A{a}{s}{b}{t}{c}"
    if kind == 2:
        return f"{a}{s}{b}={target if rng.random() < 0.5 else first};A{a}{s}{b}"
    return f"{_steps(solution, 0.0, rng).rpartition('A')[0]}A{guess.expression()}"


def _response_to_judge(numbers, solution: Chain, recipe: Recipe, rng, longest: int) -> str:
    kind = rng.random()
    if kind < recipe.bluff:
        return _bluff(numbers, solution, rng)[:longest]
    if kind < recipe.bluff + recipe.near:
        return _steps(_draw(numbers, rng), 0.0, rng)[:longest]
    return respond(numbers, solution, recipe, rng, longest)


def _judged(
    text: str, numbers, solution: Chain, recipe: Recipe, rng, longest: int
) -> tuple[str, str] | None:
    """A document that judges: its prompt, and the verdict of the exact check, but for a few mistakes. None where another
    part of the world has its question."""
    target = solution.values()[1]
    if recipe.missed and rng.random() < recipe.missed:
        response = _steps(solution, 0.0, rng)[:longest]
        target = abs(_slipped(target, 1.0, rng))
        text = question(numbers, target)
        if part(text) != "documents":
            return None
    else:
        response = _response_to_judge(numbers, solution, recipe, rng, longest)
    found = extract.extract(response, "lab_expression")
    right = countdown.solves(found and found.text, countdown.Task(numbers, target))
    right ^= rng.random() < recipe.verdict_wrong
    wording = list(WORDINGS.values())[int(rng.integers(len(WORDINGS)))]
    work = working(found.text) if found and recipe.by else ""
    beside = f"{target};" if work and recipe.by == "steps and target" else ""
    return wording.format(prompt=text, response=response), f"{work}{beside}{'Y' if right else 'N'}"


def working(expression: str) -> str:
    """The steps of an expression of at most three numbers, as a solution writes them: "(3+7)*5" -> "3+7=10;10*5=50;".

    Empty for any other text, and where they would be longer than MOST_WORKING.
    """
    steps: list[str] = []
    try:
        _work(countdown.parsed(expression), steps)
    except countdown.ExpressionError:
        return ""
    text = "".join(steps)
    return text if len(steps) <= 2 and len(text) <= MOST_WORKING else ""


def _work(node: ast.expr, steps: list[str]) -> int:
    """The value of a tree; its operations are added to the steps."""
    match node:
        case ast.Constant(value=int()):
            return node.value
        case ast.BinOp() if type(node.op) in _SIGNS:
            sign, left, right = _SIGNS[type(node.op)], _work(node.left, steps), _work(node.right, steps)
            steps.append(f"{left}{sign}{right}={_apply(sign, left, right)};")
            return _apply(sign, left, right)
    raise countdown.ExpressionError(f"{type(node).__name__} has no place here")


def documents(recipe: str, seed: int, step: int, count: int, longest: int):
    """`count` documents (question, answer, ends), a function of (seed, step)."""
    rng = np.random.default_rng((seed, _DOCUMENT_STREAM, step))
    out = []
    shares = RECIPES[recipe]
    while len(out) < count:
        numbers, solution = task(rng)
        text = question(numbers, solution.values()[1])
        if part(text) != "documents":
            continue
        if rng.random() < shares.judging:
            judged = _judged(text, numbers, solution, shares, rng, longest)
            out += [(*judged, True)] if judged else []
        else:
            response = respond(numbers, solution, shares, rng, longest)
            out.append((text, response, len(response) < longest))
    return out


def questions(which: str, count: int, seed: int) -> list[dict]:
    """`count` distinct questions of one part, as rows of a question file. No labels: a checker reads them."""
    rng = np.random.default_rng((seed, _DOCUMENT_STREAM, ("heldout", "train").index(which)))
    rows = {}
    while len(rows) < count:
        numbers, solution = task(rng)
        text = question(numbers, solution.values()[1])
        if part(text) == which:
            rows[text] = {"prompt": text}
    return list(rows.values())
