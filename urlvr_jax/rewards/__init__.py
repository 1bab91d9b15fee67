"""Rewards: pure functions of `RewardInputs` -> float32 `[P, G]`. No label is within their reach.

In: token statistics, answers, texts and lengths of a step's rollouts. Out: a number for each rollout.

    interface.py          what a reward is: `needs`, options, `about`, a rehearsal
    derived.py            what it may ask for beyond token statistics
    certainty.py          self-certainty, entropies, probability, disparity
    ensemble.py           votes and semantic clusters
    external.py           self-verification, rephrased questions, Countdown, programs, integrals
    covo.py               where a response's steps lead; states.py asks the policy
    dual.py               the hidden part that DuPO looks for
    self_verification.py  the second generation that self-verification asks for
    controls.py           ground truth, random, format, length
    unified.py            the paper's one form, with the others as instances of it
    expression.py         weighted sums, options, and loading by name or from a file
    compute.py            step 5 of the loop: inputs and rewards of a whole step
    printed.py              all of them as text and as the blocks of docs/rewards.md

To add one: write a function in a file of your own (`--config.reward.fn=my_reward.py:my_reward`) or in a
module here, say what it `@needs`; here also `@about` and its name in the module's METHODS. A control that asks
for labels has a second argument, `reference`; only such a one receives it.
"""

from urlvr_jax.rewards.interface import RewardError, about, needs

__all__ = ["RewardError", "about", "needs"]  # what the author of a reward writes
