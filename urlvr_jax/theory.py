"""What sharpening does to a policy small enough to write down, and how closely a run follows it (paper, section 2).

A policy is a float64 vector of probabilities over A responses, `[A]`, or of several questions `[..., A]`. The objective is
E[r] - beta KL(pi || reference); its optimum is reference * exp(r / beta), normalised. Rewards taken from a policy are
those of the policy before the update, the reference, and stay as they are while the optimum is sought.

    optima       of any reward, and in closed form by the name of the reward: OPTIMA
    paths        step after step, against the previous policy or against the first: iterate
    majority     log-odds grow by 1 / beta a step (Theorem 1): sharpened, rate, limit
    measured     1 / beta from shares of votes: fit_rate, fit_common_rate, agreement
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from urlvr_jax.answers.classes import NO_ANSWER

TIE = 1 - 1e-12  # masses in this ratio are equal: sums in float64 differ by the order of their terms
DRAWS = 1000  # of the bootstrap
STRIDES = 2000  # of a fit, before it is given up
SETTLED = 1e-10  # squared standard errors
ROUNDING = 1e-12  # of a log-likelihood, relative


# ---- the optimum of any reward


def log_partition(reference, reward, beta: float) -> np.ndarray:
    """log Z = log sum_y reference(y) exp(r(y) / beta): `[..., A]` twice -> `[...]`."""
    return np.logaddexp.reduce(_tilt(reference, reward, beta), axis=-1)


def optimum(reference, reward, beta: float) -> np.ndarray:
    """The policy with the largest objective: reference * exp(r / beta) / Z. `[..., A]` twice -> `[..., A]`.

    ValueError for a reward that is not finite where the reference has mass.
    """
    return _normalised(_tilt(reference, reward, beta))


def objective(policy, reference, reward, beta: float) -> np.ndarray:
    """E[r] - beta KL(policy || reference), `[...]`; -inf for mass where the reference has none."""
    policy, reference = _policy(policy), _policy(reference)
    gain = np.where(policy > 0, np.asarray(reward, np.float64), 0.0)
    kl = _x_log_ratio(policy, reference).sum(axis=-1)
    return (policy * gain).sum(axis=-1) - _positive(beta) * kl


def iterate(start, reward_of: Callable, beta: float, steps: int, *, fixed: bool = False) -> np.ndarray:
    """The path of exact updates from `start` `[..., A]`: `[steps + 1, ..., A]`, the start first.

    reward_of: the current policy -> its reward, both `[..., A]`. The reference of each step is the policy before it,
    as in Theorem 1; fixed: it is `start` throughout.
    """
    path = [_policy(start)]
    for _ in range(steps):
        path.append(optimum(path[0] if fixed else path[-1], reward_of(path[-1]), beta))
    return np.stack(path)


# ---- majority voting (Theorem 1)


def predicted(p0, inverse_beta, steps) -> np.ndarray:
    """Share of the majority's answer after `steps`: logit p = logit p0 + steps / beta. The three broadcast."""
    p0 = np.asarray(p0, np.float64)
    return _expit(_log(p0) - _log(1 - p0) + np.asarray(inverse_beta) * np.asarray(steps))


def sharpened(p, beta: float, steps=1) -> np.ndarray:
    """p e^(steps/beta) / (p e^(steps/beta) + 1 - p): exact updates of a share p, each against the policy before it."""
    return predicted(p, 1 / _positive(beta), steps)


def rate(beta: float) -> float:
    """rho = e^(-1/beta): the odds against the majority shrink by it each step, and in the end 1 - p does."""
    return float(np.exp(-1 / _positive(beta)))


def majority_answer(policy, answers) -> np.ndarray:
    """Class with the most mass, int `[...]`; of equal masses the lowest class, as in a vote; -1 where nobody answers.

    answers int `[A]` or `[..., A]`: class of each response, -1 none.
    """
    policy, answers = _policy(policy), np.asarray(answers)
    classes = np.arange(max(answers.max() + 1, 1))
    mass = (policy[..., None] * (answers[..., None] == classes)).sum(axis=-2)  # [..., classes]
    most = mass.max(axis=-1, keepdims=True)
    return np.where(most[..., 0] > 0, (mass >= most * TIE).argmax(axis=-1), NO_ANSWER)


