"""How a question's votes go from visit to visit: a line a step of votes.jsonl, and metrics of it that need no label."""

from __future__ import annotations

import collections
import dataclasses
from typing import NamedTuple

import numpy as np

from urlvr_jax.answers.classes import majority_class, tie_order

KEPT = 4  # answers of a question whose votes are written, the most frequent
WINDOW = 5  # visits: so many a question must have had before it can count as locked
LAG = 20  # steps: what a policy thought so long ago
CONFIDENT = 0.5  # of the rollouts
LOCKED_SHARE = 0.7  # of the votes, mean over the window (TTRL-Guard, 2605.19444)


def line(step: int, ids: tuple[str, ...], answers, correct) -> dict:
    """What is kept of a step's votes, in the order of its prompts.

    ids `[P]`; correct bool `[P, G]`, None without labels. `votes`: {answer: how many rollouts gave it}, the majority
    first, answers by the first 8 digits of their digest. `right`: how many rollouts are right; `majority_right`: 1
    where the majority's answer is.
    """
    out = {"step": step, "id": list(ids), "group": answers.classes.shape[1]}
    counts = [collections.Counter(row[row >= 0].tolist()) for row in answers.classes]
    digests = [{i: tie_order(key).hex()[:8] for key, i in names.items()} for names in answers.names]
    ranked = [sorted(c, key=lambda i: (-c[i], i))[:KEPT] for c in counts]
    out["votes"] = [
        {d[i]: c[i] for i in order} for order, c, d in zip(ranked, counts, digests, strict=True)
    ]
    if correct is not None:
        chosen = (answers.classes == answers.majority[:, None]) & (answers.classes >= 0)
        out["right"] = correct.sum(axis=1).tolist()
        out["majority_right"] = (correct & chosen).any(axis=1).astype(int).tolist()
    return out


def majority_of(votes: dict[str, int]) -> str | None:
    """The majority's answer, of one question's votes in a line; None where nobody answered."""
    return next(iter(votes), None)


def of_step(classes: np.ndarray) -> dict[str, float]:
    """Of the answers' classes int `[P, G]`, -1 none: what they tell by themselves.

    `votes/answers`: different answers over rollouts with one, mean over questions. `votes/halves_agree`: share of
    questions to which the majorities of the even and of the odd rollouts are the same answer.
    """
    answered = (classes >= 0).sum(axis=1)
    different = np.array([len(set(row[row >= 0].tolist())) for row in classes])
    some = answered > 0
    out = {}
    if some.any():
        out["votes/answers"] = float((different[some] / answered[some]).mean())
    if classes.shape[1] > 1:
        even, odd = (majority_class(classes[:, half::2]) for half in (0, 1))
        out["votes/halves_agree"] = float(((even == odd) & (even >= 0)).mean())
    return out


def across_questions(line: dict) -> dict[str, float]:
    """Whether different questions get different answers; absent where fewer than two have a majority.

    `votes/distinct`: different majority answers over questions that have one. `votes/commonest`: the share of those
    questions whose majority is the answer that most of them share. A question that comes twice counts once.
    """
    majorities = {i: majority_of(votes) for i, votes in zip(line["id"], line["votes"], strict=True)}
    counts = collections.Counter(a for a in majorities.values() if a is not None)
    questions = counts.total()
    if questions < 2:
        return {}
    return {
        "votes/distinct": len(counts) / questions,
        "votes/commonest": max(counts.values()) / questions,
    }


class Visit(NamedTuple):
    """One question's vote at one step."""

    step: int
    majority: str | None
    share: float  # of the rollouts, that gave the majority's answer


def kept(first: Visit, votes: dict[str, int], group: int) -> float:
    """Reward accuracy of a question's vote if its first visit's majority were the truth: the share of its rollouts to
    which both give the same reward; 0 where nobody answers."""
    now = majority_of(votes)
    if now == first.majority:
        return 1.0
    return 1 - (votes[now] + votes.get(first.majority, 0)) / group if now else 0.0


@dataclasses.dataclass
class Visits:
    """What a question's earlier visits left: those of the last LAG steps or WINDOW visits, and the one before."""

    past: list[Visit]
    first: Visit
    flipped: bool = False

    def before(self, step: int) -> Visit | None:
        """The latest visit LAG steps ago or earlier."""
        return next((v for v in reversed(self.past) if v.step <= step - LAG), None)

    def add(self, visit: Visit) -> None:
        self.past.append(visit)
        while len(self.past) > WINDOW and self.past[1].step <= visit.step - LAG:
            self.past.pop(0)


class Between:
    """Compares a step with the questions' earlier visits; a function of the lines it has seen, in their order."""

    def __init__(self, lines: list[dict] = ()):
        self.questions: dict[str, Visits] = {}
        for line in lines:
            self.see(line)

    def see(self, line: dict) -> dict[str, float]:
        """Metrics of a line, absent where no question was seen before. Then the line counts as seen.

        `votes/flips`: share of the questions seen before whose majority answer is another than at their last visit.
        `votes/turned`: the same of those to which CONFIDENT of the rollouts had agreed LAG steps ago or earlier, where
        chance seldom changes a majority; absent where there are none. `votes/kept`: mean of `kept` over those to which
        CONFIDENT of the rollouts had agreed at their first visit, LAG steps ago or earlier. `votes/locked`: share of the questions seen before
        that have flipped at some time and gave LOCKED_SHARE of the votes to the majority, mean of WINDOW visits or more.
        """
        seen, flips, locked, turned, same = 0, 0, 0, [], []
        for question, votes in dict(zip(line["id"], line["votes"], strict=True)).items():
            now = Visit(line["step"], majority_of(votes), max(votes.values(), default=0) / line["group"])
            known = self.questions.get(question)
            if known is None:
                self.questions[question] = Visits([now], now)
                continue
            seen += 1
            flip = now.majority != known.past[-1].majority
            known.flipped |= flip
            flips += flip
            earlier = known.before(now.step)
            if earlier and earlier.share >= CONFIDENT:
                turned.append(now.majority != earlier.majority)
            if known.first.share >= CONFIDENT and known.first.step <= now.step - LAG:
                same.append(kept(known.first, votes, line["group"]))
            known.add(now)
            shares = [visit.share for visit in known.past[-WINDOW:]]
            locked += known.flipped and len(shares) == WINDOW and sum(shares) / WINDOW > LOCKED_SHARE
        out = {"votes/flips": flips / seen, "votes/locked": locked / seen} if seen else {}
        out |= {"votes/turned": sum(turned) / len(turned)} if turned else {}
        return out | ({"votes/kept": sum(same) / len(same)} if same else {})
