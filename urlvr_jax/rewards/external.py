"""External rewards: a check outside the sampled distribution, without labels.

The policy's own verdict, as long as checking is easier than solving; the same question in other words; or a
computation that reads the task from the question.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from urlvr_jax.checks import countdown as countdown_check
from urlvr_jax.checks import integration as integration_check
from urlvr_jax.rewards.interface import RewardError, about, needs
from urlvr_jax.types import RewardInputs


@about(
    family="external",
    formula="1[pi says yes to (x, y)]",
    norm="none",
    range="{0, 1}",
    papers="self-verification (2603.08660); RLSR, self-judged (2505.08827)",
    failure="where checking is no easier than solving the policy learns what convinces itself",
    differs="the released code doubles every brace of the solution it shows, reads 'true' before 'false' "
    "where both stand, and knows Countdown only",
)
@needs("verification")
def self_verify(inputs: RewardInputs):
    """1 where the policy, asked by `verify.template`, says yes to its response; ambiguous is no."""
    return (inputs.verification == 1).astype(jnp.float32)


@about(
    family="external",
    formula="1[a_g = majority of the rephrased question's answers]",
    norm="none",
    range="{0, 1}",
    papers="Co-Reward, now Co-rewarding (2508.00410)",
    failure="a mistake that both wordings share is taken for the truth",
    differs="there an offline model writes the rephrasings; here a column of the file, a function, or the laboratory's",
)
@needs("answers", "rephrased")
def co_reward(inputs: RewardInputs):
    """1 where the answer is the majority answer to the question's other wording. See `data.rephrase`."""
    other = inputs.rephrased[:, None]
    return ((inputs.answers == other) & (inputs.answers >= 0)).astype(jnp.float32)


@about(
    family="external",
    formula="1[the answer's expression uses every number once and is the target]",
    norm="none",
    range="{0, 1}",
    papers="the oracle of Countdown (2603.08660)",
    failure="none known: the check is exact; the mode tinyzero keeps the holes of TinyZero's scorer",
)
@needs("answer_text")
def countdown(inputs: RewardInputs, *, mode="strict"):
    """Whether the answer solves the Countdown task in its question. Option: mode, strict or tinyzero."""
    if mode not in countdown_check.MODES:
        raise RewardError(f"countdown(mode={mode!r}): choose one of {list(countdown_check.MODES)}")
    if not any(inputs.questions):  # the rehearsal at start-up has no texts
        return jnp.zeros(inputs.shape)
    right = countdown_check.right(inputs.texts, inputs.answer_text, inputs.questions, inputs.prompts, mode)
    return jnp.asarray(right.astype(np.float32).reshape(inputs.shape))


@about(
    family="external",
    formula="1[|dF/dx - f| <= 1e-6 |f| + 1e-9 min(1, max |f|) at random points], F the answer, f the integrand",
    norm="none",
    range="{0, 1}",
    papers="LADDER (2503.00735)",
    failure="none known: an answer with the right derivative is right; what the grammar does not read earns nothing",
    differs="LADDER lets the model write easier variants of its questions; here rules do (the verb `variants`), and the "
    "derivative is exact, by jax.grad, where LADDER integrates numerically",
)
@needs("answer_text")
def integration(inputs: RewardInputs):
    """1 where the answer is an antiderivative of what its question asks to integrate; no verdict is 0."""
    if not any(inputs.questions):  # the rehearsal at start-up has no texts
        return jnp.zeros(inputs.shape)
    right, _ = integration_check.right(inputs.answer_text, inputs.questions)
    return jnp.asarray(right.astype(np.float32).reshape(inputs.shape))


METHODS = (self_verify, co_reward, countdown, integration)