def limit(reference, answers) -> np.ndarray:
    """Where majority voting ends: the reference on its majority's answer, renormalised, right or wrong. `[..., A]`.

    Where nobody answers nothing moves, and the limit is the reference.
    """
    reference = _policy(reference)
    kept = reference * majority_voting(reference, answers)
    mass = kept.sum(axis=-1, keepdims=True)
    return np.where(mass > 0, kept / np.where(mass > 0, mass, 1.0), reference)


# ---- rewards of a policy, by the names of `urlvr_jax.rewards`
#
# length: tokens a response. The A = V^length responses stand in the order of their tokens, the first token slowest.


def self_certainty(policy, length: int = 1) -> np.ndarray:
    """mean_t H(U, p_t) = mean_t KL(U || p_t) + log V of each response, `[..., A]`; infinite where a token has no mass."""
    return _mean_over_prefixes(policy, length, lambda p: -_log(p).mean(axis=-1))


def token_level_entropy(policy, length: int = 1) -> np.ndarray:
    """-mean_t H(p_t) of each response, `[..., A]`."""
    return _mean_over_prefixes(policy, length, lambda p: (p * np.where(p > 0, _log(p), 0.0)).sum(axis=-1))


def trajectory_level_entropy(policy, length: int = 1) -> np.ndarray:
    """log pi(y) / |y|, `[..., A]`; -inf where a response has no mass."""
    return _log(_policy(policy)) / length


def probability(policy) -> np.ndarray:
    """pi(y), `[..., A]`."""
    return _policy(policy)


def majority_voting(policy, answers) -> np.ndarray:
    """1 where a response gives the majority's answer, `[..., A]`; answers as in `majority_answer`."""
    majority = majority_answer(policy, answers)[..., None]
    return ((np.asarray(answers) == majority) & (majority != NO_ANSWER)).astype(np.float64)


# ---- the next policy in closed form


def power(policy, beta: float, length: int = 1, steps: int = 1) -> np.ndarray:
    """pi^((1 + 1/(beta |y|))^steps), normalised: `steps` updates on trajectory-level entropy. Its limit is `mode`."""
    return _normalised(_log(_policy(policy)) * (1 + 1 / (_positive(beta) * length)) ** steps)


def mode(policy) -> np.ndarray:
    """The likeliest response, or all of them in equal shares where several are equally likely, `[..., A]`."""
    policy = _policy(policy)
    likeliest = policy >= policy.max(axis=-1, keepdims=True) * TIE
    return likeliest / likeliest.sum(axis=-1, keepdims=True)


def raised(policy, chosen, beta: float) -> np.ndarray:
    """The optimum of a reward of 0 and 1: the chosen gain log-odds 1 / beta, proportions within both parts stay.

    chosen bool or 0 and 1, `[A]` or `[..., A]`.
    """
    policy, chosen = _policy(policy), np.broadcast_to(np.asarray(chosen, bool), np.shape(policy))
    p = np.where(chosen, policy, 0.0).sum(axis=-1, keepdims=True)
    q = np.where(chosen, 0.0, policy).sum(axis=-1, keepdims=True)
    odds_kept = rate(beta)
    return np.where(chosen, policy, policy * odds_kept) / (p + q * odds_kept)


# (policy `[..., A]`, beta, what the reward reads) -> the optimum `[..., A]`. Of one-token responses `self_certainty` and
# `token_level_entropy` pay each the same, so that nothing moves.
OPTIMA = {
    "self_certainty": lambda policy, beta, length=1: optimum(policy, self_certainty(policy, length), beta),
    "token_level_entropy": lambda policy, beta, length=1: optimum(
        policy, token_level_entropy(policy, length), beta
    ),
    "trajectory_level_entropy": power,
    "probability": lambda policy, beta: optimum(policy, policy, beta),
    "majority_voting": lambda policy, beta, answers: raised(policy, majority_voting(policy, answers), beta),
    "ground_truth": lambda policy, beta, right: raised(policy, right, beta),
}


