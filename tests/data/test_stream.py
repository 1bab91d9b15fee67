"""Question files in, prompts of a step out."""

import dataclasses
import json
import pathlib
import re

import numpy as np
import pytest

from urlvr_jax import errors
from urlvr_jax.data import stream
from urlvr_jax.data.prompt_formats import PromptFormat
from urlvr_jax.data.tokenizer import Tokenizer
from urlvr_jax.lab import build
from urlvr_jax.lab import shipped as shipped_lib

UNTRAINED = pathlib.Path(build.__file__).parent / "bases" / "untrained"
TOKENIZER = Tokenizer(UNTRAINED)


def write(folder, *lines, name="questions.jsonl"):
    file = folder / name
    file.write_bytes(b"\n".join(x if isinstance(x, bytes) else json.dumps(x).encode() for x in lines))
    return file


def load(file, buckets=(16,), template="{prompt}", subset=0):
    return stream.load(str(file), PromptFormat(TOKENIZER, "text", template), buckets, subset=subset)


def some_questions(count):
    tokens = tuple(np.full(1 + i % 5, i % 30 + 3, np.int32) for i in range(count))
    names = tuple(f"q{i}" for i in range(count))
    return stream.Questions(names, names, tokens, (4, 8), 0, "")


def epochs_of(questions, count, steps, seed, shuffle):
    """Ids in the order they are drawn, cut into epochs."""
    ids = [
        i for s in range(1, steps + 1) for i in stream.prompts_at(questions, s, count, seed, shuffle).ids
    ]
    return [ids[i : i + len(questions)] for i in range(0, len(ids), len(questions))]


# ---- prompts of a step ----------------------------------------------------------------------


@pytest.mark.parametrize("count, size", [(3, 10), (4, 12), (7, 5), (12, 5), (5, 5)])
@pytest.mark.parametrize("shuffle", [False, True])
def test_prompts_cover_every_epoch_without_a_gap(count, size, shuffle):
    questions = some_questions(size)
    epochs = epochs_of(questions, count, steps=3 * size, seed=3, shuffle=shuffle)
    assert len(epochs) == 3 * count
    for epoch in epochs:
        assert sorted(epoch) == sorted(questions.ids)
    if not shuffle:
        assert all(epoch == list(questions.ids) for epoch in epochs)


def test_prompts_are_a_function_of_seed_and_step():
    questions = some_questions(50)
    forward = [stream.prompts_at(questions, s, 8, 1, True).ids for s in range(1, 20)]
    backward = [stream.prompts_at(questions, s, 8, 1, True).ids for s in range(19, 0, -1)]
    assert forward == backward[::-1]


def test_the_shuffle_changes_with_the_epoch_and_the_seed():
    questions = some_questions(50)
    first, second = epochs_of(questions, 10, 10, seed=1, shuffle=True)
    other, _ = epochs_of(questions, 10, 10, seed=2, shuffle=True)
    assert first != second
    assert first != other
    assert first != list(questions.ids)


def test_prompts_are_padded_to_the_narrowest_bucket_that_holds_them():
    questions = some_questions(10)  # lengths 1 to 5
    short, long = stream.take(questions, [0, 3]), stream.take(questions, [0, 4])
    assert short.tokens.shape == (2, 4) and long.tokens.shape == (2, 8)
    assert long.lengths.tolist() == [1, 5]
    assert long.tokens[1].tolist() == [7] * 5 + [0] * 3


# ---- question files -------------------------------------------------------------------------


def test_questions_carry_no_answers_and_labels_nothing_else(tmp_path):
    file = write(tmp_path, {"prompt": "Q1+2?", "answer": 3, "solution": "1+2=3", "id": "a"})
    questions, labels = load(file)
    fields = {f.name for f in dataclasses.fields(questions)}
    held = {"ids", "texts", "tokens", "buckets", "overlong", "fingerprint", "paired", "questions", "origin"}
    assert fields == held | {"continuations"} and not questions.continuations
    assert [f.name for f in dataclasses.fields(labels)] == ["gold", "rows"] and not labels.rows
    assert labels.gold == {"a": "3"}
    assert questions.texts == ("Q1+2?",)
    shown = repr(dataclasses.replace(questions, fingerprint="", origin=None))
    assert "1+2=3" not in shown and "answer" not in shown


def test_the_fingerprint_is_of_the_questions_and_not_of_the_answers(tmp_path):
    one, _ = load(write(tmp_path, {"prompt": "Q1+2?", "answer": 3}))
    two, _ = load(write(tmp_path, {"prompt": "Q1+2?", "answer": 4}))
    three, _ = load(write(tmp_path, {"prompt": "Q1+3?", "answer": 4}))
    assert one.fingerprint == two.fingerprint != three.fingerprint


