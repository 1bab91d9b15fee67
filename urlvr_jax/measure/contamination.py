"""Whether evaluation questions were seen before: by this training, as far as words tell, and by the model's own memory.

Overlap: a question that shares 13 words in a row with a training question, as reports since GPT-3 count it. Probe
(arXiv 2507.10532): the model is shown the first 60 % of a question, without template, and goes on greedily; one that
writes the rest has read it. A model that was never trained on a question completes few of them.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from urlvr_jax.data.stream import Questions
from urlvr_jax.measure import evaluate
from urlvr_jax.measure.intervals import mean_interval
from urlvr_jax.runtime.counting import Tell

WORDS = 13  # in a row; of a shorter question all
SHOWN = 0.6  # of a question's tokens
GREEDY = {"k": 1, "temperature": 0.0, "top_p": 1.0}


def words_of(text: str) -> list[str]:
    """Letters and digits that stand together, in small letters, and signs of arithmetic, each alone."""
    return re.findall(r"\w+|[-+*/=<>^%]", text.lower())


def overlaps(asked: Sequence[str], trained: Iterable[str], count: int = WORDS) -> np.ndarray:
    """Bool `[Q]`: whether a question shares `count` words in a row with one that is trained on.

    A shorter question must stand there whole; one without words shares none.
    """
    wanted: dict[tuple[str, ...], list[int]] = {}
    lengths = set()
    for i, text in enumerate(asked):
        words = words_of(text)
        lengths.add(min(count, len(words)))
        for run in _runs(words, min(count, len(words))):
            wanted.setdefault(run, []).append(i)
    out = np.zeros(len(asked), bool)
    for text in trained:
        words = words_of(text)
        for length in lengths:
            for run in _runs(words, length):
                out[wanted.get(run, [])] = True
    return out


def _runs(words: list[str], length: int) -> Iterator[tuple[str, ...]]:
    if length:
        yield from zip(*(words[i:] for i in range(length)), strict=False)


def halved(questions: Questions, tokenizer) -> tuple[Questions, list[str]]:
    """The same questions, of which a model is shown the first 60 %, and the rest of each; those of one token are left whole."""
    asked = questions.questions or questions.texts
    rows = [np.asarray(tokenizer.encode_plain(text), np.int32) for text in asked]
    cuts = [max(1, int(SHOWN * len(ids))) for ids in rows]
    heads = tuple(ids[:cut] for ids, cut in zip(rows, cuts, strict=True))
    rests = tokenizer.decode([ids[cut:] for ids, cut in zip(rows, cuts, strict=True)])
    return dataclasses.replace(questions, tokens=heads, texts=tuple(tokenizer.decode(heads))), rests


def probe(
    engine, params, tokenizer, questions: Questions, labels, step: int, tell: Tell
) -> dict[str, float]:
    """`completed`: share of questions of which the model writes the rest, every word; `answered`: whose answer it gives
    nevertheless; each with `/low` and `/high`, a 95 % interval over questions. params: in the rollout layout.
    """
    shown, rests = halved(questions, tokenizer)
    written: list[str] = []

    def see(prompts, rollouts, answers, correct) -> None:
        written.extend(answers.texts[: len(correct)])

    found = evaluate.evaluate(engine, params, tokenizer, shown, labels, step, tell, options=GREEDY, see=see)
    completed = np.array([_goes_on(text, rest) for text, rest in zip(written, rests, strict=True)])
    out = {}
    for name, values in (("completed", completed), ("answered", found.correct.astype(float))):
        low, high = mean_interval(values)
        out |= {name: float(np.mean(values)), f"{name}/low": float(low), f"{name}/high": float(high)}
    return out


def _goes_on(text: str, rest: str) -> bool:
    """Whether a text begins with all words of the rest of a question, of which there is one at least."""
    wanted = words_of(rest)
    return bool(wanted) and words_of(text)[: len(wanted)] == wanted