# ---- a measured run


@dataclasses.dataclass(frozen=True)
class Fit:
    """logit p = logit p0 + step / beta, fitted to one question."""

    p0: float  # share at step 0
    inverse_beta: float  # log-odds a step
    error: float  # standard error of inverse_beta, from the counts alone


@dataclasses.dataclass(frozen=True)
class CommonFit:
    """One 1 / beta for all questions, with a 95 % interval, and a p0 for each."""

    questions: np.ndarray  # [Q], ascending
    p0: np.ndarray  # float64 [Q]
    inverse_beta: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How closely shares follow a path."""

    explained: float | None  # of the squares around each question's mean; None where no share ever moves
    rmse: float  # in share
    deviance: float  # about `freedom` where the law holds and only the votes are chance
    freedom: int  # visits less the parameters: a p0 for each question and one rate


def fit_rate(shares, steps, votes) -> Fit:
    """Effective 1 / beta of one question from the shares of its initial majority's answer.

    shares `[N]` at steps int `[N]`, each of `votes` rollouts, a number or `[N]`. Binomial likelihood with Jeffreys'
    prior (Firth 1993), which is finite where shares are 0 or 1 and maximum likelihood where votes are many. Where all
    are 0, or all 1, the rate is about 0 with a large error: such shares say little. The visit that chose the answer
    flatters its share and so lowers the rate: vote with other rollouts, or leave that visit out.
    ValueError for fewer than two different steps, and for shares that are not counts of the votes.
    """
    found = _fit(_counts(shares, steps, votes, np.zeros(np.shape(shares), int)))
    return Fit(float(_expit(found.log_odds[0])), found.slope, float(found.information.sum() ** -0.5))


def fit_common_rate(shares, steps, questions, votes, *, seed: int = 0) -> CommonFit:
    """Effective 1 / beta of many questions at once: shares, steps and question of each of `[N]` visits.

    As `fit_rate`, which has the errors and the bias of the first visit. Interval: Bayesian bootstrap over questions
    (Rubin 1981), so that questions with different rates widen it; each draw weighs the questions anew and takes one
    Newton step from the fit (Hu and Kalbfleisch 2000). It is no narrower than the counts alone allow, so that questions
    that are all alike, such as all 1, leave doubt. Where rates differ the common one is not their mean: questions whose
    shares are near 0 or 1 count little. At least two questions are needed at two different steps each.
    """
    data = _counts(shares, steps, votes, questions)
    telling = int((data.total(data.another_step().astype(float)) > 0).sum())
    if telling < 2:
        raise ValueError(f"an interval needs two questions at two different steps each, has {telling}")
    found = _fit(data)
    weights = np.random.default_rng(seed).dirichlet(np.ones(len(data.starts)), DRAWS)
    slopes = found.slope + (weights @ found.score) / (weights @ found.information)
    low, high = np.quantile(slopes, (0.025, 0.975))
    reach = 1.96 * found.information.sum() ** -0.5
    return CommonFit(
        questions=np.unique(questions),
        p0=_expit(found.log_odds),
        inverse_beta=found.slope,
        low=float(min(low, found.slope - reach)),
        high=float(max(high, found.slope + reach)),
    )


def agreement(shares, expected, questions, votes) -> Agreement:
    """How closely measured shares `[N]` follow the expected ones, of `predicted` say. questions `[N]`, votes or `[N]`.

    Explained is compared with no change at all: each question stays at its mean share.
    """
    shares, expected = np.asarray(shares, np.float64), np.asarray(expected, np.float64)
    _finite("shares", shares)
    _, row = np.unique(questions, return_inverse=True)
    means = np.bincount(row, shares) / np.bincount(row)
    left, moved = ((shares - expected) ** 2).sum(), ((shares - means[row]) ** 2).sum()
    parts = _x_log_ratio(shares, expected) + _x_log_ratio(1 - shares, 1 - expected)
    return Agreement(
        explained=float(1 - left / moved) if moved > 0 else None,
        rmse=float(np.sqrt(left / len(shares))),
        deviance=float(2 * (np.asarray(votes) * parts).sum()),
        freedom=len(shares) - len(means) - 1,
    )


@dataclasses.dataclass(frozen=True)
class _Counts:
    """Visits in the order of their questions."""

    counts: np.ndarray  # float64 [N]
    votes: np.ndarray  # float64 [N]
    steps: np.ndarray  # float64 [N]
    row: np.ndarray  # int [N], the question's place
    starts: np.ndarray  # int [Q], the question's first visit

    def total(self, values: np.ndarray) -> np.ndarray:
        """`[N]` -> sums by question `[Q]`."""
        return np.add.reduceat(values, self.starts)

    def another_step(self) -> np.ndarray:
        """bool `[N]`: not at the step of the question's first visit."""
        return self.steps != self.steps[self.starts][self.row]

    def moments(self, weights: np.ndarray) -> tuple:
        """Of each question's steps, weighed `[N]`: weight, mean, and squared distance from it, `[Q]` each."""
        mass = self.total(weights)
        middle = self.total(weights * self.steps) / mass
        return mass, middle, self.total(weights * (self.steps - middle[self.row]) ** 2)


