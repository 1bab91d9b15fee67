"""Steps 4 and 5 of the story: responses -> text -> answers -> classes -> rewards `[P, G]`."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np

from urlvr_jax import answers, countdown, rewards
from urlvr_jax.engine import random_key
from urlvr_jax.spans import answer_mask
from urlvr_jax.types import STATISTICS, Declared, Reference, RewardInputs


@dataclasses.dataclass(frozen=True)
class Judged:
    """What the host knows about a step's responses. `correct` and `gold` are for metrics only."""

    texts: list[str]  # [B]
    keys: list[str | None]  # [B], canonical answers
    classes: np.ndarray  # int32 [P, G], -1 = no answer
    label: np.ndarray  # int32 [P], the majority's class, -1 where nobody answered
    gold: list[str] | None  # [P], None where a question has no label
    correct: np.ndarray | None  # bool [P, G], None where that cannot be known
    reward: np.ndarray  # float32 [P, G]
    terms: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)  # float32 [P, G], of a sum
    shadows: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)  # float32 [P, G]
    verdicts: np.ndarray | None = None  # int32 [P, G], of self-verification


def read_answers(c, texts: list[str], group: int):
    """Answers of B responses: keys `[B]`, classes int32 `[P, G]`, each group's {key: class}.

    An answer to be checked as it stands, an expression, is its own key.
    """
    key_of = answers.answer_key if c.answers.check == "gold" else answers.plain_key
    keys = [key_of(text, c.answers.style) for text in texts]
    return keys, *answers.classes(keys, group)


def right(c, prompts, texts, classes, names, gold) -> np.ndarray | None:
    """Which responses are right, bool `[P, G]`, by `answers.check`; None where a label is missing.

    prompts `[P]` as rendered; gold `[P]` or None, which only the check "gold" reads: the others read the
    task from the prompt.
    """
    if c.answers.check == "gold":
        if gold is None:
            return None
        return classes == answers.gold_classes([answers.key(g) for g in gold], names)[:, None]
    group, out = classes.shape[1], []
    for b, text in enumerate(texts):
        task = countdown.parse(prompts[b // group])
        if task is None:
            raise rewards.RewardError(
                f"answers.check = {c.answers.check!r}: no numbers and target in {prompts[b // group][:80]!r}"
            )
        if c.answers.check == "countdown":
            found = answers.extract(text, c.answers.style)
            out.append(countdown.solves(found and found.text, task))
        else:
            out.append(countdown.tinyzero_score(prompts[b // group] + text, task) == 1)
    return np.array(out).reshape(classes.shape)


def judge(c, fn, tokenizer, labels, prompts, rollouts, stats, step: int, shadows, verify) -> Judged:
    """Extract the answers of a step and compute its reward by `fn`; RewardError if it is not finite.

    shadows are rewards that are computed beside it and not trained on; none of them receives a label.
    verify(texts) -> int32 `[B]` asks the policy for its verdicts; called only if a reward needs them.
    """
    cut = [row[:n] for row, n in zip(rollouts.tokens, rollouts.lengths, strict=True)]
    texts = tokenizer.decode(cut)
    keys, classes, names = read_answers(c, texts, c.rollout.group)
    gold = labels.of(prompts)
    correct = right(c, prompts.texts, texts, classes, names, gold)
    label = np.asarray(rewards.majority_answer(classes))
    wanted = {name for one in (fn, *shadows) for name in rewards.needs_of(one)}
    derived = Declared({"answers": jnp.asarray(classes)})
    verdicts = None
    if wanted & {"answer_span", "answer_text"}:
        found = located(texts, keys, c.answers.style)
        derived["answer_text"] = tuple(f and f.text for f in found)
        if "answer_span" in wanted:
            spans, width = [f and f[1:] for f in found], rollouts.tokens.shape[1]
            derived["answer_span"] = jnp.asarray(answer_mask(tokenizer, cut, texts, spans, width))
    if "verification" in wanted:
        verdicts = verify(texts).reshape(classes.shape)
        derived["verification"] = jnp.asarray(verdicts)
    if "rephrased" in wanted:
        derived["rephrased"] = jnp.asarray(partner_labels(label, names))
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
    reference = Reference(jnp.asarray(correct)) if rewards.is_verifier(fn) else None
    reward, terms = rewards.compute_terms(fn, inputs, reference)
    terms = {name: _finite(x, name, step) for name, x in terms.items()}
    beside = {s.__name__: _finite(rewards.compute(s, inputs), s.__name__, step) for s in shadows}
    reward = _finite(reward, fn.__name__, step)
    return Judged(texts, keys, classes, label, gold, correct, reward, terms, beside, verdicts)


def located(texts, keys, style: str) -> list[answers.Extracted | None]:
    """Each answer with its span of characters, None where there is none."""
    return [None if k is None else answers.extract(t, style) for t, k in zip(texts, keys, strict=True)]


def partner_labels(label: np.ndarray, names: list[dict[str, int]]) -> np.ndarray:
    """Class, in each group, of its partner's majority answer: int32 `[P]`; -1 the partner has none, -2 nobody
    here gave it. Groups 2i and 2i + 1 are partners: a question and its rephrasing."""
    out = []
    for p, here in enumerate(names):
        chosen = label[p ^ 1]
        answer = {i: k for k, i in names[p ^ 1].items()}.get(int(chosen))
        out.append(-1 if answer is None else here.get(answer, -2))
    return np.array(out, np.int32)


def _finite(values, name: str, step: int) -> np.ndarray:
    """The values on the host; RewardError if any is not finite."""
    values = np.asarray(values)
    if not np.isfinite(values).all():
        where = np.argwhere(~np.isfinite(values)).tolist()[:4]
        raise rewards.RewardError(
            f"step {step}: reward {name!r} is not finite in {where} (prompt, rollout)"
        )
    return values
