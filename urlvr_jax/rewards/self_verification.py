"""Self-verification: the policy that wrote a response judges it in a second generation.

The verdict is a reward without labels as long as checking is easier than solving. It is read strictly:
whatever is not clearly yes or no is ambiguous, counted, and never earns.
"""

from __future__ import annotations

import re

import numpy as np

from urlvr_jax.data.padding import bucket, padded
from urlvr_jax.data.prompt_formats import PromptFormat
from urlvr_jax.runtime.random_keys import random_key
from urlvr_jax.types import Prompts

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


VERDICTS = {
    "lab": _lab,  # the whole generation is Y or N
    "boxed": _boxed,  # \boxed{True} or \boxed{False}, and not both
    "word": _word,  # yes, true, correct, right; or no, not, false, incorrect, wrong; and not both
}


def render(template: str, question: str, response: str) -> str:
    """The verification prompt. What question and response contain is never taken for a placeholder."""
    values = dict(zip(PLACEHOLDERS, (question, response), strict=True))
    return re.sub(r"\{prompt\}|\{response\}", lambda m: values[m.group()], template)


def ask(engine, params, tokenizer, prompts: Prompts, step: int, texts: list[str]) -> np.ndarray:
    """Verdicts int32 `[B]` of `params` (training layout) on `texts` `[B]`, the responses to `prompts` `[P]`.

    One generation a response, at `verify.temperature`, its randomness a function of the step. A verification prompt that
    is longer than the widest of `verify.prompt_buckets` is not asked: AMBIGUOUS.
    """
    c = engine.c
    key = random_key(engine.c.seed, "verify", step)
    group = len(texts) // len(prompts.ids)
    questions = [question for question in prompts.questions for _ in range(group)]
    asked = [render(c.verify.template, q, t) for q, t in zip(questions, texts, strict=True)]
    form = PromptFormat(tokenizer, c.data.prompt_format, system=c.data.system)
    _, rows, _ = form.encode(asked)
    fits = np.array([len(r) <= c.verify.prompt_buckets[-1] for r in rows])
    rows = [r if ok else r[:1] for r, ok in zip(rows, fits, strict=True)]
    tokens, lengths = padded(rows, bucket(max(map(len, rows)), c.verify.prompt_buckets))
    asked = Prompts(("",) * len(rows), ("",) * len(rows), tokens, lengths)
    shape = engine.verification_shape(tokens.shape[1], len(rows))
    out = engine.sample(engine.to_rollout(params), asked, key, shape)
    replies = tokenizer.decode(out.rows())
    read = VERDICTS[c.verify.verdict]
    # A reply cut at its limit may have been about to say the contrary.
    clear = fits & out.ended
    return np.array([read(t) if ok else AMBIGUOUS for t, ok in zip(replies, clear, strict=True)], np.int32)
