"""Rewards: pure functions of `RewardInputs` -> float32 `[P, G]`. No label is within their reach.

    interface.py   what a reward is: `needs`, options, `about`
    certainty.py   self-certainty, entropies, probability, disparity
    ensemble.py    votes and semantic clusters
    external.py    self-verification, rephrased questions, Countdown
    controls.py    ground truth, random, format, length
    unified.py     the paper's one form, with the others as instances of it
    compose.py     weighted sums, options, and loading by name or from a file
    table.py       all of them as text and as the table of docs/rewards.md

To add one: write a function in a file of your own (`--config.reward.fn=my_reward.py:my_reward`) or in a
module here, say what it `@needs`; here also `@about` and its name in the module's METHODS. Verifiers have
a second argument, `reference`; only they receive it.
"""

from urlvr_jax.rewards.compose import (
    REWARDS,
    check,
    compute,
    compute_terms,
    is_verifier,
    load,
    load_shadows,
)
from urlvr_jax.rewards.controls import constant
from urlvr_jax.rewards.ensemble import majority_answer
from urlvr_jax.rewards.interface import About, RewardError, about, needs, needs_of

__all__ = [
    "REWARDS", "About", "RewardError", "about", "check", "compute", "compute_terms", "constant",
    "is_verifier", "load", "load_shadows", "majority_answer", "needs", "needs_of",
]  # fmt: skip
