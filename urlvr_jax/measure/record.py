"""A run's folder, read: its metric lines, evaluations, configuration and record. No engine: a report needs no device."""

from __future__ import annotations

import functools
import json
import math
import pathlib

from urlvr_jax.runtime.lines import read_lines


def is_number(value: object) -> bool:
    """Whether a value of a line is a finite number: others' lines may hold anything."""
    return isinstance(value, int | float) and math.isfinite(value)


def by_step(lines: list[dict], name: str) -> dict[int, float]:
    """{step: value} of a metric in the order of steps, where it is a finite number; of several the last in the file."""
    numbers = [line for line in lines if is_number(line.get(name))]
    return dict(sorted({line["step"]: line[name] for line in numbers}.items()))


class RunRecord:
    """What a run's folder says. Each file is read when it is first asked for, and once."""

    def __init__(self, path):
        self.path = pathlib.Path(path)

    @functools.cached_property
    def lines(self) -> list[dict]:
        """Of metrics.jsonl, one a step; step 0 has the base's evaluation alone."""
        return read_lines(self.path / "metrics.jsonl")

    @functools.cached_property
    def evals(self) -> list[dict]:
        """Of evals.jsonl: `correct` of each question out of `k`, one line a set and evaluation; none without the file."""
        file = self.path / "evals.jsonl"
        return read_lines(file) if file.is_file() else []

    @functools.cached_property
    def votes(self) -> list[dict]:
        """Of votes.jsonl, one line a step: see `votes.line`; none of a run that had no such file yet."""
        file = self.path / "votes.jsonl"
        return read_lines(file) if file.is_file() else []

    @functools.cached_property
    def config(self) -> dict:
        """{dotted key: value}."""
        return json.loads((self.path / "config.json").read_text())

    @functools.cached_property
    def record(self) -> dict:
        """Configuration's hash, and of each attempt commit, versions and devices; {} of a run that wrote none yet."""
        file = self.path / "record.json"
        return json.loads(file.read_text()) if file.is_file() else {}

    @property
    def attempt(self) -> dict:
        """The record of the latest attempt; {} before the first."""
        return self.record["attempts"][-1] if self.record else {}

    @property
    def commit(self) -> str:
        """Of the code of the latest attempt, 12 digits, with "+changes" where the tree differed; "-" where unknown."""
        git = self.attempt.get("git") or {}
        return (
            f"{git['commit'][:12]}{'+changes' if git.get('modified') else ''}" if git.get("commit") else "-"
        )

    @property
    def versions(self) -> str:
        """Packages of the latest attempt, in a line; "" where unknown."""
        versions = self.attempt.get("versions") or {}
        return ", ".join(f"{name} {version}" for name, version in versions.items())

    def curve(self, name: str) -> tuple[list[int], list[float]]:
        """Steps and values of a metric, where it is a number, in the order of steps."""
        known = by_step(self.lines, name)
        return list(known), list(known.values())

    def last_value(self, name: str) -> float | None:
        """The latest value of a metric; None if there is none yet."""
        _, values = self.curve(name)
        return values[-1] if values else None

    def first_set(self) -> list[dict]:
        """Evaluations of the run's first question file; none of a run that is not evaluated."""
        return [e for e in self.evals if e["set"] == self.evals[0]["set"]]

    def trained_on(self) -> dict[str, list[int]]:
        """Evaluation set -> [how many of its questions the run trains on, of how many]."""
        return self.attempt.get("test_time_training", {})
