"""The laboratory's programs: an interpreter that always ends, and a world of questions that it judges."""

import re

import helpers
import numpy as np
import pytest

from urlvr_jax.answers import classes as classes_lib
from urlvr_jax.checks import programs
from urlvr_jax.checks.grading import Asked
from urlvr_jax.checks.programs import Task
from urlvr_jax.checks.table import CHECKS
from urlvr_jax.errors import DataError
from urlvr_jax.lab import programs_world
from urlvr_jax.rewards import expression


def reference(text: str, value: int) -> int:
    """The language once more, read letter by letter."""
    at = 0

    def number():
        nonlocal at
        start = at
        while at < len(text) and text[at].isdigit():
            at += 1
        return int(text[start:at])

    def change():
        nonlocal at
        sign = text[at]
        at += 1
        by = number()
        return {"+": lambda v: v + by, "-": lambda v: v - by, "*": lambda v: v * by}[sign]

    while at < len(text):
        if text[at] in "<>":
            below = text[at] == "<"
            at += 1
            than = number()
            holds = value < than if below else value > than
            made = change()
            value = made(value) % 100 if holds else value
        elif text[at] == "[":
            at += 1
            made = change()
            at += 2
            for _ in range(int(text[at - 1])):
                value = made(value) % 100
        else:
            value = change()(value) % 100
    return value


def test_the_interpreter_agrees_with_one_that_was_written_apart():
    rng = np.random.default_rng(0)
    for _ in range(2000):
        text = "".join(
            str(rng.choice(["", f"<{rng.integers(100)}", f">{rng.integers(100)}"]))
            + f"{rng.choice(list('+-*'))}{rng.integers(100)}"
            if rng.random() < 0.7
            else f"[{rng.choice(list('+-*'))}{rng.integers(100)}]{rng.integers(10)}"
            for _ in range(rng.integers(1, 6))
        )
        value = int(rng.integers(100))
        task = programs.parse(f"D{text}|{value}?")
        assert task is not None and task.value == value, text
        assert "".join(map(str, task.program)) in (text, text.replace("]1", "")) or "]1" in text
        assert programs.run(task.program, value) == reference(text, value), text


def test_every_text_gets_a_verdict_and_none_takes_long():
    rng = np.random.default_rng(1)
    letters = list(programs_world.SYMBOLS)
    for _ in range(3000):
        text = "D" + "".join(rng.choice(letters, 20)) + "+1|5?"
        task = programs.parse(text)
        assert task is None or 0 <= programs.run(task.program, task.value) < 100
        answer = "".join(rng.choice(letters, rng.integers(0, 4)))
        assert programs.solves(answer, task or programs.parse("I*0|0?")) in (True, False)


def test_a_deduction_has_one_answer_and_an_abduction_all_inputs_that_lead_there():
    deduction, abduction = programs.parse("D+3<9*2|4?"), programs.parse("Q: I+3<9*2|14? I+3<9*2|14?")
    assert deduction == Task("D", abduction.program, 4)
    assert [a for a in range(100) if programs.solves(str(a), deduction)] == [14]
    assert [a for a in range(100) if programs.solves(str(a), abduction)] == [4, 11]
    for answer in (None, "", "-4", "104", "4.0", "٤", "4 ", "x"):
        assert not programs.solves(answer, abduction), answer


@pytest.mark.parametrize(
    "text", ["", "D|4?", "D+3|4", "X+3|4?", "D[+3]|4?", "D<9|4?", "D+333|4?", "D" + "+1" * 9 + "|4?"]
)
def test_what_is_no_program_is_none(text):
    assert programs.parse(text) is None


def test_the_reward_and_the_check_are_the_interpreters_verdict():
    questions, answers = ("D+3<9*2|4?", "I+3<9*2|14?"), ("14", "11", None, "11", "4", "5")
    fn = expression.load("programs")
    given = helpers.reward_inputs(
        fn, lengths=np.ones(6, np.int32), group=3, questions=questions, texts=("",) * 6, answer_text=answers
    )
    expected = [[1, 0, 0], [1, 1, 0]]
    np.testing.assert_array_equal(np.asarray(expression.compute(fn, given)), expected)
    check = CHECKS["programs"]
    texts = [f"A{a}" if a else "no" for a in answers]
    found = check.grade(
        classes_lib.read_answers(texts, 3, "lab", check.key_of), Asked(questions, questions, None)
    )
    np.testing.assert_array_equal(found.correct, np.array(expected, bool))
    with pytest.raises(DataError, match="no program in the question 'What is 2"):
        programs.right(["4"], ["What is 2+2?"])


# ---- the world --------------------------------------------------------------------------------


def asked_in(step: int) -> list[tuple[str, str]]:
    return [(q, r) for q, r, _ in programs_world.documents("programs", 0, step, 128, 39)]


def test_questions_are_solvable_and_no_held_out_program_is_seen_anywhere_else():
    rows = {w: [r["prompt"] for r in programs_world.questions(w, 300, 0)] for w in ("train", "heldout")}
    program = lambda question: re.match(r"[DI](.*)\|", question)[1]
    parts = [{program(q) for q in rows["train"]}, {program(q) for q in rows["heldout"]}]
    parts.append({program(q) for step in range(1, 7) for q, _ in asked_in(step)})
    assert not parts[0] & parts[1] and not parts[2] & (parts[0] | parts[1])
    several = 0
    for question in rows["train"]:
        task = programs.parse(question)
        right = sum(programs.solves(str(a), task) for a in range(100))
        assert right == 1 if task.kind == "D" else right >= 1, question
        several += right > 1
        assert len(question) <= 24
    assert several > 50  # abductions with more than one answer


def test_documents_answer_as_their_recipe_says():
    shares = programs_world.RECIPES["programs"]
    right = {"D": [], "I": []}
    direct = junk = 0
    documents = [d for step in range(1, 11) for d in asked_in(step)]
    for question, response in documents:
        assert set(question + response) <= set(programs_world.SYMBOLS)
        found = re.findall(r"A(-?\d+)", response)
        junk += not found
        direct += bool(re.fullmatch(r"A\d+", response))
        right[question[0]].append(programs.solves(found[-1] if found else None, programs.parse(question)))
    count = len(documents)
    assert abs(direct / count - shares.direct) < 0.05 and abs(junk / count - shares.junk) < 0.03
    assert 0.45 < np.mean(right["D"]) < 0.65 and 0.45 < np.mean(right["I"]) < 0.65
    assert abs(len(right["D"]) / count - 0.5) < 0.05


def test_a_worked_solution_without_slips_says_what_the_interpreter_does():
    rng = np.random.default_rng(0)
    for _ in range(500):
        program, value = programs_world.task(rng)
        text, end = programs_world._written(programs_world.steps(program, value), 0.0, rng)
        assert end == programs.run(program, value)
        for step in text.split(";"):
            left, right = step.split("=")
            assert eval(left) == int(right)
