"""Completions as documents: what supervised mode learns from a file."""

import json

import numpy as np
import pytest

from urlvr_jax import config
from urlvr_jax.data.corpus import open_corpus
from urlvr_jax.data.prompt_formats import PromptFormat
from urlvr_jax.data.tokenizer import Tokenizer
from urlvr_jax.errors import DataError
from urlvr_jax.lab import shipped

TOKENIZER = Tokenizer(shipped.base("lab:plain"))
PLAIN = PromptFormat(TOKENIZER)


def opened(path, **keys):
    c = config.default()
    c.data.documents, c.data.prompts_per_step = str(path), 4
    c.update_from_flattened_dict(keys)
    return open_corpus(c, TOKENIZER, PLAIN)


def written(tmp_path, rows):
    file = tmp_path / "samples.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def read_back(prompts, rollouts):
    """{(prompt, response, ended)} of a step."""
    texts = TOKENIZER.decode([row[:n] for row, n in zip(rollouts.tokens, rollouts.lengths, strict=True)])
    return list(zip(prompts.texts, texts, map(bool, rollouts.ended), strict=True))


def test_an_epoch_has_every_completion_once_in_an_order_of_its_own(tmp_path):
    rows = [{"prompt": f"Q{n}+1?", "response": f"A{n + 1}", "ended": n % 3 > 0} for n in range(12)]
    corpus = opened(written(tmp_path, rows))
    epochs = [
        [x for step in steps for x in read_back(*corpus.at(step))] for steps in ((1, 2, 3), (4, 5, 6))
    ]
    want = sorted((r["prompt"], r["response"], r["ended"]) for r in rows)
    assert sorted(epochs[0]) == sorted(epochs[1]) == want and epochs[0] != epochs[1]
    again = opened(written(tmp_path, rows), seed=1)
    assert read_back(*again.at(1)) != read_back(*corpus.at(1)) == read_back(*corpus.at(1))


def test_what_has_ended_has_its_end_token_and_what_was_cut_has_none(tmp_path):
    rows = [{"prompt": "Q1+1?", "response": "A2", "ended": ends} for ends in (True, False)]
    prompts, rollouts = opened(written(tmp_path, rows), **{"data.prompts_per_step": 2}).at(1)
    last = rollouts.tokens[np.arange(2), rollouts.lengths - 1]
    assert ((last == TOKENIZER.end_id) == rollouts.ended).all() and set(rollouts.lengths) == {2, 3}
    assert prompts.tokens.shape[1] == 16 and rollouts.tokens.shape == (2, 44)


def test_what_does_not_fit_is_left_out_and_counted(tmp_path):
    rows = [
        {"prompt": "Q1+1?", "response": "1" * 44},  # with its end token one too long
        {"prompt": "Q1+1?", "response": "1" * 44, "ended": False},
        {"prompt": "Q" + "1+" * 9 + "1?", "response": "A1"},
        {"prompt": "Q1+1?", "response": "", "ended": False},
        {"prompt": "Q1+1?", "response": ""},
    ]
    corpus = opened(written(tmp_path, rows), **{"data.prompts_per_step": 2})
    assert corpus.facts["documents"] == 2 and corpus.facts["documents_left_out"] == 3
    assert {r for _, r, _ in read_back(*corpus.at(1))} == {"1" * 44, ""}
    with pytest.raises(DataError, match=r"none of its 1 completions fits.*max_new_tokens = 44.*45 tokens"):
        opened(written(tmp_path, rows[:1]))


def test_a_name_that_is_neither_a_world_nor_a_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="data.documents = 'lab:plane'.*lab:plain"):
        opened("lab:plane")
    with pytest.raises(DataError, match="data.documents: file of completions .*nowhere"):
        opened(tmp_path / "nowhere.jsonl")
    with pytest.raises(DataError, match="line 1.*string `response`"):
        opened(written(tmp_path, [{"prompt": "Q1+1?"}]))
