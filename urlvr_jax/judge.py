"""Steps 4 and 5 of the story: responses -> text -> answers -> classes -> rewards `[P, G]`."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np

from urlvr_jax import answers, rewards
from urlvr_jax.engine import random_key
from urlvr_jax.types import Declared, Reference, RewardInputs


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


def judge(c, fn, tokenizer, labels, prompts, rollouts, stats, step: int) -> Judged:
    """Extract the answers of a step and compute its reward by `fn`; RewardError if it is not finite."""
    cut = [row[:n] for row, n in zip(rollouts.tokens, rollouts.lengths, strict=True)]
    texts = tokenizer.decode(cut)
    keys = [answers.answer_key(text, c.answers.style) for text in texts]
    classes, names = answers.classes(keys, c.rollout.group)
    gold = labels.of(prompts)
    truth = None if gold is None else answers.gold_classes([answers.key(g) for g in gold], names)
    inputs = RewardInputs(
        stats=Declared({n: jnp.asarray(stats[n]) for n in getattr(fn, "needs", ())}),
        tokens=jnp.asarray(rollouts.tokens),
        lengths=jnp.asarray(rollouts.lengths),
        ended=jnp.asarray(rollouts.ended),
        answers=jnp.asarray(classes),
        texts=tuple(texts),
        prompts=prompts.texts,
        max_new_tokens=c.rollout.max_new_tokens,
        key=random_key(c.seed, "reward", step),
    )
    reference = Reference(jnp.asarray(truth)) if rewards.is_verifier(fn) else None
    reward = np.asarray(rewards.compute(fn, inputs, reference))
    if not np.isfinite(reward).all():
        where = np.argwhere(~np.isfinite(reward)).tolist()[:4]
        raise rewards.RewardError(
            f"step {step}: reward {fn.__name__!r} is not finite in {where} (prompt, rollout)"
        )
    label = np.asarray(rewards.majority_answer(classes))
    return Judged(texts, keys, classes, label, gold, truth, reward)
