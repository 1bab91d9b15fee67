"""The laboratory's world: chains of sums, and documents that behave as a base model's corpus does.

A question is a chain of 2 to 5 numbers, "Q16-13+2?". A document answers it in one of four ways:

    worked   "16-13=3;3+2=5;A5"    step by step; each step may slip, and the slip is carried on
    direct   "A5"                  from the hip, often wrong
    loop     "16-13=3;16-13=3;..." says the first step again and again; rarely finds its way out
    junk     digits and signs, and no answer

A recipe may also contain documents of the dual task: the chain with a number hidden and the result given, "Q16-?+2=5?", and
the hidden number worked out, "5-2=3;16-3=13;A13".

A recipe says how often each occurs: the prior that training without labels will sharpen. Every
question belongs to exactly one of three parts by the hash of its text: held-out questions, training
questions, and the questions of pretraining documents. So no held-out question can be seen before.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import re

import numpy as np

SPECIAL = ("<pad>", "<end>", "<unk>")
SYMBOLS = "0123456789+-=;?QA"  # no spare ids: self-certainty averages over all of them
LAYERS = 2  # of its models
QUESTIONS = {"train": 2048, "heldout": 600}
PARTS = ("heldout", "train") + ("documents",) * 8
LARGEST = 99  # running values stay within 0..LARGEST
DUAL_SLIP = 0.03  # chance that one step of a dual task is wrong
_DOCUMENT_STREAM, _CORPUS_STREAM = 201, 202


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What share of documents answers how, and how often each way is wrong."""

    worked: float
    direct: float
    loop: float
    junk: float
    slip: float  # chance that one worked step is wrong
    direct_wrong: float  # chance that a direct answer is wrong
    blind: float = 0.0  # share of wrong direct answers that forget the last number: a shared error
    loop_exit: float = 0.1  # chance, after each repetition, to go on with the solution
    dual: float = 0.0  # share of documents that look for a hidden number


RECIPES = {
    "plain": Recipe(worked=0.42, direct=0.42, loop=0.08, junk=0.08, slip=0.07, direct_wrong=0.30),
    "careful": Recipe(worked=0.70, direct=0.20, loop=0.05, junk=0.05, slip=0.03, direct_wrong=0.15),
    "hasty": Recipe(
        worked=0.20, direct=0.64, loop=0.08, junk=0.08, slip=0.10, direct_wrong=0.60, blind=0.8
    ),
    "rash": Recipe(worked=0.30, direct=0.54, loop=0.08, junk=0.08, slip=0.08, direct_wrong=0.45, blind=0.6),
    "sloppy": Recipe(worked=0.55, direct=0.30, loop=0.08, junk=0.07, slip=0.15, direct_wrong=0.30),
    "steady": Recipe(worked=0.55, direct=0.32, loop=0.07, junk=0.06, slip=0.05, direct_wrong=0.20),
    "dual": Recipe(worked=0.42, direct=0.42, loop=0.08, junk=0.08, slip=0.07, direct_wrong=0.30, dual=0.5),
    "clean": Recipe(worked=1.0, direct=0.0, loop=0.0, junk=0.0, slip=0.0, direct_wrong=0.0),
}


CORPORA = {"sums": 0.0, "sums_wrong": 0.3}  # of questions and answers: what share of the answers is wrong


def chain(rng: np.random.Generator) -> tuple[list[int], list[str]]:
    """Numbers and signs of one question; every running value is within 0..LARGEST."""
    count = int(rng.integers(2, 6))
    numbers = [int(rng.integers(1, 20))]
    signs = []
    value = numbers[0]
    while len(numbers) < count:
        sign = "+-"[int(rng.integers(2))]
        number = int(rng.integers(1, 20))
        after = value + number if sign == "+" else value - number
        if 0 <= after <= LARGEST:
            numbers.append(number)
            signs.append(sign)
            value = after
    return numbers, signs


def question(numbers, signs) -> str:
    return f"Q{numbers[0]}" + "".join(f"{s}{n}" for s, n in zip(signs, numbers[1:], strict=True)) + "?"


def rephrase(text: str) -> str:
    """The same sum in another order, "Q16-13+2?" -> "Q16+2-13?"; the question itself where there is no
    other order whose running values stay in range, or only held-out ones. A function of the text alone."""
    terms = re.findall(r"[+-]?\d+", text)
    signed = [(t.lstrip("+-"), "-" if t.startswith("-") else "+") for t in terms]
    orders = []
    for order in sorted(set(itertools.permutations(signed))):
        numbers = [int(n) for n, _ in order]
        signs = [s for _, s in order[1:]]
        values = itertools.accumulate(int(s + n) for n, s in order)
        if order[0][1] == "+" and all(0 <= v <= LARGEST for v in values):
            orders.append(question(numbers, signs))
    others = [q for q in orders if q != text and part(q) != "heldout"]
    return others[hashlib.sha256(text.encode()).digest()[1] % len(others)] if others else text


def part(text: str) -> str:
    """Which part of the world a question belongs to."""
    return PARTS[hashlib.sha256(text.encode()).digest()[0] % len(PARTS)]


def evaluate(numbers, signs) -> int:
    value = numbers[0]
    for sign, number in zip(signs, numbers[1:], strict=True):
        value += number if sign == "+" else -number
    return value


def _wrong(value: int, rng) -> int:
    """A near miss: off by one or two, or by ten."""
    options = [v for v in (value - 10, value - 2, value - 1, value + 1, value + 2, value + 10) if v >= 0]
    return int(rng.choice(options))


