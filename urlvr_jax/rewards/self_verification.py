"""Self-verification: the policy that wrote a response judges it in a second generation.

The verdict is a reward without labels as long as checking is easier than solving. It is read strictly:
whatever is not clearly yes or no is ambiguous, counted, and never earns. `verify.judge` may name another judge than the
policy as it is: the base, which stays as it was at the start, or another model.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from urlvr_jax.answers.classes import answer_key, majority_class
from urlvr_jax.answers.extract import extract
from urlvr_jax.data import prompt_formats
from urlvr_jax.data.padding import bucket, padded
from urlvr_jax.data.prompt_formats import PromptFormat
from urlvr_jax.rewards import dual
from urlvr_jax.runtime.random_keys import random_key
from urlvr_jax.types import Prompts, Rollouts

YES = 1
NO = 0
AMBIGUOUS = -1
PLACEHOLDERS = ("{prompt}", "{response}")
_BOXED = re.compile(r"\\boxed\s*\{\s*(?:\\text\s*\{)?\s*(true|false)\s*\}", re.I)
_YES = re.compile(r"\b(?:yes|true|correct|right)\b", re.I)
_NO = re.compile(r"\b(?:no|not|false|incorrect|wrong)\b|n't\b", re.I)


def _word(text: str) -> int:
    yes, no = bool(_YES.search(text)), bool(_NO.search(text))
    return AMBIGUOUS if yes == no else YES if yes else NO


def _boxed(text: str) -> int:
    found = {m.lower() for m in _BOXED.findall(text)}
    return AMBIGUOUS if len(found) != 1 else YES if found == {"true"} else NO


def _lab(text: str) -> int:
    return {"Y": YES, "N": NO}.get(text.strip(), AMBIGUOUS)


def _lab_last(text: str) -> int:
    return _lab(text.rpartition(";")[2])


VERDICTS = {
    "lab": _lab,  # the whole generation is Y or N
    "lab_last": _lab_last,  # what follows its last ";" is Y or N: a judge may compute before
    "boxed": _boxed,  # \boxed{True} or \boxed{False}, and not both
    "word": _word,  # yes, true, correct, right; or no, not, false, incorrect, wrong; and not both
}


def render(template: str, question: str, response: str) -> str:
    """The verification prompt. What question and response contain is never taken for a placeholder."""
    values = dict(zip(PLACEHOLDERS, (question, response), strict=True))
    return re.sub(r"\{prompt\}|\{response\}", lambda m: values[m.group()], template)


class Question(NamedTuple):
    """What a judge is asked of one response, and how its reply is read."""

    text: str
    read: Callable[[str], int]  # a reply -> YES, NO or AMBIGUOUS


def question_of(c, question: str, response: str) -> Question | None:
    """By `verify.template`, or with `verify.dual` the dual question: YES where what is hidden is found, NO where something else
    is. None where there is no dual."""
    if not c.verify.dual:
        return Question(render(c.verify.template, question, response), VERDICTS[c.verify.verdict])
    style = c.answers.style
    if answer_key(response, style) is None:
        return None
    asked = dual.asked(c.verify.dual, question, extract(response, style).text)
    if asked is None:
        return None
    verdict = {True: YES, False: NO, None: AMBIGUOUS}
    return Question(asked[0], lambda reply: verdict[dual.finds(reply, asked[1], style)])


class Verification(NamedTuple):
    """The second generation of a step."""

    verdicts: np.ndarray  # int32 [B], see `outvoted`
    each: np.ndarray  # int32 [B, votes]
    prompts: Prompts  # [B], what the judge was asked
    rollouts: Rollouts  # [B * votes], what it replied


class Judge(NamedTuple):
    """Who is asked for verdicts."""

    engine: object
    params: dict  # in the layout of training
    tokenizer: object


def ask(judge: Judge, prompts: Prompts, step: int, texts: list[str]) -> Verification:
    """What a judge says of `texts` `[B]`, the responses to `prompts` `[P]`.

    `verify.votes` generations a response, at `verify.temperature`, their randomness a function of the step; see
    `outvoted`. A response without a question, see `question_of`, or with one that is longer than the widest of
    `verify.prompt_buckets`, is not asked about: AMBIGUOUS.
    """
    engine, _, tokenizer = judge
    c = engine.c
    key = random_key(c.seed, "verify", step)
    group = len(texts) // len(prompts.ids)
    questions = [question for question in prompts.questions for _ in range(group)]
    of = functools.cache(functools.partial(question_of, c))
    about = [of(q, t) for q, t in zip(questions, texts, strict=True)]
    # A dual question is one like any other of the run; a request for a verdict is told by its template alone.
    plain = PromptFormat(tokenizer, c.data.prompt_format, system=c.data.system)
    form = prompt_formats.of(c, tokenizer) if c.verify.dual else plain
    _, rows, _ = form.encode([q.text if q else prompts.questions[0] for q in about])
    fits = np.array(
        [bool(q) and len(r) <= c.verify.prompt_buckets[-1] for q, r in zip(about, rows, strict=True)]
    )
    rows = [r if ok else r[:1] for r, ok in zip(rows, fits, strict=True)]
    tokens, lengths = padded(rows, bucket(max(map(len, rows)), c.verify.prompt_buckets))
    asked = Prompts(("",) * len(rows), ("",) * len(rows), tokens, lengths)
    shape = engine.verification_shape(tokens.shape[1], len(rows))
    out = engine.sample(engine.to_rollout(judge.params), asked, key, shape)
    replies = tokenizer.decode(out.rows())
    # A reply cut at its limit may have been about to say the contrary.
    clear = np.repeat(fits, c.verify.votes) & out.ended
    readers = [q for q in about for _ in range(c.verify.votes)]
    each = [q.read(t) if ok else AMBIGUOUS for q, t, ok in zip(readers, replies, clear, strict=True)]
    each = np.array(each, np.int32).reshape(-1, c.verify.votes)
    return Verification(outvoted(each), each, asked, out)


def outvoted(each: np.ndarray) -> np.ndarray:
    """int32 `[B, votes]` -> `[B]`: YES or NO where more than half of a response's votes say so, else AMBIGUOUS."""
    more = lambda verdict: 2 * (each == verdict).sum(axis=1) > each.shape[1]
    return np.where(more(YES), YES, np.where(more(NO), NO, AMBIGUOUS)).astype(np.int32)


