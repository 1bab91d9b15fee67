"""A run's folder, read: its metric lines, evaluations and record. No engine, so a report needs no device."""

from __future__ import annotations

import json
import pathlib

from urlvr_jax.runtime.lines import read_lines


def curve(lines: list[dict], name: str) -> tuple[list[int], list[float]]:
    """Steps and values of a metric, where it is present."""
    points = [(line["step"], line[name]) for line in lines if name in line]
    return [p[0] for p in points], [p[1] for p in points]


def last_value(path: pathlib.Path, name: str | None) -> float | None:
    """The latest value of a metric of a run; None if there is none yet."""
    values = curve(read_lines(path / "metrics.jsonl"), name)[1] if name else []
    return values[-1] if values else None


def first_set(path: pathlib.Path) -> list[dict]:
    """Evaluations of the run's first question file."""
    evals = read_lines(path / "evals.jsonl")
    return [e for e in evals if e["set"] == evals[0]["set"]]


def trained_on(path: pathlib.Path) -> dict[str, list[int]]:
    """Evaluation set -> [how many of its questions the run trains on, of how many], by its record."""
    file = path / "record.json"
    return (
        json.loads(file.read_text())["attempts"][-1].get("test_time_training", {}) if file.is_file() else {}
    )
