"""Answers of other models to the training questions: files of completions, `data.votes`, as `generate --out` writes them."""

from __future__ import annotations

import functools
import hashlib
import pathlib
from collections import Counter

import numpy as np

from urlvr_jax.answers.classes import Answers, Ballot, collective_classes, read_answers
from urlvr_jax.checks import table
from urlvr_jax.config import ConfigError
from urlvr_jax.data import completions
from urlvr_jax.errors import DataError
from urlvr_jax.rewards import expression
from urlvr_jax.rewards.derived import OF_OTHERS
from urlvr_jax.types import Prompts


def collective(c, prompts: Prompts, answers: Answers) -> np.ndarray:
    """Class of the answer that the policy's rollouts and the other models' files give together, int32 `[P]`: see
    `collective_classes`."""
    asked = prompts.questions or prompts.texts
    ballots = [[file[question] for file in _files(c)] for question in asked]
    return collective_classes(answers.classes, answers.names, ballots)


def require(c, questions, name: str) -> None:
    """ConfigError without `data.votes`; DataError where one of its files cannot be read or lacks one of the questions, which
    are those of `name`."""
    if not c.data.votes:
        raise ConfigError(
            "the reward votes with other models: set data.votes to their responses, files that `generate --out` wrote"
        )
    for file, ballots in zip(c.data.votes, _files(c), strict=True):
        lacking = [question for question in questions if question not in ballots]
        if lacking:
            raise DataError(
                f"data.votes: {file} has no response to {len(lacking)} of {len(questions)} questions of {name}, such as "
                f"{lacking[0][:60]!r}: `generate --data`, with this run's data.*, and `--out FILE` write one with all"
            )


def facts(c) -> dict:
    """For the run's record, where a reward reads them: what is in the files."""
    if not c.data.votes or not OF_OTHERS & expression.load_configured(c).needs:
        return {}
    files = map(pathlib.Path, c.data.votes)  # one that is not there is told by `require`
    digest = lambda file: hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    return {"votes_sha256": [digest(file) for file in files if file.is_file()]}


def _files(c) -> tuple[dict[str, Ballot], ...]:
    return tuple(_read(name, c.answers.style, table.of(c).key_of) for name in c.data.votes)


@functools.cache
def _read(name: str, style: str, key_of) -> dict[str, Ballot]:
    """{question: what its responses answer} of one file. Nothing but prompts and responses is looked at."""
    rows = completions.read(name, "data.votes")
    keys = read_answers([row.response for row in rows], 1, style, key_of).keys
    votes: dict[str, list] = {}
    for row, key in zip(rows, keys, strict=True):
        votes.setdefault(row.prompt, []).append(key)
    return {q: Ballot(Counter(k for k in given if k is not None), len(given)) for q, given in votes.items()}
