"""Self-verification: the policy that wrote a response judges it in a second generation.

The verdict is a reward without labels as long as checking is easier than solving. It is read strictly:
whatever is not clearly yes or no is ambiguous, counted, and never earns.
"""

from __future__ import annotations

import re

import numpy as np

from urlvr_jax import data
from urlvr_jax.prompts import PromptFormat
from urlvr_jax.types import Prompts

YES, NO, AMBIGUOUS = 1, 0, -1
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


def ask(c, engine, params, tokenizer, prompts: Prompts, texts: list[str], key) -> np.ndarray:
    """Verdicts int32 `[B]` of `params` (training layout) on `texts` `[B]`, the responses to `prompts` `[P]`.

    One generation a response, at `verify.temperature`, with random key `key`. A verification prompt that
    is longer than the widest of `verify.prompt_buckets` is not asked: AMBIGUOUS.
    """
    group = len(texts) // len(prompts.ids)
    questions = [question for question in prompts.questions for _ in range(group)]
    asked = [render(c.verify.template, q, t) for q, t in zip(questions, texts, strict=True)]
    form = PromptFormat(tokenizer, c.data.prompt_format, system=c.data.system)
    _, rows, _ = form.encode(asked)
    widest = c.verify.prompt_buckets[-1]
    fits = np.array([len(r) <= widest for r in rows])
    lengths = np.array([len(r) if ok else 1 for r, ok in zip(rows, fits, strict=True)], np.int32)
    width = data.bucket(int(lengths.max()), c.verify.prompt_buckets)
    tokens = np.zeros((len(rows), width), np.int32)
    for row, ids, n in zip(tokens, rows, lengths, strict=True):
        row[:n] = ids[:n]
    asked = Prompts(("",) * len(rows), ("",) * len(rows), tokens, lengths)
    out = engine.sample(
        engine.to_rollout(params), asked, key, group=1, slots=min(c.rollout.slots or len(rows), len(rows)),
        temperature=c.verify.temperature, max_new_tokens=c.verify.max_new_tokens,
    )  # fmt: skip
    replies = tokenizer.decode([r[:n] for r, n in zip(out.tokens, out.lengths, strict=True)])
    read = VERDICTS[c.verify.verdict]
    # A reply cut at its limit may have been about to say the contrary.
    clear = fits & out.ended
    return np.array([read(t) if ok else AMBIGUOUS for t, ok in zip(replies, clear, strict=True)], np.int32)


def metrics(verdicts: np.ndarray, correct: np.ndarray | None) -> dict[str, float]:
    """verdicts int, correct bool, both `[P, G]`; rates over the step's rollouts, where labels exist."""
    out = {
        "train/self_verify/yes": float((verdicts == YES).mean()),
        "train/self_verify/ambiguous": float((verdicts == AMBIGUOUS).mean()),
    }
    if correct is not None:
        yes = verdicts == YES
        out["train/self_verify/reward_accuracy"] = float((yes == correct).mean())
        if correct.any():
            out["train/self_verify/true_positive_rate"] = float(yes[correct].mean())
        if not correct.all():
            out["train/self_verify/false_positive_rate"] = float(yes[~correct].mean())
    return out
