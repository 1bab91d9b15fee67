"""A check of one's own, `answers.check = 'my.py:right'`: called once for each response.

It is handed what its parameters are called:

    right(response, gold)           any of NAMES; any other name is a column of the question file
    compute_score(data_source, solution_str, ground_truth, extra_info=None)       as verl calls it
    reward(completions, **columns)  as TRL calls it: lists, here of one; messages where the file's prompt is messages

and returns True or False or a score, which is right above 0.5 (verl's dictionaries: `acc` if there is one, and `score`).
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
from collections.abc import Callable

import numpy as np

from urlvr_jax.answers import canonical
from urlvr_jax.answers.classes import Answers
from urlvr_jax.checks.grading import Asked, Check, CheckError, Graded, ungraded_text
from urlvr_jax.checks.workers import Judged, Pool, judged
from urlvr_jax.errors import UserCodeError
from urlvr_jax.runtime.user_code import load_function

NAMES = ("response", "answer", "question", "prompt", "gold", "row")
_VERL = {"solution_str": "response", "ground_truth": "gold"}
_IN_ROW = ("data_source", "extra_info")  # of verl's files, None in others
_RIGHT = 0.5


def is_own(name: str) -> bool:
    return ".py:" in name


def load(name: str, workers: int, deadline_s: float) -> Check:
    """The check of "my.py:right"; CheckError for what cannot be one.

    workers: processes that judge beside the device, each response within `deadline_s`; 0: none, in this process.
    """
    fn = function(name)
    pool = Pool(name, workers, deadline_s, call="urlvr_jax.checks.own:for_worker") if workers else None
    return Check("gold" in asks_for(fn), canonical.key, functools.partial(begin, name, fn, pool))


def function(name: str) -> Callable:
    try:
        fn = load_function(name)
    except UserCodeError as error:
        raise CheckError(f"answers.check = {name!r}: {error}") from error.__cause__
    parameters = inspect.signature(fn).parameters.values()
    if not asks_for(fn) & {"response", "answer"}:
        raise CheckError(
            f"answers.check = {name!r} does not ask for the response: its parameters are "
            f"{[p.name for p in parameters]}; call one `response`, `answer`, `solution_str` or `completions`. "
            f"Others may be {', '.join(NAMES)}, or a column of the question file"
        )
    return fn


def asks_for(fn) -> set[str]:
    """Which of NAMES a function must have, and other parameters without a default."""
    parameters = inspect.signature(fn).parameters.values()
    names = {p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    optional = {p.name for p in parameters if p.default is not p.empty}
    if "completions" in names:  # TRL's other names are columns
        return {"response", *(names - optional - {"completions", "prompts"})}
    return {_VERL.get(n, n) for n in names if n in (*NAMES, *_VERL) or n not in optional} - set(_IN_ROW)


def require_columns(name: str, rows) -> None:
    """CheckError if the function asks for a column that a row of the question file lacks."""
    wanted = asks_for(function(name)) - set(NAMES)
    for row in rows:
        if lacking := sorted(wanted - set(row)):
            raise CheckError(
                f"answers.check = {name!r} asks for {lacking}: the question file has the columns {sorted(row)}, and "
                f"every check is handed {', '.join(NAMES)}"
            )


def score(fn, task: dict) -> tuple[float, bool] | None:
    """(score, is it right) of one response, None where the function returned None. task: {name of NAMES: value}.

    ValueError for what is neither; and whatever the function raises.
    """
    row = task["row"]
    parameters = inspect.signature(fn).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if "completions" in parameters:
        values = {k: [v] for k, v in row.items() if k not in ("prompt", "completion")}
        asked, response = row.get("prompt"), task["response"]
        chat = isinstance(asked, list)
        values["prompts"] = [asked if chat else task["prompt"]]
        values["completions"] = [[{"role": "assistant", "content": response}] if chat else response]
    else:
        values = row | {n: row.get(n) for n in _IN_ROW} | task
        values |= {n: task[ours] for n, ours in _VERL.items()}
    out = fn(**{n: v for n, v in values.items() if n in parameters or open_ended})
    if inspect.iscoroutine(out):
        out = asyncio.run(out)
    if "completions" in parameters:
        (out,) = out
    right = None
    if isinstance(out, dict):
        right = out.get("acc")
        out = out.get("score")
    if out is None:
        return None
    number = float(out)
    if not math.isfinite(number):
        raise ValueError(f"it returned {number}")
    return number, bool(number > _RIGHT if right is None else right)


def for_worker(name: str) -> Callable:
    """What a worker process calls for each task."""
    return functools.partial(score, function(name))


# ---- a step's responses -----------------------------------------------------------------------


def begin(name: str, fn, pool: Pool | None, answers: Answers, asked: Asked) -> Callable[[], Graded]:
    """Hand the responses over, equal ones of a question once; the function that is returned waits for the scores.

    fn: see `score`; without a pool it is called here, else it only says what each process of the pool calls.
    """
    group = answers.classes.shape[1]
    tasks: dict[tuple[int, str], dict] = {}
    for b, (text, found) in enumerate(zip(answers.texts, answers.found, strict=True)):
        p = b // group
        tasks.setdefault((p, text), {
            "response": text, "answer": found and found.text, "question": asked.questions[p],
            "prompt": asked.prompts[p], "gold": asked.gold_of(p), "row": asked.rows[p] if asked.rows else {},
        })  # fmt: skip
    here = functools.partial(score, fn)
    wait = (
        pool.begin(tasks.values()) if pool else lambda: Judged.of([judged(here, t) for t in tasks.values()])
    )

    def graded() -> Graded:
        got = wait()
        found = dict(zip(tasks, got.verdicts, strict=True))
        each = [found[b // group, text] for b, text in enumerate(answers.texts)]
        silent = got.verdicts.count(None) - got.late - got.lost - got.failed
        counts = {"late": got.late, "lost": got.lost, "failed": got.failed, "none": silent}
        if not any(each):
            why = f"none of {len(each)} responses, {len(tasks)} of them distinct, was judged by answers.check = {name!r}"
            return Graded(None, None, counts, f"{why}: {ungraded_text(counts, got.error)}", got.error)
        scores = np.array([0.0 if x is None else x[0] for x in each], np.float32)
        right = np.array([x is not None and x[1] for x in each])
        shape = answers.classes.shape
        return Graded(right.reshape(shape), scores.reshape(shape), counts, error=got.error)

    return graded