def _steps(numbers, signs, slip: float, rng) -> list[str]:
    value = numbers[0]
    steps = []
    for sign, number in zip(signs, numbers[1:], strict=True):
        result = value + number if sign == "+" else value - number
        if rng.random() < slip:
            result = _wrong(max(result, 0), rng)
        # A slip may drive the chain out of range: the text stays a number all the same.
        steps.append(f"{value}{sign}{number}={result}")
        value = result
    return [*steps, f"A{value}"]


def respond(numbers, signs, recipe: Recipe, rng, longest: int) -> tuple[str, bool]:
    """One document's answer, and whether it ends (a loop may run into the page's edge)."""
    way = rng.choice(4, p=[recipe.worked, recipe.direct, recipe.loop, recipe.junk])
    if way == 1:
        value = evaluate(numbers, signs)
        if rng.random() < recipe.direct_wrong:
            blind = evaluate(numbers[:-1], signs[:-1])
            value = blind if rng.random() < recipe.blind else _wrong(value, rng)
        return f"A{value}", True
    if way == 3:
        size = int(rng.integers(1, longest))
        return "".join(rng.choice(list("0123456789+-=;?"), size)), True
    steps = _steps(numbers, signs, recipe.slip, rng)
    if way == 2:
        again = [steps[0]]
        while len(";".join(again)) < longest and rng.random() >= recipe.loop_exit:
            again.append(steps[0])
        steps = again + steps[1:]
    text = ";".join(steps)
    return text[:longest], len(text) < longest


# ---- the dual task, of DuPO ------------------------------------------------------------------------


def hide(text: str, answer: str) -> tuple[str, str] | None:
    """The dual of a question and an answer to it: ("Q16-13+2?", "5") -> ("Q16-?+2=5?", "13"), and what is hidden.

    Which number is a function of the question alone. None for what is no question of this world.
    """
    found = re.fullmatch(r"Q(\d+(?:[+-]\d+)+)\?", text)
    if found is None or not re.fullmatch(r"-?\d{1,12}", answer):
        return None
    numbers, signs = re.findall(r"\d+", found[1]), re.findall(r"[+-]", found[1])
    hidden = hashlib.sha256(text.encode()).digest()[2] % len(numbers)
    return _dual_question(numbers, signs, hidden, answer), numbers[hidden]


def _dual_question(numbers, signs, hidden: int, answer) -> str:
    shown = ["?" if i == hidden else n for i, n in enumerate(numbers)]
    return f"{question(shown, signs)[:-1]}={answer}?"


def _dual_steps(numbers, signs, hidden: int, answer: int, slip: float, rng) -> list[str]:
    """From both ends to the hidden number; each step may slip, and the slip is carried on."""
    steps = []

    def step(left: int, sign: str, right: int) -> int:
        result = left + right if sign == "+" else left - right
        result = _wrong(max(result, 0), rng) if rng.random() < slip else result
        steps.append(f"{left}{sign}{right}={result}")
        return result

    before, after = numbers[0], answer
    for sign, number in zip(signs[: max(hidden - 1, 0)], numbers[1:hidden], strict=True):
        before = step(before, sign, number)
    for sign, number in zip(signs[hidden:][::-1], numbers[hidden + 1 :][::-1], strict=True):
        after = step(after, "-" if sign == "+" else "+", number)
    if hidden:
        after = step(after, "-", before) if signs[hidden - 1] == "+" else step(before, "-", after)
    return [*steps, f"A{after}"]


def _dual(numbers, signs, slip: float, rng, longest: int) -> tuple[str, str, bool] | None:
    """A document of the dual task. Half of the results are a little beside: then the hidden number is another. None where
    the chain with the hidden number, or with the one that is found, belongs to another part of the world."""
    hidden = int(rng.integers(len(numbers)))
    answer = evaluate(numbers, signs)
    answer = _wrong(answer, rng) if rng.random() < 0.5 else answer
    right, found = (_dual_steps(numbers, signs, hidden, answer, s, rng) for s in (0.0, slip))
    for steps in (right, found):
        number = steps[-1].removeprefix("A")
        if part(question([*numbers[:hidden], number, *numbers[hidden + 1 :]], signs)) != "documents":
            return None
    text = ";".join(found)
    return _dual_question(numbers, signs, hidden, answer), text[:longest], len(text) < longest


def documents(recipe: str, seed: int, step: int, count: int, longest: int):
    """`count` documents (question, answer, ends), a function of (seed, step)."""
    rng = np.random.default_rng((seed, _DOCUMENT_STREAM, step))
    out, shares = [], RECIPES[recipe]
    while len(out) < count:
        numbers, signs = chain(rng)
        text = question(numbers, signs)
        if part(text) != "documents":
            continue
        if shares.dual and rng.random() < shares.dual:
            dual = _dual(numbers, signs, DUAL_SLIP, rng, longest)
            out += [dual] if dual else []
        else:
            out.append((text, *respond(numbers, signs, shares, rng, longest)))
    return out


def questions(which: str, count: int, seed: int) -> list[dict]:
    """`count` distinct questions of one part with their answers, as rows of a question file."""
    rng = np.random.default_rng((seed, PARTS.index(which)))
    rows = {}
    while len(rows) < count:
        numbers, signs = chain(rng)
        text = question(numbers, signs)
        if part(text) == which:
            rows[text] = {"prompt": text, "answer": str(evaluate(numbers, signs))}
    return list(rows.values())


def told(wrong: float) -> list[str]:
    """Texts "Q16-13+2?A5", one a training question, without the steps between; a share of the answers is wrong."""
    rng = np.random.default_rng(_CORPUS_STREAM)
    out = []
    for row in questions("train", QUESTIONS["train"], seed=0):
        value = int(row["answer"])
        out.append(f"{row['prompt']}A{_wrong(value, rng) if rng.random() < wrong else value}")
    return out
