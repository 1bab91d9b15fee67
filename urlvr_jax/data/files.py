"""Question files in: JSON lines, parquet, folders of either, saved datasets, datasets of the Hub -> rows.

A broken row is an error that names file and row; a question that comes again is left out and counted.
"""

from __future__ import annotations

import glob
import hashlib
import pathlib
import re
from typing import NamedTuple

from urlvr_jax.data import arrow
from urlvr_jax.data.distinct import Distinct
from urlvr_jax.data.json_lines import gather
from urlvr_jax.errors import DataError
from urlvr_jax.lab import shipped
from urlvr_jax.runtime import bucket
from urlvr_jax.untrusted import json_text

SUFFIXES = (".parquet", ".jsonl", ".json")
_PART = re.compile(r"\[(?:(held|rest)=(\d{1,9})|(\d{1,9}):(\d{1,9}))\]$")
_SPLIT = re.compile(r"(train|test|validation|valid|val|dev)(?![a-z])")


def read(
    name: str, named: dict[str, str], strict: bool = True, deduplicate: bool = True, columns: bool = False
) -> Distinct:
    """The questions that `name` stands for: a file, a folder, a pattern, lab:NAME or hf:NAME:CONFIG:SPLIT; of any of
    these with [held=N] behind it N questions, with [rest=N] the others, with [A:B] those from A to before B.

    A row has `id`, `prompt`, `before` (messages before it), `where`, and perhaps `answer` and `rephrased`; with
    `columns` also `row`, all its columns as they stand. named, strict: what `data.columns` says, see `shapes.find`.
    """
    found = Distinct(deduplicate, columns)
    whole, part = part_of(name)
    _gather(found, whole, named, strict)
    if not found.rows:
        raise DataError(f"{name}: no questions in it")
    _give_ids(found)
    if part and part.kind == "slice":
        _slice(found, name, part)
    elif part:
        _keep(found, name, part.kind, part.end)
    return found


class Part(NamedTuple):
    """Which part of a file's questions is meant."""

    kind: str  # held, rest, or slice
    start: int  # of a slice
    end: int  # of a slice; else how many are held


def part_of(name: str) -> tuple[str, Part | None]:
    """A name, and which part of its questions is meant: ("FILE", Part("held", 0, 200)) of "FILE[held=200]"."""
    found = _PART.search(name)
    if not found:
        return name, None
    whole = name[: found.start()]
    if found[1]:
        return whole, Part(found[1], 0, int(found[2]))
    return whole, Part("slice", int(found[3]), int(found[4]))


def _gather(found: Distinct, name: str, named: dict[str, str], strict: bool) -> None:
    columns = found.columns
    if name.startswith("hf:"):
        arrow.gather(found, name, *arrow.dataset(_of_hub(name), name, named, strict, columns))
    else:
        for path in _files(question_path(name)):
            if path.is_dir():
                arrow.gather(
                    found, str(path), *arrow.dataset(_saved(path), str(path), named, strict, columns)
                )
            elif path.suffix == ".parquet":
                arrow.gather(found, str(path), *arrow.parquet(path, named, strict, columns))
            else:
                gather(found, path, named, strict)


def _slice(found: Distinct, name: str, part: Part) -> None:
    """Of the rows those from `start` to before `end`, in the order of the file."""
    if not part.start < part.end <= len(found.rows):
        raise DataError(
            f"{name}: there are {len(found.rows)} questions: give [A:B] with A < B <= {len(found.rows)}"
        )
    found.elsewhere = len(found.rows) - (part.end - part.start)
    found.rows = found.rows[part.start : part.end]


def _keep(found: Distinct, name: str, part: str, count: int) -> None:
    """Of the rows those that are held, or the rest.

    The N questions whose texts have the smallest digests are held: whatever their order, and whatever comes beside
    them, no text is in both parts.
    """
    digest = lambda row: hashlib.blake2b(
        row["prompt"].encode("utf-8", "surrogatepass"), digest_size=16
    ).digest()
    texts = sorted({digest(row) for row in found.rows})
    if not 0 < count < len(texts):
        raise DataError(
            f"{name}: there are {len(texts)} questions; hold from 1 to {len(texts) - 1} of them"
        )
    held = set(texts[:count])
    rows = [row for row in found.rows if (digest(row) in held) == (part == "held")]
    found.elsewhere = len(found.rows) - len(rows)
    found.rows = rows


def question_path(name: str) -> pathlib.Path:
    """A path or pattern, or the question file that ships under `lab:NAME`; without what says which part.

    What lies in a bucket, gs://..., is copied to this machine: files and folders, no patterns.
    """
    name, _ = part_of(name)
    if bucket.is_in(name):
        return bucket.copied(name)
    return shipped.questions(name) if name.startswith("lab:") else pathlib.Path(name)


def read_rows(name: str) -> list[dict]:
    """All rows of a question file as they stand."""
    return read(name, {}, deduplicate=False).rows


# ---- where the rows are -----------------------------------------------------------------------


def _files(path: pathlib.Path) -> list[pathlib.Path]:
    """Files to read in order; a folder of `save_to_disk` stands for itself."""
    if path.is_file():
        return [path]
    if path.is_dir():
        if (path / "dataset_dict.json").is_file():
            splits = json_text.read(path / "dataset_dict.json", DataError).get("splits")
            if not isinstance(splits, list) or not splits:
                raise DataError(f"{path / 'dataset_dict.json'} names no splits")
            raise DataError(
                f"{path} holds {len(splits)} splits: give one, {str(path / str(splits[0]))!r}; has {splits}"
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
    config = rest[0] if len(rest) == 2 else None
    split = rest[-1] if rest else None
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


# ---- ids --------------------------------------------------------------------------------------


def _give_ids(found: Distinct) -> None:
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
            (file, _, place) = before.rpartition(", ")
            here = row["where"].rpartition(", ")[0]
            place = place if file == here else before
            raise DataError(f"{row['where']}: id {row['id']!r} occurs before, in {place}")
