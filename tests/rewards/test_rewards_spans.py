"""Which tokens spell the answer: on the laboratory's tokenizer and on a byte-level BPE."""

import numpy as np
import pytest
from tokenizers import Tokenizer as Fast
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from urlvr_jax.answers import classes, extract
from urlvr_jax.answers.tokens import answer_mask
from urlvr_jax.data.tokenizer import Tokenizer
from urlvr_jax.lab import shipped

CORPUS = [
    "the answer is \\boxed{12345}",
    "#### 42 apples",
    "naïve café, x² + ½",
    "so \\boxed{x+1} then",
] * 3


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory):
    """A BPE over bytes: characters that were not merged are several tokens."""
    fast = Fast(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=["<end>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    fast.train_from_iterator(CORPUS, trainer)
    folder = tmp_path_factory.mktemp("bpe")
    PreTrainedTokenizerFast(tokenizer_object=fast, eos_token="<end>").save_pretrained(str(folder))
    return Tokenizer(folder)


@pytest.fixture(scope="module")
def lab():
    return Tokenizer(shipped.base("lab:untrained"))


def naive(tokenizer, row, text, start, end):
    """By the bytes of each token, one by one: needs a byte-level vocabulary, unlike the mask."""
    byte_of = {c: b for b, c in enumerate_bytes().items()}
    marks, at = [], 0
    first, last = len(text[:start].encode()), len(text[:end].encode())
    for token in row:
        piece = tokenizer.hf.convert_ids_to_tokens(int(token))
        size = 0 if piece == "<end>" else len(bytes(byte_of[c] for c in piece))
        marks.append(at < last and at + size > first and size > 0)
        at += size
    return marks


def enumerate_bytes():
    """The byte-level alphabet: byte -> the character that stands for it."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(rest)}


def masked(tokenizer, text, style, ended=True, width=None):
    """(mask of the answer, token row) of one response."""
    row = tokenizer.encode(text) + [tokenizer.stop_ids[0]] * ended
    decoded = tokenizer.decode([row])
    assert decoded == [text]
    spans = [f and f[1:] for f in classes.read_answers(decoded, 1, style).found]
    return answer_mask(tokenizer, [np.array(row)], decoded, spans, width or len(row))[0], row


@pytest.mark.parametrize("text, want", [
    ("16-13=3;A3", "3"),
    ("A5;A-12", "-12"),
    ("A7+5", "7"),  # a later 5 is not the answer, though equal digits come after
    ("A5;5", "5"),
    ("16-13", None),
    ("", None),
])  # fmt: skip
@pytest.mark.parametrize("ended", [True, False])
def test_the_laboratorys_answer_is_its_digits(lab, text, want, ended):
    mask, row = masked(lab, text, "lab", ended, width=20)
    chosen = np.flatnonzero(mask)
    if want is None:
        assert not len(chosen)
    else:
        assert lab.decode([[row[i] for i in chosen]]) == [want]
        assert (np.diff(chosen) == 1).all()
        assert chosen[0] == extract.extract(text, "lab")[1]  # a token a character


TEXTS = [
    ("so \\boxed{x+1} then", "boxed"),
    ("the answer is \\boxed{12345}", "boxed"),
    ("café \\boxed{½} naïve", "boxed"),
    ("日本 \\boxed{数は 42} です", "boxed"),
    ("\\boxed{🙂}", "boxed"),
    ("🙂🙂 \\boxed{a🙂b} 🙂", "boxed"),
    ("#### 42 apples", "hashes"),
    ("½ #### é", "hashes"),
    ("\\boxed{ } nothing", "boxed"),
    ("no answer at all", "boxed"),
]


@pytest.mark.parametrize("text, style", TEXTS)
@pytest.mark.parametrize("ended", [True, False])
def test_a_byte_level_answer_is_every_token_with_a_byte_of_it(byte_level, text, style, ended):
    mask, row = masked(byte_level, text, style, ended)
    if classes.answer_key(text, style) is None:
        assert not mask.any()
    else:
        _, start, end = extract.extract(text, style)
        assert mask.tolist() == naive(byte_level, row, text, start, end)
        assert mask.any()


def test_characters_of_several_tokens_are_in_these_texts(byte_level):
    assert len(byte_level.encode("🙂")) == 4 and len(byte_level.encode("数")) == 3
    assert len(byte_level.encode("the answer")) < len("the answer")  # and tokens of several characters


def test_every_span_of_a_text_has_the_tokens_that_overlap_it(byte_level):
    for text, _ in TEXTS:
        row = np.array(byte_level.encode(text))
        for start in range(len(text)):
            for end in range(start + 1, min(len(text), start + 4) + 1):
                mask = answer_mask(byte_level, [row], [text], [(start, end)], len(row))[0]
                assert mask.tolist() == naive(byte_level, row, text, start, end), (text, start, end)


def test_rows_do_not_mix_and_a_cut_character_is_no_answer(byte_level):
    whole, cut = "\\boxed{7}", byte_level.encode("\\boxed{🙂}")[:-2]
    rows = [np.array(byte_level.encode(whole)), np.array(cut), np.array([], np.int32)]
    texts = byte_level.decode(rows)
    answers = classes.read_answers(texts, 1, "boxed")
    assert answers.keys == ["7", None, None]
    spans = [f and f[1:] for f in answers.found]
    mask = answer_mask(byte_level, rows, texts, spans, 12)
    assert mask.shape == (3, 12) and mask[0].sum() == 1 and not mask[1:].any()