def _counts(shares, steps, votes, questions) -> _Counts:
    """Checked; ValueError says which of them is wrong."""
    shares, steps = np.asarray(shares, np.float64), np.asarray(steps, np.float64)
    questions = np.asarray(questions)
    if shares.ndim != 1 or not shares.shape == steps.shape == questions.shape:
        raise ValueError(
            f"shares, steps and questions are [N] each, not {[x.shape for x in (shares, steps, questions)]}"
        )
    votes = np.broadcast_to(np.asarray(votes, np.float64), shares.shape)
    for name, values in (("shares", shares), ("steps", steps), ("votes", votes)):
        _finite(name, values)
    if (votes < 1).any():
        raise ValueError(f"each share is of one vote or more, not of {votes.min():g}")
    counts = shares * votes
    if (counts < -0.01).any() or (counts > votes + 0.01).any():
        raise ValueError(f"shares lie between 0 and 1, not {shares.min():g} to {shares.max():g}")
    off = np.flatnonzero(np.abs(counts - counts.round()) > 0.01)
    if len(off):
        raise ValueError(f"a share of {shares[off[0]]:g} is no count out of {votes[off[0]]:g} votes")
    _, row = np.unique(questions, return_inverse=True)
    order = np.argsort(row, kind="stable")
    row, starts = row[order], np.searchsorted(row[order], np.arange(row.max(initial=-1) + 1))
    data = _Counts(counts.round()[order], votes[order], steps[order], row, starts)
    if not data.another_step().any():
        raise ValueError("a rate needs shares of one question at two different steps")
    return data


@dataclasses.dataclass(frozen=True)
class _Found:
    """A fit of Q questions with one slope."""

    log_odds: np.ndarray  # [Q], at step 0
    slope: float
    score: np.ndarray  # [Q], each question's pull on the slope; they sum to 0
    information: np.ndarray  # [Q], of the slope


