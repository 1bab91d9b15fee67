"""Questions from files, and the prompts of a step as a function of (seed, step).

Gold answers are split off while reading: `Questions` has none, `Labels` has nothing else. Labels
reach metrics and verifiers only.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.resources
import importlib.util
import json
import pathlib

import numpy as np

from urlvr_jax import lab
from urlvr_jax.types import STATISTICS, Prompts, Rollouts

STREAMS = {"rollout": 0, "reward": 1, "evaluate": 2, "generate": 3, "verify": 4}  # of random keys
_SHUFFLE_STREAM = 101  # of NumPy generators


class DataError(ValueError):
    """A question file that cannot be used; the message names file and line."""


@dataclasses.dataclass(frozen=True)
class Questions:
    """Tokenised questions that fit the widest prompt bucket."""

    ids: tuple[str, ...]
    texts: tuple[str, ...]  # rendered by the template
    tokens: tuple[np.ndarray, ...]
    buckets: tuple[int, ...]
    overlong: int  # how many were left out
    fingerprint: str  # of the ids and texts, in order
    paired: bool = False  # questions 2i and 2i + 1 are one, in two wordings

    def __len__(self):
        return len(self.ids)


@dataclasses.dataclass(frozen=True)
class Labels:
    """Gold answers by question id; absent ids have no label."""

    gold: dict[str, str]

    def of(self, prompts: Prompts) -> list[str] | None:
        """Gold answers of these prompts, or None if any of them has none."""
        found = [self.gold.get(i) for i in prompts.ids]
        return None if any(g is None for g in found) else found


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


def json_rows(path: pathlib.Path):
    """Yield (line number, "FILE, line N", row) of JSON lines with a `prompt`; DataError for a broken row."""
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line.decode("utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise DataError(f"{where}: not a JSON object in UTF-8 ({error})") from None
        if not isinstance(row, dict) or not isinstance(row.get("prompt"), str) or not row["prompt"]:
            raise DataError(f"{where}: needs a non-empty string `prompt`, has {str(row)[:80]!r}")
        if any("\ud800" <= letter <= "\udfff" for letter in row["prompt"]):
            raise DataError(f"{where}: `prompt` has half of a surrogate pair, which is not a character")
        if not isinstance(row.get("answer", ""), str | int | float):
            raise DataError(f"{where}: `answer` must be a string or a number")
        yield number, where, row


def read_rows(name: str) -> list[dict]:
    """Rows of a question file; every broken row is an error naming file and line."""
    path = resolve(name, "questions")
    if not path.is_file():
        raise DataError(f"question file {str(path)!r} does not exist")
    rows, seen = [], {}
    for number, where, row in json_rows(path):
        row["id"] = str(row.get("id", number - 1))
        if row["id"] in seen:
            raise DataError(f"{where}: id {row['id']!r} occurs before, in line {seen[row['id']]}")
        seen[row["id"]] = number
        rows.append(row)
    if not rows:
        raise DataError(f"{path}: no questions in it")
    return rows


def rephraser(how: str):
    """row of a question file -> its question in other words. how: "lab", "column", "my.py:function"."""
    if how == "lab":
        return lambda row: lab.world.rephrase(row["prompt"])
    if how == "column":
        return lambda row: row.get("rephrased")
    path, _, attribute = how.rpartition(":")
    if not path or not pathlib.Path(path).is_file():
        raise DataError(f"data.rephrase = {how!r}: give lab, column, or an existing file, 'my.py:function'")
    spec = importlib.util.spec_from_file_location(pathlib.Path(path).stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not callable(fn := getattr(module, attribute, None)):
        raise DataError(f"data.rephrase = {how!r}: {path} has no function {attribute!r}")
    return lambda row: fn(row["prompt"])


def in_pairs(name: str, rows: list[dict], how: str) -> list[dict]:
    """Every row followed by its other wording, whose id ends in "~"; DataError where there is none."""
    other, out = rephraser(how), []
    for row in rows:
        text = other(row)
        if not isinstance(text, str) or not text:
            raise DataError(f"{name}: no other wording (data.rephrase = {how!r}) for id {row['id']!r}")
        out += [row, row | {"id": f"{row['id']}~", "prompt": text}]
    return out


def load(
    name, tokenizer, template: str, buckets, subset: int = 0, rephrase: str = ""
) -> tuple[Questions, Labels]:
    """Read a question file: prompts without answers, and the answers apart.

    With `rephrase` every question is followed by its other wording; where either is too long both go.
    """
    rows = read_rows(name)
    rows = rows[: subset or len(rows)]
    rows = in_pairs(name, rows, rephrase) if rephrase else rows
    together = 2 if rephrase else 1
    digest, kept = hashlib.sha256(), []
    for start in range(0, len(rows), together):
        part = rows[start : start + together]
        texts = [template.replace("{prompt}", row["prompt"]) for row in part]
        tokens = [np.array(tokenizer.encode(text), np.int32) for text in texts]
        if all(1 <= len(t) <= buckets[-1] for t in tokens):
            for row, text, ids in zip(part, texts, tokens, strict=True):
                kept.append((row["id"], text, ids))
                digest.update(f"{row['id']}\0{text}\0".encode("utf-8", "surrogatepass"))
    if not kept:
        raise DataError(
            f"{name}: all {len(rows)} prompts are longer than the widest of data.prompt_buckets = "
            f"{tuple(buckets)}; add a wider one"
        )
    ids, texts, tokens = zip(*kept, strict=True)
    gold = {r["id"]: str(r["answer"]) for r in rows if "answer" in r}
    questions = Questions(
        ids, texts, tokens, tuple(buckets), len(rows) - len(kept), digest.hexdigest()[:16], bool(rephrase)
    )
    return questions, Labels({i: gold[i] for i in ids if i in gold})


def bare(text: str, template: str) -> str:
    """The question within a rendered prompt."""
    before, after = template.split("{prompt}")
    return text[len(before) : len(text) - len(after)]


def bucket(width: int, buckets) -> int:
    """The narrowest bucket that holds `width`: a function of the current batch alone."""
    return next(b for b in buckets if b >= width)


def take(questions: Questions, indices) -> Prompts:
    """The prompts at these positions, right-padded to their bucket."""
    tokens = [questions.tokens[i] for i in indices]
    width = bucket(max(len(t) for t in tokens), questions.buckets)
    padded = np.zeros((len(tokens), width), np.int32)
    for row, t in zip(padded, tokens, strict=True):
        row[: len(t)] = t
    return Prompts(
        tuple(questions.ids[i] for i in indices),
        tuple(questions.texts[i] for i in indices),
        padded,
        np.array([len(t) for t in tokens], np.int32),
    )


def prompts_at(questions: Questions, step: int, count: int, seed: int, shuffle: bool) -> Prompts:
    """The `count` prompts of a step (counted from 1), over epochs without a gap."""
    epochs, offsets = np.divmod(np.arange((step - 1) * count, step * count), len(questions))
    if shuffle:
        for epoch in np.unique(epochs):
            rng, together = np.random.default_rng((seed, _SHUFFLE_STREAM, int(epoch))), 1 + questions.paired
            order = rng.permutation(len(questions) // together)
            order = (order[:, None] * together + np.arange(together)).reshape(-1)
            offsets[epochs == epoch] = order[offsets[epochs == epoch]]
    return take(questions, offsets)


def documents_at(name: str, tokenizer, step: int, count: int, seed: int, buckets, longest: int):
    """Supervised mode: documents as (Prompts, Rollouts), their second half 'sampled' by the corpus."""
    rows = lab.documents(name.removeprefix("lab:"), seed, step, count, longest - 1)
    ids = [f"{step}/{i}" for i in range(count)]
    tokens = [np.array(tokenizer.encode(q), np.int32) for q, _, _ in rows]
    questions = Questions(tuple(ids), tuple(q for q, _, _ in rows), tuple(tokens), tuple(buckets), 0, "")
    responses = np.zeros((count, longest), np.int32)
    lengths, ended = np.zeros(count, np.int32), np.zeros(count, bool)
    for i, (_, text, ends) in enumerate(rows):
        ids = tokenizer.encode(text) + [tokenizer.stop_ids[0]] * ends
        responses[i, : len(ids)] = ids
        lengths[i], ended[i] = len(ids), ends
    stats = {n: np.zeros((count, longest), np.float32) for n in STATISTICS}
    return take(questions, range(count)), Rollouts(responses, lengths, ended, stats)
