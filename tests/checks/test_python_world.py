"""The laboratory's world of Python: its questions are read by the checks, and its solutions are right by the sandbox."""

import hashlib
import json
import re

import numpy as np
import pytest
from test_sandbox import needs_sandbox

from urlvr_jax.answers.extract import extract, fences
from urlvr_jax.checks import python_programs
from urlvr_jax.checks.python_programs import python_tasks, read_tests, task_of, unit_tests
from urlvr_jax.data.files import read_rows
from urlvr_jax.data.tokenizer import Tokenizer
from urlvr_jax.lab import python_world as python
from urlvr_jax.lab import shipped
from urlvr_jax.models import folders

TOKENIZER = Tokenizer(shipped.base("lab:untrained_python"))
SECONDS = 10.0


def documents(step: int, seed: int = 0):
    return python.documents("python", seed, step, 64, 39)


def asked(which: str) -> list[str]:
    return [row["prompt"] for row in read_rows(f"lab:python_{which}")]


def function_in(question: str) -> str:
    """A question's function; of an induction the line through its tests."""
    found = re.search(r"def f\(x\): return .*", question)
    if found:
        return found[0]
    (x, value), (y, other), (z, third) = [
        (int(test.given[2:-1]), test.expected) for test in read_tests({}, question)
    ]
    assert y == x + 1
    factor = other - value
    line = python.Line(factor, value - factor * x)
    assert (line(x), line(y), line(z)) == (value, other, third)
    return python.text_of(line)


def verdict(question: str, response: str) -> float:
    """The check's own, in this process."""
    found = extract(response, "fence")
    answer = found and found.text.strip()
    if question.startswith("assert"):
        return unit_tests(answer, read_tests({}, question), SECONDS)
    return python_tasks(answer, task_of(question), SECONDS)


@pytest.mark.parametrize("which", python.QUESTIONS)
def test_every_question_is_one_that_its_check_can_judge(which):
    questions = asked(which)
    assert len(questions) == len(set(questions)) == python.QUESTIONS[which]
    name = "unit_tests" if which.startswith("tests") else "python_tasks"
    python_programs.require(name, questions)
    assert max(map(len, TOKENIZER.encode_batch(questions))) <= python.ASKED


def test_no_held_out_function_is_asked_about_anywhere_else():
    functions = lambda *names: {function_in(q) for name in names for q in asked(name)}
    train, heldout = (functions(f"tasks_{part}", f"tests_{part}") for part in ("train", "heldout"))
    pretraining = {function_in(q) for step in range(1, 40) for q, _, _ in documents(step)}
    assert not train & heldout and not pretraining & (train | heldout)


def test_documents_are_a_function_of_seed_and_step():
    assert documents(5) == documents(5)
    assert documents(5) not in (documents(6), documents(5, seed=1))


def test_documents_read_back_as_they_were_written_and_fit():
    written = [d for step in range(1, 40) for d in documents(step)]
    texts = [text for question, response, _ in written for text in (question, response)]
    ids = TOKENIZER.encode_batch(texts)
    assert TOKENIZER.decode(ids) == texts
    assert not {0, 1, 2} & {i for row in ids for i in row}
    assert max(map(len, ids[::2])) <= python.ASKED and max(map(len, ids[1::2])) <= 39
    assert np.mean([ends for *_, ends in written]) > 0.99


def test_documents_answer_as_their_recipe_says():
    shares = python.RECIPES["python"]
    written = [d for step in range(1, 60) for d in documents(step)]
    kinds = {"assert": "python", "input": "output", "output": "input"}
    blocks = [fences(response) for _, response, _ in written]
    assert {len(found) for found in blocks} == {0, 1}
    for (question, _, _), found in zip(written, blocks, strict=True):
        known = "assert" if question.startswith("assert") else fences(question)[-1][0]
        assert all(name == kinds[known] for name, _ in found)
    share = lambda flags: np.mean(list(flags))
    assert abs(share(not found for found in blocks) - shares.junk) < 0.02
    assert abs(share(response.startswith("```") for _, response, _ in written) - shares.direct) < 0.03
    assert abs(share(question.startswith("assert") for question, *_ in written) - 1 / 3) < 0.03


def test_the_base_is_the_one_on_record_and_reads_the_worlds_symbols():
    base = shipped.base("lab:python")
    recipe = json.loads((base / "recipe.json").read_text())
    assert recipe["sha256"] == hashlib.sha256((base / "model.safetensors").read_bytes()).hexdigest()
    folders.check_weights(base, folders.model_config(base))
    assert Tokenizer(base).hf.get_vocab() == TOKENIZER.hf.get_vocab()
    assert len(TOKENIZER.hf.get_vocab()) == len(python.SPECIAL) + len(python.SYMBOLS)


@needs_sandbox
@pytest.mark.parametrize("kind", python.KINDS)
def test_a_solution_without_slips_is_right_and_so_is_each_of_its_steps(kind):
    rng = np.random.default_rng(0)
    tasks = [python.drawn(rng, (kind,), "documents") for _ in range(25)]
    for task in tasks:
        response = python.solved(task, 0.0, rng)
        assert verdict(python.question(task), response) == 1, response
        assert len(TOKENIZER.encode(response)) <= python.LONGEST
        for step in response.partition("\n")[0].split(";"):
            left, right = step.split("=")
            assert eval(left) == eval(right), step


@needs_sandbox
def test_direct_answers_are_right_as_often_as_the_recipe_says_or_by_luck():
    rng = np.random.default_rng(1)
    tasks = [python.drawn(rng, python.KINDS, "documents") for _ in range(40)]
    said = lambda wrong: [verdict(python.question(t), python.direct(t, wrong, rng)) == 1 for t in tasks]
    assert all(said(0.0)) and np.mean(said(1.0)) < 0.3
