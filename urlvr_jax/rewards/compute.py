"""Step 5 of the story: what rewards see of a step, and the rewards of all its rollouts `[P, G]`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from urlvr_jax.checks.grading import Asked, CheckError, Graded
from urlvr_jax.rewards import states
from urlvr_jax.rewards.derived import SECOND_GENERATION, Facts, derive
from urlvr_jax.rewards.expression import Configured, compute_terms, needs_labels
from urlvr_jax.rewards.interface import NEEDS, RewardError
from urlvr_jax.runtime import elsewhere, own_rows
from urlvr_jax.runtime.random_keys import random_key
from urlvr_jax.types import STATISTICS, Declared, Prompts, Reference, RewardInputs

MEASURED = (*SECOND_GENERATION, "continuation_logp", "continuation_p", "answer_distance")  # by metrics
LARGEST = 1e15  # of a reward: float32 holds sums of squares of so many


@dataclasses.dataclass(frozen=True)
class Rewards:
    """A step's rewards, on the host."""

    values: np.ndarray  # float32 [P, G], what is trained on
    terms: dict[str, np.ndarray]  # {label: float32 [P, G]} of a sum, before normaliser and weight
    shadows: dict[str, np.ndarray]  # {name: float32 [P, G]} of rewards that are only watched
    verdicts: np.ndarray | None  # int32 [P, G] of self-verification, None where nobody asked
    labelled: bool  # whether `values` and `terms` come from labels: of a control
    continuation_logp: np.ndarray | None = None  # float32 [P, G], of what follows after each thought
    continuation_p: np.ndarray | None = None  # the same, mean probability of a token
    answer_distance: np.ndarray | None = None  # float32 [B, S, G], of answers after the states


def reward_inputs(c, needs, facts: Facts, prompts: Prompts, stats, step: int) -> RewardInputs:
    """What every reward sees of a step, and of the rest what is among `needs`.

    stats: {name of STATISTICS: float32 `[B, T]`}.
    """
    rollouts = facts.rollouts
    facts = facts._replace(
        outside=functools.partial(own_rows.outside, c, facts.answers, prompts),
        collective=functools.partial(elsewhere.collective, c, prompts, facts.answers),
        steps=functools.partial(states.steps, c, facts.tokenizer, rollouts, facts.answers.texts),
    )
    return RewardInputs(
        stats=Declared({n: jnp.asarray(stats[n]) for n in STATISTICS if n in needs}, NEEDS),
        derived=Declared(derive(needs, facts), NEEDS),
        tokens=jnp.asarray(rollouts.tokens),
        lengths=jnp.asarray(rollouts.lengths),
        ended=jnp.asarray(rollouts.ended),
        texts=tuple(facts.answers.texts),
        prompts=prompts.texts,
        questions=prompts.questions or prompts.texts,
        max_new_tokens=c.rollout.max_new_tokens,
        key=random_key(c.seed, "reward", step),
    )


def reference_of(grade: Callable[[], Graded], asked: Asked) -> Reference:
    """What a control receives: waits for the check. CheckError where that judged nothing."""
    graded = grade()
    if graded.correct is None:
        raise CheckError(graded.why)
    return Reference(
        jnp.asarray(graded.correct),
        jnp.asarray(graded.scores),
        tuple(asked.gold or ()),
        tuple(asked.rows or ()),
    )


def step_rewards(
    reward: Configured, inputs: RewardInputs, labels: Callable[[], Reference], step: int
) -> Rewards:
    """The reward of every rollout, and that of the shadows beside it; RewardError if one is not finite.

    labels is called only for a control that asks for labels; no shadow ever sees what it returns.
    """
    reference = labels() if needs_labels(reward.fn) else None
    try:
        values, terms = compute_terms(reward.fn, inputs, reference)
        beside = {s.__name__: compute_terms(s, inputs, None)[0] for s in reward.shadows}
    except RewardError as error:
        raise RewardError(f"step {step}: {error}") from error.__cause__
    seen = {name: np.asarray(x) for name, x in inputs.derived.items() if name in MEASURED}
    return Rewards(
        _finite(values, reward.fn.__name__, step),
        {name: _finite(x, name, step) for name, x in terms.items()},
        {name: _finite(x, name, step) for name, x in beside.items()},
        next((seen[name] for name in SECOND_GENERATION if name in seen), None),
        reference is not None,
        seen.get("continuation_logp"),
        seen.get("continuation_p"),
        seen.get("answer_distance"),
    )


def _finite(values, name: str, step: int) -> np.ndarray:
    """The values on the host; RewardError if any is not finite, or too large for a finite variance."""
    values = np.asarray(values)
    if np.isfinite(values).all() and np.abs(values).max() > LARGEST:
        raise RewardError(
            f"step {step}: reward {name!r} is up to {np.abs(values).max():.3g}: beyond {LARGEST:g} means and "
            "variances are not finite"
        )
    if not np.isfinite(values).all():
        where = np.argwhere(~np.isfinite(values)).tolist()[:4]
        raise RewardError(f"step {step}: reward {name!r} is not finite in {where} (prompt, rollout)")
    return values
