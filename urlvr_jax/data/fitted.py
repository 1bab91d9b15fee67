"""What a configuration should say of a model folder and a question file, found by reading both."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from urlvr_jax.answers.extract import ASKED_BY
from urlvr_jax.data import files
from urlvr_jax.data.prompt_formats import PromptFormat
from urlvr_jax.data.stream import bucket_for
from urlvr_jax.data.tokenizer import Tokenizer
from urlvr_jax.errors import DataError

LOOKED_AT = 1000  # questions that are encoded to see how long they are
FAR = 2  # times the 99th percentile: longer questions are left out


class Fitted(NamedTuple):
    """Values for `data.*`, `answers.style` and the size of a held-out part."""

    chat: bool
    template: str
    style: str
    prompt_buckets: tuple[int, ...]
    held_out: int
    labelled: bool  # every question has a gold answer


def fit(model_folder, questions: str, most_held_out: int) -> Fitted:
    """Read both. FolderError, DataError for what cannot be used.

    model_folder: of the tokenizer. A tenth of the questions, at most `most_held_out`, is to be held out.
    """
    tokenizer = Tokenizer(model_folder)
    rows = files.read(questions, {}).rows
    if len(rows) < 2:
        raise DataError(f"{questions}: {len(rows)} question: give at least 2, one is held out")
    chat = tokenizer.end_of_turn in tokenizer.declared_stop_ids or any(row["before"] for row in rows)
    style, template = asked_form([row["prompt"] for row in rows[:LOOKED_AT]])
    some = rows[:: -(-len(rows) // LOOKED_AT)]
    prompt_format = PromptFormat(tokenizer, "chat" if chat else "text", template)
    _, ids, _ = prompt_format.encode(
        [row["prompt"] for row in some], [row["before"] for row in some], [row["where"] for row in some]
    )
    lengths = [len(i) for i in ids]
    middle, most = (int(np.quantile(lengths, q, method="higher")) for q in (0.5, 0.99))
    widest = max(lengths) if max(lengths) <= FAR * most else most
    buckets = tuple(sorted({bucket_for(middle), bucket_for(widest)}))
    held_out = max(1, min(most_held_out, len(rows) // 10))
    return Fitted(chat, template, style, buckets, held_out, all("answer" in row for row in rows))


def asked_form(questions: list[str]) -> tuple[str, str]:
    """(style, template): as most of the questions ask for it themselves, else in a box."""
    for style, marker in ASKED_BY.items():
        if sum(marker in q for q in questions) * 2 > len(questions):
            return style, "{prompt}"
    return "boxed", "boxed"
