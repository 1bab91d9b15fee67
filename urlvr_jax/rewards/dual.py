"""DuPO (2508.14460): a part of the question is hidden and looked for again, given the answer.

A right answer and the rest of the question determine what is hidden; a wrong one leads elsewhere. The second generation
of self-verification (`verify.*`) asks; what it finds is compared with what was hidden, so nobody has to say yes or no.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable

from urlvr_jax.answers.canonical import key
from urlvr_jax.answers.classes import answer_key
from urlvr_jax.lab import world
from urlvr_jax.runtime import user_code

Dual = Callable[[str, str], tuple[str, str] | None]  # (question, answer) -> (dual question, what is hidden)
_NUMBER = re.compile(r"(?<![\w.,])\d{1,12}(?:\.\d{1,12})?(?![\w]|[.,]\d)")
_ANSWER = re.compile(r"[-+]?\d[\d,]{0,20}(?:\.\d{1,12})?(?:/\d{1,12})?", re.A)
ASKS = "{question}\n\nIn this question a number was replaced by X. Its answer is {answer}. What is X?"


def number(question: str, answer: str) -> tuple[str, str] | None:
    """One number of the question, a function of its text, becomes X. None for a question without a number, and for an answer
    that is more than a number: it might tell what is hidden."""
    found = list(_NUMBER.finditer(question))
    if not found or not _ANSWER.fullmatch(answer.strip()):
        return None
    hidden = found[hashlib.sha256(question.encode("utf-8", "surrogatepass")).digest()[2] % len(found)]
    shown = f"{question[: hidden.start()]}X{question[hidden.end() :]}"
    values = {"{question}": shown, "{answer}": answer}
    return re.sub(r"\{question\}|\{answer\}", lambda m: values[m.group()], ASKS), hidden[0]


DUALS: dict[str, Dual] = {"lab": world.hide, "number": number}


@functools.cache
def of(name: str) -> Dual:
    """By a name of DUALS, or of a user's file: "my.py:function". UserCodeError, or what that file raises, in one line."""
    return DUALS[name] if name in DUALS else user_code.load_function(name)


def asked(name: str, question: str, answer: str) -> tuple[str, str] | None:
    """The dual question and what is hidden; None without a dual.

    UserCodeError where a user's function gives something else than two texts, not empty, or None.
    """
    with user_code.errors_of(name.rpartition(":")[0] or name):
        made = of(name)(question, answer)
    if made is None:
        return None
    if not (isinstance(made, tuple) and len(made) == 2 and all(map(_is_text, made))):
        raise user_code.UserCodeError(
            f"verify.dual = {name!r} returned {ascii(made):.80}: give (dual question, what is hidden), two texts, or None for no question"
        )
    return made


def _is_text(value) -> bool:
    """Whether a tokenizer can take it."""
    return (
        isinstance(value, str) and bool(value.strip()) and not any("\ud800" <= x <= "\udfff" for x in value)
    )


def finds(reply: str, hidden: str, style: str) -> bool | None:
    """Whether a reply's answer is what was hidden; None where it has no answer."""
    found = answer_key(reply, style)
    return None if found is None else found == key(hidden)