def test_labels_of_prompts_without_answers_are_none(tmp_path):
    file = write(tmp_path, {"prompt": "Q1+2?", "answer": "3"}, {"prompt": "Q2+2?"})
    questions, labels = load(file)
    assert labels.of(stream.take(questions, [0])).gold == ["3"]
    assert labels.of(stream.take(questions, [1])).gold is None
    assert labels.of(stream.take(questions, [0, 1])).gold is None
    assert labels.of(stream.take(questions, [0, 1]), 1) == (("Q1+2?",), ("Q1+2?",), ["3"], None)


def test_the_template_is_rendered_and_subset_takes_the_first(tmp_path):
    file = write(tmp_path, *({"prompt": f"Q{i}+1?"} for i in range(5)))
    questions, _ = load(file, template="<{prompt}>", subset=2)
    assert questions.texts == ("<Q0+1?>", "<Q1+1?>")


def test_a_prompt_with_braces_is_not_rendered_twice(tmp_path):
    questions, _ = load(write(tmp_path, {"prompt": "{prompt}{0}"}), template="Q{prompt}")
    assert questions.texts == ("Q{prompt}{0}",)


def test_blank_lines_are_skipped_and_line_numbers_still_right(tmp_path):
    file = write(tmp_path, {"prompt": "Q1+2?"}, b"", b"  ", b"{broken")
    with pytest.raises(errors.DataError, match="line 4"):
        load(file)


GOOD = {"prompt": "Q1+2?", "answer": "3"}


@pytest.mark.parametrize(
    "bad, words",
    [
        (b'{"prompt": "Q1+2?", "answer": ', "JSON"),
        (b"not json", "JSON"),
        (b"[" * 100_000, "JSON"),
        (b'{"prompt": "Q\xff1+2?"}', "UTF-8"),
        (b"\x00\x01\x02\x80", "UTF-8"),
        (b'["Q1+2?", "3"]', "prompt"),
        (b'"Q1+2?"', "prompt"),
        ({"question": "Q1+2?"}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": 12}, "prompt"),
        ({"prompt": "Q\ud800"}, "prompt"),
        ({"prompt": "Q1+2?", "answer": None}, "answer"),
        ({"prompt": "Q1+2?", "answer": ["3"]}, "answer"),
        ({"prompt": "Q9+9?", "id": 0}, "'0' occurs before, in line 1"),
    ],
    ids=lambda x: str(x)[:40],
)
def test_a_broken_line_is_an_error_naming_file_and_line(tmp_path, bad, words):
    file = write(tmp_path, GOOD, bad)
    with pytest.raises(errors.DataError) as error:
        load(file)
    assert f"{file}, line 2" in str(error.value)
    assert words in str(error.value)


def test_a_duplicate_id_names_both_lines(tmp_path):
    file = write(tmp_path, *({"prompt": f"Q{i}+1?", "id": i % 3} for i in range(4)))
    with pytest.raises(errors.DataError, match="line 4: id '0' occurs before, in line 1"):
        load(file)


@pytest.mark.parametrize("content", [b"", b"\n\n  \n"])
def test_an_empty_file_is_an_error(tmp_path, content):
    with pytest.raises(errors.DataError, match="no questions"):
        load(write(tmp_path, content))


def test_a_missing_file_is_an_error_naming_it(tmp_path):
    with pytest.raises(errors.DataError, match="nowhere.jsonl"):
        load(tmp_path / "nowhere.jsonl")
    with pytest.raises(errors.DataError, match=re.escape(repr(str(tmp_path)))):
        load(tmp_path)


@pytest.mark.parametrize("kind, known", [("questions", "lab:heldout"), ("base", "lab:untrained")])
def test_an_unknown_lab_name_lists_what_there_is(kind, known):
    with pytest.raises(errors.DataError) as error:
        getattr(shipped_lib, kind)("lab:nope")
    assert "lab:nope" in str(error.value) and known in str(error.value)


def test_overlong_prompts_are_left_out_and_counted(tmp_path):
    rows = [{"prompt": "Q" + "1" * n + "?", "answer": n, "id": n} for n in (1, 20, 2, 14, 15)]
    questions, labels = load(write(tmp_path, *rows))
    assert questions.ids == ("1", "2", "14")
    assert questions.overlong == 2
    assert set(labels.gold) == set(questions.ids)
    assert max(len(t) for t in questions.tokens) == 16, "one that just fits is kept"


def test_only_overlong_prompts_are_an_error_naming_the_key(tmp_path):
    file = write(tmp_path, {"prompt": "Q" + "1" * 40})
    with pytest.raises(errors.DataError, match="data.prompt_buckets"):
        load(file)
