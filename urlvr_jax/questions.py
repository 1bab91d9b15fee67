"""Question files in: JSON lines, parquet, folders of either, saved datasets, datasets of the Hub -> rows.

A broken row is an error that names file and row; a question that comes again is left out and counted.
"""

from __future__ import annotations

import glob
import hashlib
import importlib.resources
import json
import pathlib
import re

from urlvr_jax import columns, tables
from urlvr_jax.tables import Gathered
from urlvr_jax.types import DataError

SUFFIXES = (".parquet", ".jsonl", ".json")
_SPLIT = re.compile(r"(train|test|validation|valid|val|dev)(?![a-z])")


def read(name: str, named: dict[str, str], strict: bool = True, deduplicate: bool = True) -> Gathered:
    """The questions that `name` stands for: a file, a folder, a pattern, lab:NAME or hf:NAME:CONFIG:SPLIT.

    A row has `id`, `prompt`, `before` (messages before it), `where`, and perhaps `answer` and `rephrased`.
    named, strict: what `data.columns` says, see `columns.find`.
    """
    found = Gathered(deduplicate)
    if name.startswith("hf:"):
        tables.gather(found, name, *tables.dataset(_of_hub(name), name, named, strict))
    else:
        for path in _files(resolve(name, "questions")):
            if path.is_dir():
                tables.gather(found, str(path), *tables.dataset(_saved(path), str(path), named, strict))
            elif path.suffix == ".parquet":
                tables.gather(found, str(path), *tables.parquet(path, named, strict))
            else:
                _gather_json(found, path, named, strict)
    if not found.rows:
        raise DataError(f"{name}: no questions in it")
    _give_ids(found)
    return found


def read_rows(name: str) -> list[dict]:
    """All rows of a question file as they stand."""
    return read(name, {}, deduplicate=False).rows


def resolve(name: str, kind: str) -> pathlib.Path:
    """A path, or `lab:NAME` for what ships with the package. kind: "bases" or "questions"."""
    if not name.startswith("lab:"):
        return pathlib.Path(name)
    root = pathlib.Path(str(importlib.resources.files("urlvr_jax"))) / "lab" / kind
    path = root / name.removeprefix("lab:")
    path = path if kind == "bases" else path.with_suffix(".jsonl")
    if not path.exists():
        known = sorted(f"lab:{p.stem}" for p in root.iterdir())
        raise DataError(f"{name!r} does not ship with the package; available: {known}")
    return path


# ---- where the rows are -----------------------------------------------------------------------


def _files(path: pathlib.Path) -> list[pathlib.Path]:
    """Files to read in order; a folder of `save_to_disk` stands for itself."""
    if path.is_file():
        return [path]
    if path.is_dir():
        if (path / "dataset_dict.json").is_file():
            splits = json.loads((path / "dataset_dict.json").read_text())["splits"]
            raise DataError(
                f"{path} holds {len(splits)} splits: give one, {str(path / splits[0])!r}; has {splits}"
            )
        if (path / "state.json").is_file() and (path / "dataset_info.json").is_file():
            return [path]
        found = sorted(p for p in path.iterdir() if p.suffix in SUFFIXES)
        what = f"folder {str(path)!r}"
    else:
        found = sorted(pathlib.Path(p) for p in glob.glob(str(path)))
        what = f"pattern {str(path)!r}"
        if not glob.has_magic(str(path)):
            hub = "" if path.suffix else f"; a dataset of the Hub is written 'hf:{path}:train'"
            raise DataError(f"question file {str(path)!r} does not exist{hub}")
    if not found:
        raise DataError(f"{what}: no question files in it ({', '.join(SUFFIXES)})")
    if len({p.suffix == ".parquet" for p in found}) > 1:
        raise DataError(
            f"{what}: parquet and JSON files together, {[p.name for p in found]}: give one kind"
        )
    splits = {m.group(1): p for p in found if (m := _SPLIT.match(p.name))}
    if len(splits) > 1:
        several = sorted(splits)
        raise DataError(
            f"{what} holds several splits, {several}: give a pattern, "
            f"{str(found[0].parent / (several[0] + '*' + found[0].suffix))!r}"
        )
    return found


