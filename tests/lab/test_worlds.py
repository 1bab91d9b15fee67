"""The laboratory's worlds keep their promises, and what ships is what its recipes make."""

import collections
import functools
import json
import pathlib
import re

import numpy as np
import pytest

from urlvr_jax.checks import countdown
from urlvr_jax.data import corpus
from urlvr_jax.data.files import read_rows
from urlvr_jax.data.tokenizer import Tokenizer
from urlvr_jax.lab import build, countdown_world, integration_world, programs_world, python_world, world
from urlvr_jax.lab import shipped as shipped_lib

UNTRAINED = pathlib.Path(build.__file__).parent / "bases" / "untrained"
TOKENIZER = Tokenizer(UNTRAINED)


def shipped(which):
    return read_rows(f"lab:{which}")


def test_regenerating_the_question_files_gives_the_shipped_bytes(tmp_path):
    build.write_questions(tmp_path, world, "")
    build.write_questions(tmp_path, countdown_world, "countdown_")
    build.write_questions(tmp_path, programs_world, "programs_")
    build.write_questions(tmp_path, integration_world, "integration_")
    build.write_questions(tmp_path, python_world, "python_")
    integrals = ["integration_variants", *(f"integration_{which}" for which in integration_world.QUESTIONS)]
    both = [prefix + part for prefix in ("", "countdown_", "programs_") for part in ("train", "heldout")]
    for which in (*both, *integrals, *(f"python_{which}" for which in python_world.QUESTIONS)):
        new, old = tmp_path / f"{which}.jsonl", shipped_lib.questions(f"lab:{which}")
        assert new.read_bytes() == old.read_bytes()


def test_regenerating_the_untrained_folder_gives_the_shipped_tokenizer(tmp_path):
    read = lambda path: json.loads((path / "tokenizer.json").read_text())
    for of, name in (
        (world, "lab:untrained"),
        (countdown_world, "lab:untrained_countdown"),
        (programs_world, "lab:untrained_programs"),
        (integration_world, "lab:untrained_integration"),
        (python_world, "lab:untrained_python"),
    ):
        build.write_folder(tmp_path / name, of)
        assert read(tmp_path / name) == read(shipped_lib.base(name))


def test_gold_answers_are_right():
    for row in shipped("train") + shipped("heldout"):
        assert re.fullmatch(r"Q\d+([+-]\d+)*\?", row["prompt"])
        assert str(eval(row["prompt"][1:-1])) == row["answer"]


def test_no_heldout_question_is_a_training_question():
    train, heldout = ([r["prompt"] for r in shipped(which)] for which in ("train", "heldout"))
    assert len(train) == len(set(train)) == world.QUESTIONS["train"]
    assert len(heldout) == len(set(heldout)) == world.QUESTIONS["heldout"]
    assert not set(train) & set(heldout)


@functools.cache
def pretraining(recipe):
    """The documents of a base's first 100 steps."""
    return [d for step in range(1, 101) for d in world.documents(recipe, 0, step, 128, 43)]


@pytest.mark.parametrize("recipe", world.RECIPES)
def test_no_heldout_or_training_question_is_asked_in_pretraining(recipe):
    asked = {question for question, _, _ in pretraining(recipe)}
    for which in ("heldout", "train"):
        assert not asked & {row["prompt"] for row in shipped(which)}


@pytest.mark.parametrize("recipe", world.RECIPES)
def test_no_heldout_question_occurs_within_a_pretraining_response(recipe):
    heldout = {row["prompt"] for row in shipped("heldout")}
    mark = re.compile(r"(?=(Q[0-9+-]+\?))")
    for _, response, _ in pretraining(recipe):
        assert not heldout & set(mark.findall(response)), response


def test_documents_are_a_function_of_seed_and_step():
    at = lambda step, seed: corpus.documents_at("lab:plain", TOKENIZER, step, 16, seed, (16,), 44)
    one, two, other_step, other_seed = at(5, 0), at(5, 0), at(6, 0), at(5, 1)
    for (prompts, rollouts), same in (((one), True), ((other_step), False), ((other_seed), False)):
        assert (prompts.texts == two[0].texts) is same
        assert np.array_equal(rollouts.tokens, two[1].tokens) is same


def test_documents_read_back_as_the_world_wrote_them():
    prompts, rollouts = corpus.documents_at("lab:plain", TOKENIZER, 7, 200, 0, (16,), 44)
    written = world.documents("plain", 0, 7, 200, 43)
    cut = [row[:n] for row, n in zip(rollouts.tokens, rollouts.lengths, strict=True)]
    for i, (question, response, ends) in enumerate(written):
        assert TOKENIZER.decode([prompts.tokens[i, : prompts.lengths[i]]]) == [question]
        assert TOKENIZER.decode([cut[i]]) == [response]
        assert rollouts.ended[i] == ends == (cut[i][-1] == TOKENIZER.stop_ids[0])
        assert rollouts.lengths[i] <= 44
        assert not rollouts.tokens[i, rollouts.lengths[i] :].any()


def test_the_tokenizer_round_trips_the_worlds_alphabet():
    ids = TOKENIZER.encode(world.SYMBOLS)
    assert len(ids) == len(set(ids)) == len(world.SYMBOLS)
    assert TOKENIZER.decode([ids]) == [world.SYMBOLS]
    assert not set(ids) & {0, 1, 2}
    assert TOKENIZER.stop_ids == (1,)
    for text in ("Q16-13+2?", "16-13=3;3+2=5;A5", "A-3", "???"):
        assert TOKENIZER.decode([TOKENIZER.encode(text)]) == [text]
        assert len(TOKENIZER.encode(text)) == len(text)


