"""A few labelled questions beside a run without labels: how right its votes are, and when to stop.

`labels.probe` questions of the training file are held out, and sampled as training samples: G responses at
`rollout.temperature`. Their gold answers reach the metrics here and `labels.stop`, and no reward.

    label accuracy   the share of probe questions whose majority is right: what a vote would be paid for
    votes of k       how often more than half of k responses are right, for any k, from two labelled responses a question
                     (the two-call bounds of 2605.03379, by its abstract): E[p] and E[p^2], p a question's accuracy,
                     leave it a range
    fall             how surely the probe's accuracy has fallen below an earlier evaluation's

The stop rule compares every evaluation with every one before it. z = sum_q d_q / sqrt(sum_q d_q^2), d_q a question's change
in accuracy, has mean 0 and variance 1 where nothing changed, for then the sign of each d_q is a coin. With M evaluations
in a whole run there are M (M - 1) / 2 comparisons; one below the standard normal's quantile of `labels.false_alarm` over
their number is an alarm (Bonferroni). So a run whose accuracy never changes is stopped with at most about that chance.
"""

from __future__ import annotations

import statistics

import numpy as np

from urlvr_jax.measure.intervals import mean_interval

NAME = "probe"  # of its evaluation set
VOTES = (64, 0)  # responses of a vote that is bounded; 0 = ever so many
GRID = 501  # accuracies of a question that the bounds consider


def how(c) -> dict:
    """How the probe is sampled: as training is."""
    return dict(k=c.rollout.group, temperature=c.rollout.temperature, top_p=1.0, top_k=0)


# ---- bounds -------------------------------------------------------------------------------------


def more_than_half(accuracy: np.ndarray, votes: int) -> np.ndarray:
    """Chance that more than half of so many responses are right, of questions of this accuracy `[Q]`; votes = 0: in the
    limit."""
    from scipy.special import bdtrc  # imported late, as elsewhere

    if votes == 0:
        return (accuracy > 0.5).astype(np.float64)
    return bdtrc(votes // 2, votes, accuracy)


def moments(correct: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Unbiased p and p^2 of each question, float64 `[Q]`, from `correct` of k responses: the second from all pairs."""
    correct = np.asarray(correct, np.float64)
    return correct / k, correct * (correct - 1) / (k * (k - 1))


def vote_bounds(correct: np.ndarray, k: int, votes: int) -> tuple[float, float]:
    """Least and greatest share of questions in which more than half of `votes` responses are right, with 95 % confidence.

    correct int `[Q]` of k >= 2 responses. Whatever p's distribution is, as long as E[p] and E[p^2] lie in intervals of
    97.5 % each. An answer with more than half of the votes is the majority, so the low end holds for maj@k too; the high
    end does not: a plurality may be right with less.
    """
    from scipy.optimize import linprog

    accuracy = np.linspace(0, 1, GRID)
    rows, limits = [np.ones(GRID)], [(1.0, 1.0)]
    for power, values in zip((1, 2), moments(correct, k), strict=True):
        rows.append(accuracy**power)
        limits.append(_wider(values))
    low, high = np.array(limits).T
    allowed = dict(
        A_ub=np.concatenate([rows, np.negative(rows)]), b_ub=np.concatenate([high, -low]), bounds=(0, 1)
    )
    value = more_than_half(accuracy, votes)
    ends = [sign * linprog(sign * value, **allowed).fun for sign in (1, -1)]
    return max(0.0, float(ends[0])), min(1.0, float(ends[1]))


def _wider(per_question: np.ndarray) -> tuple[float, float]:
    """97.5 %: the 95 % interval's ends, as much farther from the mean as a normal's are; and room for the grid's steps."""
    quantile = statistics.NormalDist().inv_cdf
    by = quantile(1 - 0.0125) / quantile(1 - 0.025)
    low, high = (float(x) for x in mean_interval(per_question))
    mean = float(np.mean(per_question))
    return mean - by * (mean - low) - 1e-6, mean + by * (high - mean) + 1e-6


# ---- the stop rule --------------------------------------------------------------------------------


def evaluations(c) -> int:
    """How often a whole run is evaluated, the base included."""
    return 1 + -(-c.steps // c.eval.every)


def threshold(count: int, false_alarm: float) -> float:
    """How many standard errors a fall has to be, of a run with `count` evaluations."""
    return -statistics.NormalDist().inv_cdf(false_alarm / max(1, count * (count - 1) / 2))


def largest_fall(accuracy: np.ndarray) -> tuple[float, int]:
    """Of accuracies `[M, Q]` the last against all before: the most standard errors it is below one, and below which.

    0.0 and the last itself where it is below none.
    """
    change = accuracy[:-1] - accuracy[-1:]
    size = np.sqrt((change**2).sum(axis=1))
    z = np.where(size > 0, change.sum(axis=1) / np.maximum(size, 1e-12), 0.0)
    worst = int(z.argmax()) if len(z) else 0
    return (float(z[worst]), worst) if len(z) and z[worst] > 0 else (0.0, len(accuracy) - 1)


class Probe:
    """What a run knows of its probe: every evaluation so far, those of a resumed run too."""

    def __init__(self, c, past: list[dict]):
        self.on, self.stop = bool(c.labels.probe), c.labels.stop
        self.false_alarm = c.labels.false_alarm
        self.limit = threshold(evaluations(c), self.false_alarm) if self.on else 0.0
        self.steps, self.correct = [], []
        self.alarm: tuple[int, int] | None = None  # the step, and the one that it is below
        for line in past:
            if line["set"] == NAME:
                self._add(line)

    @property
    def stops(self) -> bool:
        """Whether the run is to end."""
        return self.stop and self.alarm is not None

    def _add(self, line: dict) -> float:
        """The fall of an evaluation's line of evals.jsonl; 1 is an alarm."""
        self.steps.append(line["step"])
        self.correct.append(np.asarray(line["correct"]) / line["k"])
        fall, below = largest_fall(np.stack(self.correct))
        if fall > self.limit and self.alarm is None:
            self.alarm = self.steps[-1], self.steps[below]
        return fall / self.limit

    def see(self, line: dict) -> dict[str, float]:
        """The metrics `probe/*` after one more line of evals.jsonl."""
        correct, k = np.asarray(line["correct"]), line["k"]
        low, high = mean_interval(np.asarray(line["majority"]))
        out = {
            "probe/label_accuracy": float(np.mean(line["majority"])),
            "probe/label_accuracy/low": float(low),
            "probe/label_accuracy/high": float(high),
        }
        for votes in VOTES if k > 1 else ():
            ends = vote_bounds(correct, k, votes)
            name = f"probe/votes@{votes or 'inf'}"
            out |= {f"{name}/low": ends[0], f"{name}/high": ends[1]}
        return out | {"probe/fall": self._add(line), "probe/alarm": float(self.alarm is not None)}

    def notices(self) -> dict[str, str]:
        """What is said of an alarm."""
        if not self.alarm:
            return {}
        at, below = self.alarm
        return {
            NAME: f"step {at}: the probe's accuracy has fallen below that of step {below}; of runs whose accuracy never "
            f"changes {100 * self.false_alarm:g} % are told so"
        }
