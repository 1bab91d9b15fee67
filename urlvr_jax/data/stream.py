"""Questions ready for the model, and the prompts of a step as a function of (seed, step).

Gold answers are split off while loading: `Questions` has none, `Labels` has nothing else. Labels
reach metrics and controls only.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import NamedTuple

import numpy as np

from urlvr_jax.data import files
from urlvr_jax.data.distinct import Distinct
from urlvr_jax.data.labels import Labels
from urlvr_jax.data.padding import bucket, padded
from urlvr_jax.data.prompt_formats import PromptFormat
from urlvr_jax.errors import DataError, UserCodeError
from urlvr_jax.lab import world
from urlvr_jax.runtime.user_code import load_function
from urlvr_jax.types import Prompts

_SHUFFLE_STREAM, _SUBSET_STREAM, _PROBE_STREAM = 101, 102, 103  # of NumPy generators
_NOTHING = np.zeros(0, np.int32)


@dataclasses.dataclass(frozen=True)
class Origin:
    """What was read, for reports and the run's record."""

    shape: str  # of the file, see shapes.SHAPES
    rows: int
    duplicates: int  # rows whose question came before: left out
    conflicts: int  # questions that came again with another gold answer: the first was kept
    control: int  # questions in which the text of a control token is ordinary text
    lengths: str  # of its prompts in tokens, in words


@dataclasses.dataclass(frozen=True)
class Questions:
    """Tokenised questions that fit the widest prompt bucket."""

    ids: tuple[str, ...]
    texts: tuple[str, ...]  # rendered for the model
    tokens: tuple[np.ndarray, ...]
    buckets: tuple[int, ...]
    overlong: int  # how many were left out
    fingerprint: str  # of the ids and texts, in order
    paired: bool = False  # questions 2i and 2i + 1 are one, in two wordings
    questions: tuple[str, ...] = ()  # as their file has them
    origin: Origin | None = None
    continuations: tuple[
        np.ndarray, ...
    ] = ()  # tokens of what follows each in its corpus, if they are from one

    def __len__(self):
        return len(self.ids)


def rephraser(how: str):
    """row of a question file -> its question in other words. how: "lab", "column", "my.py:function"."""
    if how == "lab":
        return lambda row: world.rephrase(row["prompt"])
    if how == "column":
        return lambda row: row.get("rephrased")
    try:
        fn = load_function(how)
    except UserCodeError as error:
        raise DataError(
            f"data.rephrase = {how!r}: give lab, column, or a function; {error}"
        ) from error.__cause__
    return lambda row: fn(row["prompt"])


def in_pairs(rows: list[dict], how: str) -> list[dict]:
    """Every row followed by its other wording, whose id ends in "~"; DataError where there is none."""
    other = rephraser(how)
    out = []
    for row in rows:
        text = other(row)
        if not isinstance(text, str) or not text:
            raise DataError(
                f"{row['where']}: no other wording (data.rephrase = {how!r}) for id {row['id']!r}"
            )
        out += [row, row | {"id": f"{row['id']}~", "prompt": text}]
    return out


def chosen(rows: list[dict], count: int, seed: int) -> list[dict]:
    """`count` of the rows, in the order of the file: the first, or with seed >= 0 those it draws. 0: all."""
    if not 0 < count < len(rows):
        return rows
    if seed < 0:
        return rows[:count]
    rng = np.random.default_rng((seed, _SUBSET_STREAM))
    return [rows[i] for i in sorted(rng.choice(len(rows), count, replace=False).tolist())]


class Probe(NamedTuple):
    """Some questions of a file, told apart from the rest: how many, drawn by which seed, from those with a gold answer
    or from all; and whether they are what is loaded, or what is left out."""

    count: int
    seed: int
    labelled: bool
    taken: bool

    def of(self, rows: list[dict], name: str) -> list[dict]:
        """Those of the rows that are loaded, in their order; DataError where there are too few."""
        known = [i for i, row in enumerate(rows) if "answer" in row or not self.labelled]
        if len(known) < self.count or len(rows) == self.count:
            raise DataError(
                f"labels.probe = {self.count}: {name} has {len(rows)} questions to train on, {len(known)} of them with a "
                "gold answer: give fewer, for some have to be left"
            )
        rng = np.random.default_rng((self.seed, _PROBE_STREAM))
        drawn = {known[i] for i in rng.choice(len(known), self.count, replace=False).tolist()}
        return [row for i, row in enumerate(rows) if (i in drawn) == self.taken]


def load(
    name: str, prompt_format: PromptFormat, buckets, *, subset: int = 0, subset_seed: int = -1,
    rephrase: str = "", named: dict[str, str] | None = None, strict: bool = True, deduplicate: bool = True,
    labelled: bool = False, columns: bool = False, probe: Probe | None = None,
) -> tuple[Questions, Labels]:  # fmt: skip
    """Read a question file: prompts without answers, and the answers apart.

    With `rephrase` every question is followed by its other wording; where either is too long both go.
    named, strict: what `data.columns` says. labelled: DataError unless every row has an answer. columns: keep all of
    a row's columns with the labels. probe: which of its questions, all without it.
    """
    found = files.read(name, named or {}, strict, deduplicate, columns)
    return ready(
        found, name, prompt_format, buckets, subset=subset, subset_seed=subset_seed, rephrase=rephrase,
        labelled=labelled, columns=columns, probe=probe,
    )  # fmt: skip


