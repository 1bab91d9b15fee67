"""F12: self-verification does not collapse."""

from __future__ import annotations

import dataclasses

from urlvr_jax.findings.finding import Arm, Finding, Rule, Runs
from urlvr_jax.studies import countdown, judges

ORACLE, CERTAINTY = "oracle", "trajectory entropy"
JUDGES = tuple(countdown.JUDGES)


def final(runs: Runs, arm: str) -> float:
    return runs[arm]["held_out"]["final"]


def best(runs: Runs) -> float:
    """Of the two wordings of the verification prompt."""
    return max(final(runs, judge) for judge in JUDGES)


def below_oracle(runs: Runs) -> float:
    return best(runs) - final(runs, ORACLE)


def above_certainty(runs: Runs) -> float:
    return best(runs) - final(runs, CERTAINTY)


def fall(runs: Runs) -> float:
    return max(runs[judge]["held_out"]["fall"]["mean"] for judge in JUDGES)


RULES = (
    Rule("ends at most 0.10 below the oracle", below_oracle, ">=", -0.10),
    Rule("ends 0.15 or more above trajectory entropy", above_certainty, ">=", 0.15, null=0.0),
    Rule("falls by less than 0.10 below its peak", fall, ">", -0.10),
)
AT_ONCE = Finding(
    name="F12",
    title="Self-verification does not collapse",
    brief=("0.55 to 0.80, near the oracle", "against the oracle {0}"),
    claim="Where checking is easier than solving, a policy that judges its own solutions comes near the exact checker.",
    paper="Countdown, 4000 questions: self-verification reaches 0.55 to 0.75 (1.7B) and 0.7 to 0.8 (4B), near the oracle and far above "
    "trajectory entropy; reward accuracy dips near step 200, recovers, and stays above 0.5.",
    setting="`lab:countdown_judge`, which says yes or no at once, 60 steps of 16 × 8 at 3e-4, two wordings of the verification prompt: the runs "
    "of [docs/countdown](../countdown/README.md). The better wording counts.",
    arms={name: Arm("experiments/countdown.py", keys) for name, keys in countdown.ARMS.items()},
    rules=RULES,
)
FINDING = dataclasses.replace(
    AT_ONCE,
    setting="`lab:countdown_checker`, which computes before it says yes or no, as the paper's models do: 120 steps of 16 × 8 at 3e-4, the same "
    "two wordings, the same rules: runs of [docs/judges](../judges/README.md). The better wording counts.",
    arms=dict(
        zip(
            (*JUDGES, ORACLE, CERTAINTY),
            (Arm("experiments/countdown.py:checker", arm.overrides) for arm in judges.LONGER.values()),
            strict=True,
        )
    ),
    earlier=AT_ONCE,
)