def _fit(data: _Counts) -> _Found:
    """Newton's method, halved where the likelihood would fall. Firth's score is that of `leverage` more votes, half for.

    Each question's log-odds are eliminated, so that no matrix is built.
    """
    log_odds = np.log((data.total(data.counts) + 0.5) / (data.total(data.votes - data.counts) + 0.5))
    slope, value = 0.0, _penalised(data, log_odds, 0.0)
    for _ in range(STRIDES):
        line = log_odds[data.row] + slope * data.steps
        p, spread = _expit(line), _expit(line) * _expit(-line)
        mass, middle, information = data.moments(data.votes * spread)
        apart = (data.steps - middle[data.row]) ** 2
        leverage = data.votes * spread * (1 / mass[data.row] + apart / information.sum())
        left = data.counts + leverage / 2 - (data.votes + leverage) * p
        mass, middle, more = data.moments((data.votes + leverage) * spread)
        score = data.total(left * data.steps) - middle * data.total(left)
        change = score.sum() / more.sum()
        changes = data.total(left) / mass - middle * change
        gain = (
            left * (changes[data.row] + change * data.steps)
        ).sum()  # the square of the way left, in errors
        if gain < SETTLED:
            return _Found(log_odds, float(slope), score, information)
        scale, least = 1.0, value - ROUNDING * abs(value)
        while (new := _penalised(data, log_odds + scale * changes, slope + scale * change)) < least:
            scale /= 2
        log_odds, slope, value = log_odds + scale * changes, slope + scale * change, new
    raise RuntimeError(f"the fit did not settle: {gain**0.5:.1e} standard errors to go")


def _penalised(data: _Counts, log_odds: np.ndarray, slope: float) -> float:
    """Log-likelihood and half the log-determinant of the information."""
    line = log_odds[data.row] + slope * data.steps
    mass, _, information = data.moments(data.votes * np.maximum(_expit(line) * _expit(-line), 1e-300))
    likelihood = -data.counts @ np.logaddexp(0, -line) - (data.votes - data.counts) @ np.logaddexp(0, line)
    return float(likelihood + (np.log(mass).sum() + _log(information.sum())) / 2)


# ---- arithmetic


def _policy(values) -> np.ndarray:
    """float64; ValueError unless the last axis is a distribution."""
    values = np.asarray(values, np.float64)
    if not (values >= 0).all() or not np.allclose(values.sum(axis=-1), 1, rtol=0, atol=1e-6):
        raise ValueError("a policy's probabilities are not negative and sum to 1 over its last axis")
    return values


def _finite(name: str, values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise ValueError(f"{name} are not finite at visits {np.flatnonzero(~np.isfinite(values)).tolist()}")


def _positive(beta: float) -> float:
    if not 0 < beta < np.inf:
        raise ValueError(f"beta is a positive number, not {beta}")
    return beta


def _tilt(reference, reward, beta: float) -> np.ndarray:
    """log reference + r / beta, `[..., A]`; -inf where the reference has no mass."""
    reference, reward = _policy(reference), np.asarray(reward, np.float64)
    if not np.isfinite(np.where(reference > 0, reward, 0.0)).all():
        raise ValueError("the reward is not finite at a response that the reference gives")
    return _log(reference) + np.where(reference > 0, reward, 0.0) / _positive(beta)


def _normalised(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True))


def _mean_over_prefixes(policy, length: int, statistic: Callable) -> np.ndarray:
    """Of each response `[..., A]` the mean over its tokens of a statistic of their distributions `[..., prefixes, V]`."""
    policy = _policy(policy)
    *lead, size = policy.shape
    vocabulary = round(size ** (1 / length))
    if vocabulary**length != size:
        raise ValueError(f"{size} responses are not all those of {length} tokens")
    out = np.zeros(policy.shape)
    for t in range(length):
        mass = policy.reshape(*lead, vocabulary**t, vocabulary, -1).sum(axis=-1)
        total = mass.sum(axis=-1, keepdims=True)
        # A prefix without mass has no distribution; its responses count for nothing, so any finite value will do.
        p = np.where(total > 0, mass / np.where(total > 0, total, 1.0), 1 / vocabulary)
        out += np.repeat(statistic(p), size // vocabulary**t, axis=-1)
    return out / length


def _log(x) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(x)


def _expit(x) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -x))


def _x_log_ratio(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x log(x / y), 0 where x is 0, infinite where only y is."""
    some = x > 0
    return x * (_log(np.where(some, x, 1.0)) - _log(np.where(some, y, 1.0)))
