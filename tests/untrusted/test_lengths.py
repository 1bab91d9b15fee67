"""What cannot fit is left out by its characters, before it is encoded."""

import json

import pytest

from urlvr_jax.data import stream
from urlvr_jax.data.prompt_formats import SHORT, PromptFormat
from urlvr_jax.data.tokenizer import Tokenizer
from urlvr_jax.errors import FolderError
from urlvr_jax.lab import shipped


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(shipped.base("lab:untrained"))


def test_a_question_beyond_the_widest_bucket_is_never_encoded(tmp_path, tokenizer, monkeypatch):
    file = tmp_path / "questions.jsonl"
    prompts = ["Q1+2?", "Q" + "1" * 10_000_000 + "?", "Q3+4?", "Q1+1+1+1+1+1+1+1+1+1+1?"]
    file.write_text("".join(json.dumps({"prompt": p, "answer": "3"}) + "\n" for p in prompts))
    encoded = []
    whole = tokenizer.encode_batch
    monkeypatch.setattr(tokenizer, "encode_batch", lambda texts: encoded.extend(texts) or whole(texts))
    questions, _ = stream.load(str(file), PromptFormat(tokenizer), (8,))
    assert questions.texts == ("Q1+2?", "Q3+4?") and questions.overlong == 2
    assert max(map(len, encoded)) <= SHORT


def test_score_refuses_what_the_model_cannot_hold_before_it_computes(launcher, tmp_path):
    for length, said in (
        (1000, "max_position_embeddings is 128"),
        (2_000_000, "line 1: has a text of 2000000 characters"),
    ):
        file = tmp_path / f"{length}.jsonl"
        file.write_text(json.dumps({"prompt": "Q1+2?", "response": "1" * length}) + "\n")
        call = launcher.run(["score", "--model", "lab:plain", "--data", str(file)])
        assert call.status == 2 and "error: " in call.err and "Traceback" not in call.err
        assert said in call.err


@pytest.mark.parametrize(
    "rule",
    [
        {"type": "Replace", "pattern": {"String": " "}, "content": "x" * 1000},
        {"type": "Sequence", "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}] * 30},
        {"type": "Prepend", "prepend": "x" * 1000},
    ],
)  # fmt: skip
@pytest.mark.parametrize("section", ["normalizer", "decoder"])
def test_rules_of_a_tokenizer_that_multiply_text_are_refused(tmp_path, rule, section):
    for file in shipped.base("lab:untrained").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    written = json.loads((tmp_path / "tokenizer.json").read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps(written | {section: rule}))
    with pytest.raises(FolderError, match=f"the rules of its {section}"):
        Tokenizer(tmp_path)


def test_a_tokenizer_that_fails_on_a_text_is_named_with_its_folder(tmp_path):
    for file in shipped.base("lab:untrained").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    written = json.loads((tmp_path / "tokenizer.json").read_text())
    written["model"]["unk_token"] = "nowhere"
    (tmp_path / "tokenizer.json").write_text(json.dumps(written))
    with pytest.raises(FolderError, match="its tokenizer fails on"):
        PromptFormat(Tokenizer(tmp_path)).encode(["Qäöü?"])
