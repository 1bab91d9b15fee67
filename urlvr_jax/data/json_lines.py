"""Question files in JSON: lines, or one array."""

from __future__ import annotations

import hashlib
import json
import pathlib

from urlvr_jax.data import shapes
from urlvr_jax.data.distinct import Distinct
from urlvr_jax.errors import DataError
from urlvr_jax.untrusted import json_text


def json_rows(path: pathlib.Path):
    """Yield (line number, "FILE, line N", row) of JSON lines with a text `prompt`; DataError for a broken row."""
    for number, where, row in _json_lines(path):
        if isinstance(row.get("prompt"), list):
            raise DataError(f"{where}: needs a non-empty string `prompt`")
        shapes.question(row.get("prompt"), where)
        if "answer" in row:
            shapes.gold(row["answer"], where)
        yield number, where, row


def _json_lines(path: pathlib.Path, seen: set[bytes] | None = None):
    """As `json_rows`, of any object. seen: digests of lines; one that comes again, byte for byte, is None."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            where = f"{path}, line {number}"
            if seen is not None and line.strip():
                digest = hashlib.blake2b(line.strip(), digest_size=16).digest()
                if digest in seen:
                    yield number, where, None
                    continue
                seen.add(digest)
            if line.strip():
                yield number, where, _object(json_text.parse(line, where, DataError), where)


def _json_array(path: pathlib.Path):
    for number, row in enumerate(json_text.parse(path.read_bytes(), str(path), DataError), start=1):
        where = f"{path}, row {number}"
        yield number, where, _object(row, where)


def _object(row, where: str) -> dict:
    if not isinstance(row, dict):
        raise DataError(f"{where}: needs a JSON object with a `prompt`, has {str(row)[:80]!a}")
    return row


def _is_array(path: pathlib.Path) -> bool:
    with path.open("rb") as file:
        return path.suffix == ".json" and file.read(64).lstrip()[:1] == b"["


def gather(into: Distinct, path: pathlib.Path, named: dict[str, str], strict: bool) -> None:
    known: dict[tuple, shapes.Columns] = {}
    first = into.lines
    number = 0
    prompt_column = None
    seen = set() if into.deduplicate else None
    for number, where, row in _json_array(path) if _is_array(path) else _json_lines(path, seen):
        if row is None:
            into.count += 1
            continue
        names = tuple(_paths(row))
        found = known.get(names)
        if found is None:
            found = known[names] = shapes.find(names, named, where, strict)
            into.shapes[found.shape] = None
        prompt_column = prompt_column or found.prompt
        if found.prompt != prompt_column:
            raise DataError(f"{where}: no `{prompt_column}`, where the rows before have their prompt")
        _add(into, row, found, where, first + number - 1)
    into.lines += number


def _add(into: Distinct, row: dict, found: shapes.Columns, where: str, number: int) -> None:
    """One object of a JSON file."""
    value = _at(row, found.prompt)
    if found.shape == shapes.COUNTDOWN:
        value = shapes.countdown_question(value, row["target"], where)
    before, prompt = shapes.question(value, where)
    answer = shapes.gold(_at(row, found.answer), where) if found.answer else None

    def make() -> dict:
        out = {"prompt": prompt, "before": before, "where": where, "number": number}
        for field in ("id", "rephrased"):
            if (name := getattr(found, field)) and (value := _at(row, name)) is not None:
                out[field] = value
        return out | {"row": row} if into.columns else out

    into.soft_ids |= found.id == shapes.INDEX
    into.add((prompt, json.dumps(before)) if before else prompt, answer, make)


def _paths(row: dict, before: str = ""):
    """Names of an object's columns, those of objects within it with dots."""
    for name, value in row.items():
        yield before + name
        if isinstance(value, dict):
            yield from _paths(value, f"{before}{name}.")


def _at(row: dict, path: str):
    for name in path.split("."):
        row = row[name]
    return row
