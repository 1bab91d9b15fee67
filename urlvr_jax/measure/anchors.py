"""Anchors: responses that a policy was sure of, scored again some steps later. No label is read.

A question comes again after an epoch, and what a policy thinks of it then tells a collapse; anchors tell it before.
Every EVERY steps ROWS responses that gave an agreed majority answer are kept in votes.jsonl. Every second later step scores
those that are LAG steps old or more, the latest of them: a policy that has moved to other answers finds them unlikely.
"""

from __future__ import annotations

import numpy as np

from urlvr_jax.measure.votes import CONFIDENT
from urlvr_jax.types import Prompts, Rollouts

ROWS = 8
EVERY, LAG = 10, 10  # steps
LOST = 0.05  # nats a token
SCORED = 2  # steps: every second one is enough


def chosen(prompts: Prompts, rollouts: Rollouts, answers, width: int, rows: int = ROWS) -> dict | None:
    """Of the questions whose majority answer CONFIDENT of the rollouts gave, one such response of `width` tokens or less,
    in the order of the prompts: token ids, and the mean log-probability of a token. None where there is none.
    """
    out = {"prompt": [], "response": [], "logp": []}
    group = answers.classes.shape[1]
    for p, (classes, majority) in enumerate(zip(answers.classes, answers.majority, strict=True)):
        agreeing = np.flatnonzero((classes == majority) & (classes >= 0))
        short = [b for b in p * group + agreeing if 0 < rollouts.lengths[b] <= width]
        if len(agreeing) < CONFIDENT * group or not short or len(out["logp"]) == rows:
            continue
        b, n = short[0], rollouts.lengths[short[0]]
        out["prompt"].append(prompts.tokens[p, : prompts.lengths[p]].tolist())
        out["response"].append(rollouts.tokens[b, :n].tolist())
        out["logp"].append(round(float(rollouts.stats["logp"][b, :n].mean()), 5))
    return out if out["logp"] else None


class Anchors:
    """Those of the steps so far; a function of the lines it has seen, in their order."""

    def __init__(self, lines: list[dict] = ()):
        self.sets: list[tuple[int, dict]] = []
        for line in lines:
            self.see(line)

    def see(self, line: dict) -> None:
        if line.get("anchors"):
            self.sets.append((line["step"], line["anchors"]))
            self.sets = self.sets[-(LAG // EVERY + 2) :]

    def due(self, step: int) -> dict | None:
        """What is to be scored by the policy after the update of `step`; None at other steps than every SCORED."""
        if step % SCORED:
            return None
        return next((those for at, those in reversed(self.sets) if at <= step - LAG), None)


def metrics(those: dict, logp: np.ndarray) -> dict[str, float]:
    """How much more likely the anchors are now, nats a token: the median over them, and the share that lost LOST or more.

    logp float32 `[R, T]`, R at least as many as there are.
    """
    means = [row[: len(r)].mean() for row, r in zip(logp, those["response"], strict=False)]
    change = np.array(means, np.float64) - those["logp"]
    return {
        "anchors/logp_change": float(np.median(change)),
        "anchors/lost": float((change <= -LOST).mean()),
    }
