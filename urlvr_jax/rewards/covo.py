"""CoVo: whether the steps of a response lead to the answer that it gives, or to another of its group's.

By the policy itself: after each state it finds one of the group's answers likeliest. A path is consistent as far as that is
the answer it ends with, and volatile as long as it is not.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from urlvr_jax.rewards.interface import RewardError, about, needs
from urlvr_jax.types import RewardInputs, length_mask

ROUNDING = 1e-6
LEAST = {"vector": 0.5, "linear": 0.05}  # from which score on the released code pays 1
PAID = ("score", "threshold")


@jax.jit
def paths(distance, answers):
    """Consistency and volatility of each rollout float32 `[P, G]`, and whether it has them, bool `[P, G]`; 0 where not.

    distance `[B, S, G]`: of the answer of class k after state s, inf where there is none; answers int `[P, G]`, -1 none.
    Consistency: the share of a rollout's states whose nearest answer is its own, which none ties with. Volatility: where
    the last state stands that has a nearer one, from 1, over the number of states; 0 where there is none.
    """
    own = jnp.maximum(answers, 0).reshape(-1, 1, 1)
    column = jnp.arange(distance.shape[2])[None, None]
    to_own = jnp.take_along_axis(distance, own, axis=2)[..., 0]  # [B, S]
    to_other = jnp.min(jnp.where(column == own, jnp.inf, distance), axis=2)
    is_state = jnp.isfinite(to_own) & (answers.reshape(-1, 1) >= 0)
    # Where states were left out, a state's place is among those that are there.
    place = jnp.cumsum(is_state, axis=1)
    count = jnp.maximum(place[:, -1], 1).astype(jnp.float32)
    nearest = jnp.sum(is_state & (to_own < to_other), axis=1)
    last_away = jnp.max(jnp.where(is_state & (to_own > to_other), place, 0), axis=1)
    share = lambda x: (x.astype(jnp.float32) / count).reshape(answers.shape)
    return share(nearest), share(last_away), (place[:, -1] > 0).reshape(answers.shape)


@about(
    family="ensemble",
    formula="|1/N sum_i Con_i (cos Vol_i, sin Vol_i)| over the N rollouts of a_g; mode='linear': 1/N sum_i (Con_i - Vol_i). "
    "Con: share of the states s of a rollout whose nearest answer, least -1/|a| log pi(a | x, s) of the group's, is "
    "a_g. Vol: place of the last state with a nearer one, over their number",
    norm="by states, and by tokens of the answer",
    range="[0, 1], mode='linear': [-1, 1]; {0, 1} with paid='threshold'",
    papers="CoVo (2506.08745)",
    failure="an answer that is settled before the last step is worth most: responses that guess at once and calculate nothing. "
    "In the laboratory accuracy falls from 0.63 to 0.03, and what is left is a guess of 3 tokens",
    differs="there a state is also the whole response, in which its answer stands, and the prompt alone is none; the distance "
    "is a perplexity over the words before the answer, the answer and one token more; and paid is 1 where the score is "
    "0.5 or more (0.05, mode='linear'), here with paid='threshold'. There as here a group of one answer earns 0. Its bonus is `curiosity`",
)
@needs("answers", "answer_distance")
def covo(inputs: RewardInputs, *, mode="vector", paid="score"):
    """How well the states of the rollouts with one answer agree with it, the same for all of them. See `states`.

    0 without an answer, where the group has no other, and where none of a rollout's states could be scored.
    """
    if mode not in LEAST or paid not in PAID:
        raise RewardError(
            f"covo(mode={mode!r}, paid={paid!r}): choose mode of {list(LEAST)}, paid of {list(PAID)}"
        )
    answers = inputs.answers
    con, vol, has = paths(inputs.answer_distance, answers)
    same = (answers[:, :, None] == answers[:, None, :]) & has[:, None, :]  # [P, G, of whom]
    count = jnp.maximum(jnp.sum(same, axis=2), 1).astype(jnp.float32)
    mean = lambda x: jnp.sum(jnp.where(same, x[:, None, :], 0.0), axis=2) / count
    if mode == "vector":
        score = jnp.hypot(mean(con * jnp.cos(vol)), mean(con * jnp.sin(vol)))
    else:
        score = mean(con - vol)
    reward = score if paid == "score" else (score >= LEAST[mode] - ROUNDING).astype(jnp.float32)
    return jnp.where(has, reward, 0.0)


def _step_sums(values, step_of):
    """Sums of `[B, T]` over the tokens of each step -> `[B, T]`, column s for step s; tokens of step -1 are in none."""
    rows, width = step_of.shape
    place = jnp.where(step_of >= 0, jnp.arange(rows)[:, None] * width + step_of, rows * width)
    return jax.ops.segment_sum(values.ravel(), place.ravel(), rows * width).reshape(rows, width)


@about(
    family="certainty",
    formula="mean over steps of -mean_t log p_t(y_t) - ln(KL^(1/3) + 1), KL from uniform of the step's log p_t(y_t) over their sum; 0 "
    "without an answer",
    norm="mean over the tokens of a step, then over steps",
    range="(-inf, inf), 0 where every token is certain",
    papers="CoVo's bonus for curiosity (2506.08745): 'covo + 0.1*curiosity'",
    failure="alone: the less likely a response the better, so junk",
    differs="there perplexity in place of its logarithm, over one token more, and paid is 0.4 where that is above 2",
)
@needs("logp", "answers", "step_of")
def curiosity(inputs: RewardInputs):
    """How unlikely the policy finds its own steps, less where few tokens of a step make it so. Steps end as `states.cut` says;
    of more than `states.most` several count as one."""
    step_of = jnp.where(length_mask(inputs.lengths, inputs.step_of.shape[1]), inputs.step_of, -1)
    inside = step_of >= 0
    surprise = jnp.where(inside, jnp.maximum(-inputs.stats["logp"], 0.0), 0.0)
    count, total = _step_sums(jnp.ones_like(surprise), step_of), _step_sums(surprise, step_of)
    of_token = lambda x: jnp.where(inside, jnp.take_along_axis(x, jnp.maximum(step_of, 0), axis=1), 0.0)
    size, sum_of_step = of_token(count), of_token(total)
    # KL of p from 1/n as a sum of terms that are never negative: the cube root makes much of rounding near 0.
    off = jnp.where(
        sum_of_step > 0, surprise * size / jnp.where(sum_of_step > 0, sum_of_step, 1.0) - 1, 0.0
    )
    terms = (jax.scipy.special.xlog1py(1 + off, off) - off) / jnp.maximum(size, 1.0)
    divergence = jnp.maximum(_step_sums(terms, step_of), 0.0)
    bonus = total / jnp.maximum(count, 1.0) - jnp.log1p(jnp.cbrt(divergence))
    is_step = count > 0
    of_steps = jnp.sum(jnp.where(is_step, bonus, 0.0), axis=1)
    mean = of_steps / jnp.maximum(jnp.sum(is_step, axis=1), 1).astype(jnp.float32)
    return jnp.where(inputs.answers >= 0, inputs.per_group(mean), 0.0)


METHODS = (curiosity, covo)