# ---- the judge is trained too: CoVerRL (2603.17775) -----------------------------------------------------


def kept_majority(answers, verdicts, xp=np):
    """Class of each group's majority answer int32 `[P]`, -1 where the judge does not keep it.

    It is kept where more than half of its supporters are called right. answers, verdicts int32 `[P, G]`.
    """
    label = majority_class(answers, xp)
    supports = (answers == label[:, None]) & (answers >= 0)
    yes = (supports & (verdicts == YES)).sum(axis=1)
    return xp.where(2 * yes > supports.sum(axis=1), label, -1).astype(np.int32)


def lessons(answers: np.ndarray, verification: Verification) -> tuple[np.ndarray, np.ndarray]:
    """What the judge is paid for each verdict, float32 `[B, votes]`, and which of them are trained, bool `[B, votes]`.

    1 where it says yes to a response with the majority answer, or no to any other. Only groups whose majority it keeps
    are trained: see `kept_majority`. answers int32 `[P, G]`.
    """
    label = kept_majority(answers, verification.verdicts.reshape(answers.shape))
    with_label = (answers == label[:, None]).reshape(-1, 1) & (label >= 0).repeat(answers.shape[1])[:, None]
    paid = verification.each == np.where(with_label, YES, NO)
    trained = np.broadcast_to((label >= 0).repeat(answers.shape[1])[:, None], paid.shape)
    return paid.astype(np.float32), trained
