"""Which columns of a question file hold the prompt, the gold answer and the id, and what they may hold.

Files are written in a few known shapes, told apart by their columns; `data.columns` names others. Nested
columns are written with dots: `reward_model.ground_truth`.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from urlvr_jax.answers import extract
from urlvr_jax.checks import countdown
from urlvr_jax.errors import DataError

FIELDS = ("prompt", "answer", "id", "rephrased")
_HALF = re.compile("[\ud800-\udfff]")  # of a surrogate pair
COUNTDOWN = "countdown"  # the shape whose prompt is made from `nums` and `target`
INDEX = "extra_info.index"  # verl's id, which may be one within its source only


class Columns(NamedTuple):
    """Where each field of a question stands; "" where the file has none."""

    shape: str  # what such files are called
    prompt: str
    answer: str = ""
    id: str = ""
    rephrased: str = ""

    @property
    def used(self) -> list[str]:
        """Every column that has to be read."""
        return [c for c in (self.prompt, self.answer, self.id, self.rephrased) if c]


# The first whose columns are all there; an `id` and a `rephrased` are read wherever they are.
SHAPES = (
    Columns("verl", "prompt", "reward_model.ground_truth"),
    Columns("prompt/answer", "prompt", "answer"),
    Columns("trl", "prompt", "solution"),
    Columns("trl", "prompt", "ground_truth"),
    Columns("prompts alone", "prompt"),
    Columns("gsm8k", "question", "answer"),
    Columns("math", "problem", "answer"),
    Columns("math", "problem", "solution"),
    Columns(COUNTDOWN, "nums", ""),
)


def parse(text: str) -> dict[str, str]:
    """Of `data.columns`, "prompt=question,answer=final", to {field: column}; ValueError if that cannot be."""
    out = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        field, equals, column = (p.strip() for p in part.partition("="))
        if not equals or not column or field not in FIELDS or field in out:
            raise ValueError(
                f"{part!r} cannot be read: write field=column once for each field, of {', '.join(FIELDS)}, "
                "as in 'prompt=question,answer=final'"
            )
        out[field] = column
    if out and "prompt" not in out:
        raise ValueError("it does not say which column is the prompt, 'prompt=question,...'")
    return out


def find(names, named: dict[str, str], where: str, strict: bool = True) -> Columns:
    """The columns of a file that has `names`, nested ones with dots; DataError names what is there.

    named: what `data.columns` says. A file without those columns is an error if `strict`, else it is read
    by its shape.
    """
    names = set(names)
    if named and not (missing := set(named.values()) - names):
        rest = {f: f for f in FIELDS if f in names and f not in named and f not in named.values()}
        return Columns("data.columns", **(rest | named))
    if named and strict:
        raise DataError(
            f"{where}: no column {', '.join(map(repr, sorted(missing)))}, which data.columns names; "
            f"there are {sorted(names)}"
        )
    for shape in SHAPES:
        needed = {shape.prompt, shape.answer} - {""} | ({"target"} if shape.shape == COUNTDOWN else set())
        if needed <= names:
            by_index = INDEX if shape.shape == "verl" and INDEX in names else ""
            other = "rephrased" if "rephrased" in names else ""
            return shape._replace(id="id" if "id" in names else by_index, rephrased=other)
    raise DataError(
        f"{where}: no column is called `prompt`, and it has no other known shape; it has {sorted(names)}. Say "
        "which column is which: data.columns = 'prompt=question,answer=final'"
    )


def question(value, where: str) -> tuple[tuple[dict, ...], str]:
    """A prompt as its file has it, text or messages -> (the messages before it, the user's question).

    DataError unless it is a non-empty text, or messages of which the last is such a text of the user's.
    """
    if not isinstance(value, list):
        return (), _text(value, "`prompt`", where)
    messages = []
    for m in value:
        if not isinstance(m, dict) or not isinstance(m.get("role"), str):
            raise DataError(f"{where}: every message of `prompt` needs a `role` and a `content`")
        messages.append(
            {"role": m["role"], "content": _text(m.get("content"), "`content` in `prompt`", where)}
        )
    if not messages or messages[-1]["role"] != "user":
        raise DataError(f"{where}: the last message of `prompt` must be the user's, role 'user'")
    return tuple(messages[:-1]), messages[-1]["content"]


def _text(value, what: str, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise DataError(f"{where}: needs a non-empty string {what}, has {str(value)[:80]!a}")
    if _HALF.search(value):
        raise DataError(f"{where}: {what} has half of a surrogate pair, which is not a character")
    return value


def countdown_question(numbers, target, where: str) -> str:
    """TinyZero's columns `nums` and `target` as a question; DataError unless they are some numbers and one."""
    is_number = lambda x: isinstance(x, int | float) and not isinstance(x, bool)
    if not isinstance(numbers, list) or not numbers or not all(map(is_number, [*numbers, target])):
        raise DataError(
            f"{where}: `nums` must be some numbers and `target` a number, they are "
            f"{str(numbers)[:60]!a} and {str(target)[:40]!a}"
        )
    return countdown.sentence(numbers, target)


def gold(value, where: str) -> str | None:
    """A gold answer as its file has it -> the answer alone; DataError unless it is a string or a number.

    Of a whole solution it is what follows `####` (GSM8K), or the last `\\boxed{}`. None for an empty text, and for
    a record, such as the numbers and target of TinyZero's files.
    """
    if isinstance(value, dict):
        return None
    if not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
        raise DataError(f"{where}: `answer` must be a string or a number, is {str(value)[:40]!a}")
    text = str(value)
    if "####" in text:
        return text.rpartition("####")[2].strip() or None
    boxed = extract.extract(text, "boxed")
    return (boxed.text if boxed else text) or None
