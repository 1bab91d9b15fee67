"""From text to answers, once: extraction, a canonical key, and classes within a group.

Two answers are equal when their keys are. A key is computed from one answer alone, so equality is
an equivalence relation and serves the vote, the metric and the verifier alike.
"""

from __future__ import annotations

import hashlib
import re
from fractions import Fraction

import numpy as np

NO_ANSWER = -1
CHECKS = ("gold", "countdown", "countdown_tinyzero")  # how metrics and verifiers know who is right
_LAB = re.compile(r"A(-?\d{1,12})(?![\d])")
_LAB_EXPRESSION = re.compile(r"A([0-9+\-*/()]{1,64})")
_TAGS = re.compile(r"<answer>(.*?)</answer>", re.S)
_HASHES = re.compile(r"####\s*(\S[^\n]*)")
_NUMBER = re.compile(r"[-+]?\d{1,60}(?:\.\d{1,60})?")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d{1,60})?")


def _boxed(text: str) -> tuple[int, int] | None:
    """The content of the last `\\boxed{}` whose braces balance."""
    for start in reversed([m.end() for m in re.finditer(r"\\boxed\s*\{", text)][-8:]):
        depth = 1
        for i in range(start, len(text)):
            depth += (text[i] == "{") - (text[i] == "}")
            if depth == 0:
                return start, i
    return None


def _last(pattern: re.Pattern, text: str) -> tuple[int, int] | None:
    spans = [m.span(1) for m in pattern.finditer(text)]
    return spans[-1] if spans else None


EXTRACTORS = {  # text -> where its answer stands
    "lab": lambda text: _last(_LAB, text),  # the laboratory's marker: "...;A5"
    "lab_expression": lambda text: _last(_LAB_EXPRESSION, text),  # "...;A(3+7)*5"
    "tags": lambda text: _last(_TAGS, text),  # "<answer>5</answer>"
    "boxed": _boxed,
    "hashes": lambda text: _last(_HASHES, text),  # GSM8K: "#### 5"
}


def extract(text: str, style: str) -> tuple[str, int, int] | None:
    """(answer, start, end) with answer = text[start:end], or None where there is none."""
    span = EXTRACTORS[style](text)
    return None if span is None else (text[slice(*span)], *span)


def key(answer: str) -> str:
    """Canonical key of one extracted answer: exact for integers and decimals, else the text itself."""
    text = answer.strip().strip("$").strip()
    if _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    if _NUMBER.fullmatch(text):
        return str(Fraction(text))
    return " ".join(text.split())


def answer_key(text: str, style: str) -> str | None:
    """Key of the answer in a response, or None where there is none."""
    found = extract(text, style)
    return None if found is None else key(found[0]) or None


def plain_key(text: str, style: str) -> str | None:
    """Key of an answer that is judged as it stands, such as an expression: its text without spaces."""
    found = extract(text, style)
    return None if found is None else "".join(found[0].split()) or None


def tie_order(answer: str) -> bytes:
    """Order in which tied answers win: fixed by the answer alone, blind to rollout order and size."""
    return hashlib.blake2b(answer.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def classes(keys: list[str | None], group: int) -> tuple[np.ndarray, list[dict[str, int]]]:
    """Keys of B responses -> class ids int32 `[P, G]` (-1 none), and each group's {key: id}.

    Ids follow `tie_order`, so 'the smallest id among the most frequent' is the vote's tie rule.
    """
    ids, names = [], []
    for start in range(0, len(keys), group):
        part = keys[start : start + group]
        order = {k: i for i, k in enumerate(sorted({k for k in part if k is not None}, key=tie_order))}
        ids.append([NO_ANSWER if k is None else order[k] for k in part])
        names.append(order)
    return np.array(ids, np.int32), names


def gold_classes(gold_keys: list[str], names: list[dict[str, int]]) -> np.ndarray:
    """Class id of each group's gold answer, int32 `[P]`; -2 where no rollout gave it."""
    return np.array([n.get(k, -2) for k, n in zip(gold_keys, names, strict=True)], np.int32)