def test_a_character_outside_the_alphabet_is_one_unknown_token():
    assert TOKENIZER.encode("Qx1\nü") == [TOKENIZER.encode("Q")[0], 2, TOKENIZER.encode("1")[0], 2, 2]


STEP = re.compile(r"(-?\d+)([+-])(\d+)=(-?\d+)")


def way(response):
    """How a document answers, read off its text: (way, steps)."""
    parts = response.split(";")
    if re.fullmatch(r"A-?\d+", response):
        return "direct", []
    steps = [STEP.fullmatch(p) for p in parts[:-1]]
    if (
        len(parts) > 1
        and all(steps)
        and re.fullmatch(r"A-?\d+", parts[-1])
        and len(set(parts)) == len(parts)
    ):
        return "worked", [s.groups() for s in steps]
    if STEP.fullmatch(parts[0]) and (len(parts) == 1 or parts[1].startswith(parts[0][: len(parts[1])])):
        return "loop", []
    return "junk", []


def within(count, total, share):
    """Whether a count is within 5 standard deviations of a binomial's mean; the page's edge cuts up to 2 in 1000."""
    return abs(count - total * share) <= 5 * np.sqrt(total * share * (1 - share)) + 0.002 * total + 1e-9


@pytest.mark.parametrize("name", world.RECIPES)
def test_shares_and_slips_match_the_recipe(name):
    recipe, ways, slips, steps_seen = world.RECIPES[name], collections.Counter(), 0, 0
    wrong = forgot = 0
    rng, total = np.random.default_rng(11), 20_000
    for _ in range(total):
        numbers, signs = world.chain(rng)
        response, _ = world.respond(numbers, signs, recipe, rng, 43)
        kind, steps = way(response)
        ways[kind] += 1
        if kind == "worked":
            for left, sign, right, result in steps:
                slips += int(result) != int(left) + int(sign + right)
                steps_seen += 1
        if kind == "direct":
            value = int(response[1:])
            wrong += value != world.evaluate(numbers, signs)
            forgot += value == world.evaluate(numbers[:-1], signs[:-1])
    unnoticed = recipe.loop * recipe.loop_exit  # a loop left at once reads as worked
    assert within(ways["worked"], total, recipe.worked + unnoticed), ways
    assert within(ways["loop"], total, recipe.loop - unnoticed), ways
    assert within(ways["direct"], total, recipe.direct), ways
    assert within(ways["junk"], total, recipe.junk), ways
    assert within(slips, steps_seen, recipe.slip), (slips, steps_seen)
    assert within(wrong, ways["direct"], recipe.direct_wrong)
    if recipe.blind:
        assert forgot / wrong > 0.9 * recipe.blind
    else:
        assert forgot <= 0.2 * wrong, "a near miss may equal the forgotten sum, no more"


def test_running_values_stay_in_range():
    rng = np.random.default_rng(0)
    for _ in range(2000):
        numbers, signs = world.chain(rng)
        assert 2 <= len(numbers) <= 5 and len(signs) == len(numbers) - 1
        for n in range(1, len(numbers) + 1):
            assert 0 <= world.evaluate(numbers[:n], signs[: n - 1]) <= world.LARGEST


def test_every_question_fits_the_default_bucket_and_every_solution_the_page():
    for row in shipped("train") + shipped("heldout"):
        assert len(row["prompt"]) <= 16


@pytest.mark.parametrize(
    "expression, steps",
    [
        ("(3+7)*5", "3+7=10;10*5=50;"), ("3+7*5", "7*5=35;3+35=38;"), ("3*(4-5)", "4-5=-1;3*-1=-3;"), ("9*6", "9*6=54;"),
        ("7", ""), ("05-3", ""), ("1+2+3+4", ""), ("3/1", ""), ("-2+5", ""), ("3+", ""), ("99999*99999", ""), ("(" * 99, ""),
    ],
)  # fmt: skip
def test_a_judge_that_computes_works_an_expression_out_as_a_solution_does(expression, steps):
    assert countdown_world.working(expression) == steps


@pytest.mark.parametrize("recipe, beside", [("countdown_computing", 0), ("countdown_checker", 1)])
def test_verdicts_that_compute_are_right_and_fit_and_judge_near_misses(recipe, beside):
    found = [
        d
        for step in range(15)
        for d in countdown_world.documents(recipe, 4, step, 128, 25)
        if d[0].startswith("V")
    ]
    assert len(found) > 1000 and {d[1][-1] for d in found} == {"Y", "N"}
    assert max(len(d[1]) for d in found) < 24 and all(d[2] for d in found)
    for prompt, reply, _ in found:
        *steps, verdict = reply.split(";")
        target = countdown.parse(prompt).target
        if beside and steps:
            assert int(steps.pop()) == target
        assert verdict == "N" or int(steps[-1].rpartition("=")[2]) == target
        assert all(eval(left) == int(right) for left, right in (s.split("=") for s in steps))
        text = prompt[prompt.index("C") : prompt.index("?", prompt.index("C")) + 1]
        assert world.part(text) == "documents"
    missed = [d for d in found if d[1].endswith("N") and d[1].count(";") == 2 + beside]
    assert len(missed) > 0.25 * len(found)