def ready(
    found: Distinct, name: str, prompt_format: PromptFormat, buckets, *, subset: int = 0, subset_seed: int = -1,
    rephrase: str = "", labelled: bool = False, columns: bool = False, probe: Probe | None = None,
) -> tuple[Questions, Labels]:  # fmt: skip
    """What was read from `name`, rendered and tokenised; see `load`."""
    rows = chosen(found.rows, subset, subset_seed)
    rows = probe.of(rows, name) if probe else rows
    if labelled and (lacking := next((r for r in rows if "answer" not in r), None)):
        raise DataError(
            f"{lacking['where']}: an evaluation needs `answer` in every row: say where it stands by data.columns = "
            "'prompt=question,answer=final', or let answers.check compute it"
        )
    rows = in_pairs(rows, rephrase) if rephrase else rows
    together = 2 if rephrase else 1
    asked = [row["prompt"] for row in rows]
    texts, tokens, control = prompt_format.encode(
        asked, [row["before"] for row in rows], [row["where"] for row in rows], widest=buckets[-1]
    )
    fits = np.array([1 <= len(t) <= buckets[-1] for t in tokens]).reshape(-1, together).all(axis=1)
    kept = np.flatnonzero(np.repeat(fits, together)).tolist()
    lengths = lengths_text([len(t) for t in tokens], buckets[-1])
    if not kept:
        raise DataError(
            f"{name}: all {len(rows)} prompts are longer than the widest of data.prompt_buckets = "
            f"{tuple(buckets)}: {lengths}"
        )
    digest = hashlib.sha256()
    for i in kept:
        digest.update(f"{rows[i]['id']}\0{texts[i]}\0".encode("utf-8", "surrogatepass"))
        digest.update(rows[i].get("continuation", _NOTHING).tobytes())
    questions = Questions(
        ids=tuple(rows[i]["id"] for i in kept),
        texts=tuple(texts[i] for i in kept),
        tokens=tuple(tokens[i] for i in kept),
        buckets=tuple(buckets),
        overlong=len(rows) - len(kept),
        fingerprint=digest.hexdigest()[:16],
        paired=bool(rephrase),
        questions=tuple(asked[i] for i in kept),
        origin=Origin(
            " and ".join(found.shapes), found.count, found.duplicates, found.conflicts, control, lengths
        ),
        continuations=tuple(rows[i]["continuation"] for i in kept if "continuation" in rows[i]),
    )
    gold = {rows[i]["id"]: rows[i]["answer"] for i in kept if "answer" in rows[i]}
    return questions, Labels(gold, {rows[i]["id"]: rows[i]["row"] for i in kept} if columns else {})


def lengths_text(lengths: list[int], widest: int) -> str:
    """How long prompts are, and the key that lets them in; too long by their characters is told as widest + 1."""
    middle, most = (int(np.quantile(lengths, q, method="higher")) for q in (0.5, 0.99))
    text = f"half of them have at most {middle} tokens, 99 % at most {most}, the longest {max(lengths)}"
    return text if most <= widest else f"{text}; --config.data.prompt_buckets={bucket_for(most)}"


def bucket_for(length: int) -> int:
    """The width for prompts of up to `length` tokens: the next multiple of 16, from 512 on of 128."""
    step = 16 if length <= 512 else 128
    return -(-length // step) * step


def take(questions: Questions, indices) -> Prompts:
    """The prompts at these positions, right-padded to their bucket."""
    pick = lambda values: tuple(values[i] for i in indices)
    rows = pick(questions.tokens)
    tokens, lengths = padded(rows, bucket(max(map(len, rows)), questions.buckets))
    asked = questions.questions or questions.texts
    follows = pick(questions.continuations) if questions.continuations else ()
    return Prompts(pick(questions.ids), pick(questions.texts), tokens, lengths, pick(asked), follows)


def prompts_at(questions: Questions, step: int, count: int, seed: int, shuffle: bool) -> Prompts:
    """The `count` prompts of a step (counted from 1), over epochs without a gap."""
    epochs, offsets = np.divmod(np.arange((step - 1) * count, step * count), len(questions))
    if shuffle:
        for epoch in np.unique(epochs):
            rng = np.random.default_rng((seed, _SHUFFLE_STREAM, int(epoch)))
            together = 1 + questions.paired
            order = rng.permutation(len(questions) // together)
            order = (order[:, None] * together + np.arange(together)).reshape(-1)
            offsets[epochs == epoch] = order[offsets[epochs == epoch]]
    return take(questions, offsets)
