"""Completions that were written before, by any model: JSON lines of `prompt` and `response`.

A line may have `answer`, for metrics and controls, and `ended`: true, unless it says otherwise, of a response that
ends with the end token.
"""

from __future__ import annotations

import pathlib
from typing import NamedTuple

from urlvr_jax.data import shapes
from urlvr_jax.data.json_lines import json_rows
from urlvr_jax.errors import DataError


class Row(NamedTuple):
    """One line of the file."""

    line: int  # counted from 1
    where: str  # "FILE, line N"
    prompt: str
    response: str
    answer: str | None
    ended: bool
    columns: dict  # all of the line


def read(name: str, asked_by: str = "--data") -> list[Row]:
    """Rows of a file of completions; DataError names file and line of a broken one. asked_by: a flag or a key."""
    path = pathlib.Path(name)
    rows = []
    if not path.is_file():
        raise DataError(
            f"{asked_by}: file of completions {name!r} does not exist; `generate --data FILE --out {name}` writes one"
        )
    for number, where, row in json_rows(path):
        response = row.get("response")
        ended = row.get("ended", True)
        if not isinstance(response, str):
            raise DataError(f"{where}: needs a string `response`, has {str(row)[:80]!r}")
        if any("\ud800" <= letter <= "\udfff" for letter in response):
            raise DataError(f"{where}: `response` has half of a surrogate pair, which is not a character")
        if not isinstance(ended, bool):
            raise DataError(f"{where}: `ended` must be true or false")
        answer = shapes.gold(row["answer"], where) if "answer" in row else None
        rows.append(Row(number, where, row["prompt"], response, answer, ended, row))
    if not rows:
        raise DataError(f"{path}: no completions in it")
    return rows
