"""Text as training data: documents, cuts, continuations, and what is no corpus."""

import json

import numpy as np
import pytest

from urlvr_jax.data import segments, stream
from urlvr_jax.data.prompt_formats import PromptFormat
from urlvr_jax.data.segments import Cuts
from urlvr_jax.data.tokenizer import Tokenizer
from urlvr_jax.errors import DataError
from urlvr_jax.lab import shipped, world

TOKENIZER = Tokenizer(shipped.base("lab:plain"))
AFTER = Cuts("?", 4, 0)


def written(tmp_path, text, name="corpus.txt"):
    file = tmp_path / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(file)


def cut(name, cuts, widest=16):
    """[(context, continuation as text)] of a corpus."""
    rows = segments.read(name, cuts, TOKENIZER, widest).rows
    return [(row["prompt"], TOKENIZER.decode([row["continuation"]])[0]) for row in rows]


def test_a_document_stands_between_blank_lines_or_in_a_line_of_json(tmp_path):
    plain = written(tmp_path, "\n\nQ1+1?A2\n\n \nQ2+1?\nA3\r\n\r\nQ9?A9\n")
    texts = [text for _, text in segments.documents(plain)]
    assert texts == ["Q1+1?A2", "Q2+1?\nA3", "Q9?A9"]
    lines = "".join(json.dumps({"text": text, "answer": "7"}) + "\n" for text in texts)
    assert [text for _, text in segments.documents(written(tmp_path, lines, "c.jsonl"))] == texts


def test_a_continuation_goes_to_the_next_cut_and_is_cut_at_its_most_tokens(tmp_path):
    file = written(tmp_path, "1?22?33333;4?\n\n5?6")
    assert cut(file, AFTER) == [("1?", "22?"), ("1?22?", "3333"), ("5?", "6")]
    assert cut(file, AFTER._replace(segments=1)) == [("1?", "22?"), ("5?", "6")]
    by_tokens = [("123", "456"), ("123456", "78")]
    assert cut(written(tmp_path, "12345678"), Cuts("", 3, 0)) == by_tokens
    assert cut(written(tmp_path, "12345678"), Cuts("", 3, 0), widest=5) == by_tokens[:1]


def test_only_a_continuation_that_ends_its_document_has_the_end_token(tmp_path):
    rows = segments.read(written(tmp_path, "1?22?3"), AFTER, TOKENIZER, 16).rows
    assert [row["continuation"].tolist()[-1] == TOKENIZER.end_id for row in rows] == [False, True]
    (row,) = segments.read(written(tmp_path, "1?22222"), AFTER, TOKENIZER, 16).rows
    assert len(row["continuation"]) == 4 and row["continuation"][-1] != TOKENIZER.end_id


def test_what_reads_like_a_control_token_is_text(tmp_path):
    (row,) = segments.read(written(tmp_path, "1?<end>"), Cuts("?", 9, 0), TOKENIZER, 16).rows
    assert row["continuation"].tolist().count(TOKENIZER.end_id) == 1  # the one that ends the document


def test_pieces_are_tokens_that_never_split_a_character():
    class Bytes:
        decode = staticmethod(lambda rows: [bytes(row).decode(errors="replace") for row in rows])

    assert segments.pieces(list("aé€z".encode()), Bytes()) == ("a", "é", "€", "z")
    assert segments.pieces(TOKENIZER.encode("A15"), TOKENIZER) == ("A", "1", "5")


def test_questions_of_a_corpus_keep_their_continuations_and_have_no_labels(tmp_path):
    file = written(tmp_path, "Q1?A1\n\nQ1?A2\n\nQ" + "1" * 20 + "?A3\n\nQ4?A4")
    load = lambda: stream.ready(
        segments.read(file, AFTER, TOKENIZER, 16), file, PromptFormat(TOKENIZER), (16,)
    )
    (questions, labels), (again, _) = load(), load()
    assert questions.texts == ("Q1?", "Q1?", "Q4?") and questions.overlong == 1 and not labels.gold
    assert questions.fingerprint == again.fingerprint
    prompts = stream.prompts_at(questions, 1, 3, seed=0, shuffle=False)
    follows = [TOKENIZER.decode([c])[0] for c in prompts.continuations]
    assert follows == ["A1", "A2", "A4"]
    other = written(tmp_path, "Q1?A1\n\nQ1?A3\n\nQ4?A4", "other.txt")
    found = segments.read(other, AFTER, TOKENIZER, 16)
    assert stream.ready(found, other, PromptFormat(TOKENIZER), (16,))[0].fingerprint != again.fingerprint


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "no documents in it"),
        ("\n \n\n", "no documents in it"),
        (b"\xff\xfe\x00Q", "no text in UTF-8"),
        ("Q1?\0A1", "no text: it has zero bytes"),
        ("Q1+1=2", r"none of its 1 documents goes on after '\?'"),
        ("Q1?", r"none of its 1 documents goes on after '\?'"),
    ],
)
def test_what_is_no_corpus_is_refused_in_one_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message) as error:
        cut(written(tmp_path, text), AFTER)
    assert "\n" not in str(error.value)


def test_a_corpus_of_one_line_is_one_document(tmp_path):
    assert cut(written(tmp_path, "Q1+1?A2"), AFTER) == [("Q1+1?", "A2")]


def test_a_corpus_whose_contexts_are_all_too_long_is_refused(tmp_path):
    file = written(tmp_path, "Q" + "1" * 40 + "?A3")
    found = segments.read(file, AFTER, TOKENIZER, 16)
    with pytest.raises(DataError, match=r"all 1 prompts are longer .*data\.prompt_buckets"):
        stream.ready(found, file, PromptFormat(TOKENIZER), (16,))
    with pytest.raises(DataError, match="within the 3 of a prompt"):
        cut(file, Cuts("", 5, 0), widest=3)


def test_a_broken_line_or_file_is_named(tmp_path):
    for line, message in (("{", "line 2"), ('{"prompt": "a"}', "line 2: needs a JSON object .*`text`")):
        with pytest.raises(DataError, match=message):
            cut(written(tmp_path, '{"text": "1?2"}\n' + line, "c.jsonl"), AFTER)
    with pytest.raises(DataError, match="does not exist"):
        cut(str(tmp_path / "nowhere.txt"), AFTER)
    with pytest.raises(DataError, match="available: .*lab:sums"):
        cut("lab:nowhere", AFTER)


def test_the_corpora_of_the_laboratory_ask_training_questions_and_one_is_wrong_in_three_of_ten():
    clean, wrong = shipped.corpus("lab:sums"), shipped.corpus("lab:sums_wrong")
    gold = {row["prompt"]: row["answer"] for row in world.questions("train", len(clean), seed=0)}
    parts = [text.partition("?") for text in clean]
    assert all(gold[q + mark] == a[1:] for q, mark, a in parts)
    assert 0.27 < np.mean([a != b for a, b in zip(clean, wrong, strict=True)]) < 0.33
