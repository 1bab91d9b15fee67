"""Plain text as training data: the text up to a place is a prompt, the segment that follows it its continuation.

A continuation comes from the corpus. It is no gold answer: nobody said that it is right.
"""

from __future__ import annotations

import itertools
import pathlib
import re
from typing import NamedTuple

import numpy as np

from urlvr_jax.data.distinct import Distinct
from urlvr_jax.errors import DataError
from urlvr_jax.lab import shipped
from urlvr_jax.runtime import bucket
from urlvr_jax.untrusted import json_text

_BLANK_LINES = re.compile(r"\n[^\S\n]*\n\s*")


class Cuts(NamedTuple):
    """How documents are cut, the section `continuation` of a configuration."""

    after: str  # a segment ends after this text; "": after `tokens` tokens
    tokens: int  # of a continuation, at most
    segments: int  # continuations of a document, the first so many; 0 = all


def documents(name: str) -> list[tuple[str, str]]:
    """(where, text) of every document of a corpus: lab:NAME; JSON lines, each with a `text`; or plain text, in which a
    document is what stands between blank lines. DataError if there is none."""
    if name.startswith("lab:"):
        found = [(f"{name}, document {n}", text) for n, text in enumerate(shipped.corpus(name), start=1)]
    else:
        path = pathlib.Path(bucket.copied(name) if bucket.is_in(name) else name)
        if not path.is_file():
            raise DataError(f"continuation.corpus: file {str(path)!r} does not exist")
        read = _json_documents if path.suffix in (".jsonl", ".json") else _plain_documents
        found = list(read(path))
    if not found:
        raise DataError(f"{name}: no documents in it")
    return found


def _json_documents(path: pathlib.Path):
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            where = f"{path}, line {number}"
            if not line.strip():
                continue
            row = json_text.parse(line, where, DataError)
            text = row.get("text") if isinstance(row, dict) else None
            if not isinstance(text, str) or not text.strip():
                raise DataError(
                    f"{where}: needs a JSON object with a non-empty string `text`, has {str(row)[:80]!a}"
                )
            yield where, text


def _plain_documents(path: pathlib.Path):
    try:
        text = path.read_bytes().decode("utf-8")
    except ValueError as problem:
        raise DataError(f"{path}: no text in UTF-8 ({problem!s:.100})") from None
    if "\0" in text:
        raise DataError(f"{path}: no text: it has zero bytes")
    blocks = [block for block in _BLANK_LINES.split(text.replace("\r\n", "\n").strip()) if block]
    yield from ((f"{path}, document {n}", block) for n, block in enumerate(blocks, start=1))


def read(name: str, cuts: Cuts, tokenizer, widest: int) -> Distinct:
    """The prompts of a corpus, as rows of a question file have them, each with its `continuation`, int32 `[N]`.

    A prompt is all that its document has before a cut. Prompts that come again stay: other text may follow them. Contexts
    of more than `widest` tokens are left out and counted. DataError where no document has anything to continue.
    """
    found = Distinct(deduplicate=False)
    found.shapes["corpus"] = None
    texts = documents(name)
    for number, (where, text) in enumerate(texts):
        made = (
            _after_text(text, cuts, tokenizer)
            if cuts.after
            else _after_tokens(text, cuts, tokenizer, widest)
        )
        for k, (context, continuation) in enumerate(made):
            row = {"prompt": context, "before": (), "where": where, "id": f"{number}.{k}"}
            found.add(None, None, lambda row=row, c=continuation: row | {"continuation": c})
    if not found.rows:
        how = (
            f"after {cuts.after!r}"
            if cuts.after
            else f"{cuts.tokens} tokens, or within the {widest} of a prompt"
        )
        raise DataError(
            f"{name}: none of its {len(texts)} documents goes on {how}: change continuation.cut or continuation.tokens"
        )
    return found


def _after_text(text: str, cuts: Cuts, tokenizer):
    """(context, continuation's tokens) of a document cut after each occurrence of a text."""
    ends = [m.end() for m in re.finditer(re.escape(cuts.after), text)]
    ends = [end for end in ends if text[end:].strip()]
    for end, following in itertools.islice(
        zip(ends, [*ends[1:], len(text)], strict=False), cuts.segments or None
    ):
        ids = tokenizer.encode_plain(text[end:following])
        closes = following == len(text) and len(ids) <= cuts.tokens
        yield text[:end], _ended(ids[: cuts.tokens], tokenizer, closes)


def _after_tokens(text: str, cuts: Cuts, tokenizer, widest: int):
    """(context, continuation's tokens) of a document cut every `tokens` tokens, as far as a context fits `widest` tokens."""
    ids = tokenizer.encode_plain(text)
    ends = range(cuts.tokens, min(len(ids), widest + 1), cuts.tokens)
    for end in ends[: cuts.segments or None]:
        context = tokenizer.decode([ids[:end]])[0]
        if text.startswith(context) and context:  # else the cut goes through a character
            yield context, _ended(ids[end : end + cuts.tokens], tokenizer, end + cuts.tokens >= len(ids))


def _ended(ids: list[int], tokenizer, closes: bool) -> np.ndarray:
    """Tokens int32 `[N]` of a continuation, with the end token if the document ends with it."""
    return np.array([*ids, *[tokenizer.end_id] * closes], np.int32)


def pieces(tokens, tokenizer) -> tuple[str, ...]:
    """A text as these tokens spell it: cut where tokens end, but never through a character."""
    prefixes = tokenizer.decode([tokens[:n] for n in range(1, len(tokens) + 1)])
    whole = prefixes[-1]
    stops = [0, *sorted({len(p) for p in prefixes if whole.startswith(p)} - {0})]
    return tuple(whole[a:b] for a, b in itertools.pairwise(stops))
