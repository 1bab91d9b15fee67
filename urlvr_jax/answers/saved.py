"""What the package reads in a file of responses: extraction, key and verdict of every row."""

from __future__ import annotations

import contextlib
import itertools
import json
import pathlib
import sys

from urlvr_jax.answers import canonical, classes, extract
from urlvr_jax.answers.missing import MOST_RESPONSES, missing
from urlvr_jax.checks.workers import LATE, LOST, Pool
from urlvr_jax.errors import DataError
from urlvr_jax.untrusted import json_text

CHUNK = 256  # rows that are read before the first of them is printed


def read_file(settings, name: str) -> int:
    """Print one JSON object a row of `name`, JSON lines with `response` and perhaps `answer`; returns 0.

    `settings` is the configuration's `answers`. A broken row is named on standard error and counted.
    Raises DataError if there is no such file, GraderError if math-verify is asked for and not installed.
    """
    path = pathlib.Path(name)
    if not path.is_file():
        raise DataError(f"file of responses {name!r} does not exist")
    counts = dict.fromkeys(("rows", "broken", "answered", "labelled", "right", "otherwise"), 0)
    texts = []
    with contextlib.ExitStack() as stack:
        pool = None
        if settings.compat:
            pool = stack.enter_context(
                Pool(workers=settings.compat_workers, deadline_s=settings.compat_deadline_s)
            )
        lines = enumerate(stack.enter_context(path.open("rb")), start=1)
        while chunk := list(itertools.islice(lines, CHUNK)):
            rows = [_row(f"{name}, line {n}", n, line, settings.style) for n, line in chunk if line.strip()]
            counts["rows"] += len(rows)
            counts["broken"] += rows.count(None)
            rows = [row for row in rows if row]
            texts += [row.pop("response") for row in rows][: MOST_RESPONSES - len(texts)]
            asked = [r for r in rows if pool and r["verdict"] is not None and r["answer"] is not None]
            futures = pool.submit((r["gold"], r["answer"]) for r in asked) if asked else []
            for row, future in zip(asked, futures, strict=True):
                outcome = future.result()
                row["math_verify"] = outcome.verdict
                counts[outcome.why] = counts.get(outcome.why, 0) + 1
            for row in rows:
                _count(row, counts)
                print(json.dumps(row))
        print(_summary(name, counts, pool), file=sys.stderr)
        # Of the first responses; where all of them have answers nothing is said of the later ones.
        if text := missing(
            texts, sum(extract.extract(t, settings.style) is not None for t in texts), settings.style
        ):
            print(f"warning: {text}", file=sys.stderr)
    return 0


def _row(where: str, number: int, line: bytes, style: str) -> dict | None:
    """The line of one response, None for a broken row."""
    try:
        row = json_text.parse(line, where, DataError)
    except DataError as error:
        print(str(error)[:300], file=sys.stderr)
        return None
    if not isinstance(row, dict) or not isinstance(row.get("response"), str):
        print(f"{where}: needs a string `response`, has {str(row)[:80]!a}", file=sys.stderr)
        return None
    gold = row.get("answer")
    if gold is not None and (isinstance(gold, bool) or not isinstance(gold, str | int | float)):
        print(f"{where}: `answer` must be a string or a number, is {str(gold)[:80]!a}", file=sys.stderr)
        return None
    found = extract.extract(row["response"], style)
    key = classes.answer_key(row["response"], style)
    out = {
        "response": row["response"],
        "line": number,
        "answer": found and found.text,
        "span": found and [found.start, found.end],
        "key": key,
    }
    if gold is None:
        return out | {"gold": None, "gold_key": None, "verdict": None}
    gold_key = canonical.key(str(gold))
    return out | {"gold": str(gold), "gold_key": gold_key, "verdict": key == gold_key}


def _count(row: dict, counts: dict) -> None:
    counts["answered"] += row["key"] is not None
    counts["labelled"] += row["verdict"] is not None
    counts["right"] += bool(row["verdict"])
    counts["otherwise"] += row.get("math_verify") not in (None, row["verdict"])


def _summary(name: str, counts: dict, pool: Pool | None) -> str:
    text = (
        f"{name}: {counts['rows']} rows, {counts['broken']} broken, {counts['answered']} with an answer; "
        f"{counts['right']} right of {counts['labelled']} with a gold answer"
    )
    if pool:
        text += (
            f"; math-verify says otherwise in {counts['otherwise']}, "
            f"no verdict in {counts.get(LATE, 0)} (deadline) + {counts.get(LOST, 0)} (lost)"
        )
    return text
