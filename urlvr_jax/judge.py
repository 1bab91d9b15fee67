"""Steps 4 and 5 of the story: responses -> text -> answers -> classes -> rewards `[P, G]`."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np

from urlvr_jax import answers, rewards
from urlvr_jax.engine import random_key
from urlvr_jax.spans import answer_mask
from urlvr_jax.types import STATISTICS, Declared, Reference, RewardInputs


@dataclasses.dataclass(frozen=True)
class Judged:
    """What the host knows about a step's responses. `truth` and `gold` are for metrics only."""

    texts: list[str]  # [B]
    keys: list[str | None]  # [B], canonical answers
    classes: np.ndarray  # int32 [P, G], -1 = no answer
    label: np.ndarray  # int32 [P], the majority's class, -1 where nobody answered
    gold: list[str] | None  # [P], None where a question has no label
    truth: np.ndarray | None  # int32 [P], class of the gold answer, -2 where nobody gave it
    reward: np.ndarray  # float32 [P, G]
    terms: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)  # float32 [P, G], of a sum
    shadows: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)  # float32 [P, G]


def judge(c, fn, tokenizer, labels, prompts, rollouts, stats, step: int, shadows=()) -> Judged:
    """Extract the answers of a step and compute its reward by `fn`; RewardError if it is not finite.

    shadows are rewards that are computed beside it and not trained on; none of them receives a label.
    """
    cut = [row[:n] for row, n in zip(rollouts.tokens, rollouts.lengths, strict=True)]
    texts = tokenizer.decode(cut)
    keys = [answers.answer_key(text, c.answers.style) for text in texts]
    classes, names = answers.classes(keys, c.rollout.group)
    gold = labels.of(prompts)
    truth = None if gold is None else answers.gold_classes([answers.key(g) for g in gold], names)
    wanted = {name for one in (fn, *shadows) for name in rewards.needs_of(one)}
    derived = Declared({"answers": jnp.asarray(classes)})
    if "answer_span" in wanted:
        spans = answer_spans(texts, keys, c.answers.style)
        width = rollouts.tokens.shape[1]
        derived["answer_span"] = jnp.asarray(answer_mask(tokenizer, cut, texts, spans, width))
    inputs = RewardInputs(
        stats=Declared({n: jnp.asarray(stats[n]) for n in STATISTICS if n in wanted}),
        derived=derived,
        tokens=jnp.asarray(rollouts.tokens),
        lengths=jnp.asarray(rollouts.lengths),
        ended=jnp.asarray(rollouts.ended),
        texts=tuple(texts),
        prompts=prompts.texts,
        max_new_tokens=c.rollout.max_new_tokens,
        key=random_key(c.seed, "reward", step),
    )
    reference = Reference(jnp.asarray(truth)) if rewards.is_verifier(fn) else None
    reward, terms = rewards.compute_terms(fn, inputs, reference)
    terms = {name: _finite(x, name, step) for name, x in terms.items()}
    beside = {s.__name__: _finite(rewards.compute(s, inputs), s.__name__, step) for s in shadows}
    label = np.asarray(rewards.majority_answer(classes))
    reward = _finite(reward, fn.__name__, step)
    return Judged(texts, keys, classes, label, gold, truth, reward, terms, beside)


def answer_spans(texts, keys, style: str) -> list[tuple[int, int] | None]:
    """(start, end) in characters of each answer, None where there is none."""
    found = [None if k is None else answers.extract(t, style) for t, k in zip(texts, keys, strict=True)]
    return [None if f is None else f[1:] for f in found]


def _finite(values, name: str, step: int) -> np.ndarray:
    """The values on the host; RewardError if any is not finite."""
    values = np.asarray(values)
    if not np.isfinite(values).all():
        where = np.argwhere(~np.isfinite(values)).tolist()[:4]
        raise rewards.RewardError(
            f"step {step}: reward {name!r} is not finite in {where} (prompt, rollout)"
        )
    return values