def _of_hub(name: str):
    """hf:NAME, hf:NAME:SPLIT or hf:NAME:CONFIG:SPLIT -> a `datasets.Dataset`."""
    import datasets

    repository, *rest = name.removeprefix("hf:").split(":")
    if len(rest) > 2 or not all((repository, *rest)):
        raise DataError(f"{name!r}: write hf:NAME, hf:NAME:SPLIT or hf:NAME:CONFIG:SPLIT")
    config, split = rest[0] if len(rest) == 2 else None, rest[-1] if rest else None
    try:
        data = datasets.load_dataset(repository, config, split=split)
    except (
        Exception
    ) as error:  # of the network, the Hub, its cache or the dataset: there is no common class
        raise DataError(
            f"{name}: cannot be loaded from the Hub ({type(error).__name__}: {error!s:.300}). Without a network give "
            "a file or folder instead: data.train = 'FILE.parquet', or what `save_to_disk` wrote"
        ) from error
    if isinstance(data, datasets.DatasetDict):
        if len(data) > 1:
            raise DataError(
                f"{name} has several splits: give one, 'hf:{repository}:SPLIT', of {sorted(data)}"
            )
        (data,) = data.values()
    return data


def _saved(path: pathlib.Path):
    """The dataset that `save_to_disk` wrote into a folder."""
    import datasets

    try:
        return datasets.load_from_disk(str(path))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a dataset that was saved whole ({error!s:.200})") from None


# ---- JSON -------------------------------------------------------------------------------------


def json_rows(path: pathlib.Path):
    """Yield (line number, "FILE, line N", row) of JSON lines with a text `prompt`; DataError for a broken row."""
    for number, where, row in _json_lines(path):
        if isinstance(row.get("prompt"), list):
            raise DataError(f"{where}: needs a non-empty string `prompt`")
        columns.question(row.get("prompt"), where)
        if "answer" in row:
            columns.gold(row["answer"], where)
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
                yield number, where, _object(_parsed(line, where), where)


def _json_array(path: pathlib.Path):
    for number, row in enumerate(_parsed(path.read_bytes(), str(path)), start=1):
        where = f"{path}, row {number}"
        yield number, where, _object(row, where)


def _parsed(text: bytes, where: str):
    try:
        return json.loads(text.decode("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{where}: not a JSON object in UTF-8 ({error})") from None


def _object(row, where: str) -> dict:
    if not isinstance(row, dict):
        raise DataError(f"{where}: needs a JSON object with a `prompt`, has {str(row)[:80]!a}")
    return row


def _is_array(path: pathlib.Path) -> bool:
    with path.open("rb") as file:
        return path.suffix == ".json" and file.read(64).lstrip()[:1] == b"["


def _gather_json(into: Gathered, path: pathlib.Path, named: dict[str, str], strict: bool) -> None:
    known: dict[tuple, columns.Columns] = {}
    first, number, prompt_column = into.lines, 0, None
    seen = set() if into.deduplicate else None
    for number, where, row in _json_array(path) if _is_array(path) else _json_lines(path, seen):
        if row is None:
            into.count += 1
            continue
        names = tuple(_paths(row))
        found = known.get(names)
        if found is None:
            found = known[names] = columns.find(names, named, where, strict)
            into.shapes[found.shape] = None
        prompt_column = prompt_column or found.prompt
        if found.prompt != prompt_column:
            raise DataError(f"{where}: no `{prompt_column}`, where the rows before have their prompt")
        _add(into, row, found, where, first + number - 1)
    into.lines += number


def _add(into: Gathered, row: dict, found: columns.Columns, where: str, number: int) -> None:
    """One object of a JSON file."""
    value = _at(row, found.prompt)
    if found.shape == columns.COUNTDOWN:
        value = columns.countdown(value, row["target"])
    before, prompt = columns.question(value, where)
    answer = columns.gold(_at(row, found.answer), where) if found.answer else None

    def make() -> dict:
        out = {"prompt": prompt, "before": before, "where": where, "number": number}
        for field in ("id", "rephrased"):
            if (name := getattr(found, field)) and (value := _at(row, name)) is not None:
                out[field] = value
        return out

    into.soft_ids |= found.id == columns.INDEX
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


# ---- ids --------------------------------------------------------------------------------------


def _give_ids(found: Gathered) -> None:
    """A string for each row: its own id, or its position; DataError if two have the same.

    An index that verl writes is one within its source only: where it comes again positions are taken.
    """
    rows = found.rows
    if found.soft_ids and len({str(row.get("id", row["number"])) for row in rows}) < len(rows):
        for row in rows:
            row.pop("id", None)
    seen: dict[str, str] = {}
    for row in rows:
        row["id"] = str(row.get("id", row.pop("number")))
        if (before := seen.setdefault(row["id"], row["where"])) is not row["where"]:
            (file, _, place), here = before.rpartition(", "), row["where"].rpartition(", ")[0]
            place = place if file == here else before
            raise DataError(f"{row['where']}: id {row['id']!r} occurs before, in {place}")
