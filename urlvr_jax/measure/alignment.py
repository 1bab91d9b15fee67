"""Alignment before training: do a policy's own rewards rank its right responses above its wrong ones?

Training on one's own confidence sharpens the distribution one has: it helps where confidence agrees with being
right, and harms where it does not (paper, Theorem 1). So the labels of some questions tell, before any training,
which way a reward leads. Arrays are `[Q, G]`: Q questions, G responses each. No JAX.
"""

from __future__ import annotations

import numpy as np

from urlvr_jax.measure.intervals import mean_interval, paired, rank_correlation

BINS = 5  # of the majority's share


def aucs(rewards: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """P(reward of a right response > that of a wrong one of the same question), ties 1/2: float64 `[Q]`.

    rewards float, correct bool `[Q, G]`. NaN where a question has no right or no wrong response.
    """
    out = np.full(len(rewards), np.nan)
    for q, (values, right) in enumerate(zip(rewards, correct, strict=True)):
        if right.any() and not right.all():
            better = np.sign(values[right][:, None] - values[~right][None])  # [right, wrong]
            out[q] = 0.5 + better.mean() / 2
    return out


def highest_paid(rewards: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """Is a question's highest-paid response right: float64 `[Q]`, the share of right ones where several tie."""
    best = rewards == rewards.max(axis=1, keepdims=True)
    return (best & correct).sum(axis=1) / best.sum(axis=1)


def directions(advantages: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """First-order change of each question's expected accuracy under the advantages: float64 `[Q]`.

    cov_g(A_g, c_g), divided by G. Where every response's probability can move by itself, a step eta of the natural
    gradient moves its log-probability by eta times its expected advantage less the mean, and the accuracy by
    eta E[(1/G) sum_g A_g c_g] if a group's advantages have mean 0: of that this is an unbiased estimate, for groups
    of this very size.
    """
    centred = np.asarray(advantages, np.float64)
    centred = centred - centred.mean(axis=1, keepdims=True)
    return (centred * correct).mean(axis=1)


def verdict(low: float, high: float) -> str:
    """What the interval of the direction says."""
    return "helps" if low > 0 else "harms" if high < 0 else "not decided"


def of_reward(rewards: np.ndarray, advantages: np.ndarray, correct: np.ndarray) -> dict:
    """How far one reward agrees with being right; rewards, advantages float, correct bool `[Q, G]`.

    With `/low` and `/high` the ends of a 95 % interval over questions. Absent: what cannot be computed.
    """
    rewards = np.asarray(rewards, np.float64)
    each = aucs(rewards, correct)
    both = each[~np.isnan(each)]
    out: dict = {"auc/questions": len(both)}
    if len(both):
        out |= _mean("auc", both)
    if (found := rank_correlation(rewards.reshape(-1), correct.reshape(-1))) is not None:
        out["rank_correlation"] = found
        out["correlation"] = float(np.corrcoef(rewards.reshape(-1), correct.reshape(-1))[0, 1])
    best = highest_paid(rewards, correct)
    out |= _mean("highest_paid_right", best)
    out |= _difference("highest_paid_gain", best, correct.mean(axis=1))
    out["equal_groups"] = float((rewards.max(axis=1) == rewards.min(axis=1)).mean())
    moves = directions(advantages, correct)
    # By Cauchy and Schwarz no covariance with what is 0 or 1 exceeds half the advantages' deviation.
    reach = float(np.asarray(advantages, np.float64).std(axis=1).max()) / 2
    out |= _mean("direction", moves, -reach, reach) if reach else dict.fromkeys(_names("direction"), 0.0)
    return out | {"verdict": verdict(out["direction/low"], out["direction/high"])}


def of_votes(votes: np.ndarray, majority: np.ndarray, correct: np.ndarray) -> dict:
    """What pure sharpening of the votes would make of this policy, and how well their share tells who is right.

    votes int `[Q]`, those of the majority's answer, 0 where nobody answered; majority bool `[Q]`, is that answer
    right; correct bool `[Q, G]`.
    """
    group = correct.shape[1]
    out = _mean("majority_share", votes / group) | {"unanswered": float((votes == 0).mean())}
    out |= {"predicted_limit": float(majority.mean())}
    out |= _difference("predicted_gain", majority, correct.mean(axis=1))
    bins = calibration(votes, majority, group)
    errors = [b["questions"] * abs(b["share"] - b["right"]) for b in bins]
    return out | {"calibration_error": sum(errors) / len(votes), "calibration": bins}


def calibration(votes: np.ndarray, majority: np.ndarray, group: int, bins: int = BINS) -> list[dict]:
    """Questions by the majority's share, in equal bins, those that are not empty: how many of them are right.

    votes int, majority bool `[Q]`. The share is votes / group; a bin has its lower end, the last one both.
    """
    place = np.minimum(votes * bins // group, bins - 1)  # of integers: 3 of 5 votes are 0.6 exactly
    out = []
    for b in range(bins):
        here = place == b
        if here.any():
            shares = {"share": float((votes[here] / group).mean()), "right": float(majority[here].mean())}
            out.append({"from": b / bins, "to": (b + 1) / bins, "questions": int(here.sum()), **shares})
    return out


def _names(name: str) -> tuple[str, str, str]:
    return name, f"{name}/low", f"{name}/high"


def _mean(name: str, per_question: np.ndarray, least: float = 0.0, most: float = 1.0) -> dict[str, float]:
    low, high = mean_interval(per_question, least, most)
    return dict(zip(_names(name), map(float, (per_question.mean(), low, high)), strict=True))


def _difference(name: str, a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    found = paired(a, b)
    return dict(zip(_names(name), (found.mean, found.low, found.high), strict=True))
