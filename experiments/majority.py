"""Majority voting (TTRL, SRT): the group's most frequent answer is taken for the truth.

    python -m urlvr_jax.main --config experiments/majority.py

Cost: about 3 minutes on two cores. Expect (seed 0, held-out accuracy): EXPECT
"""

from urlvr_jax import config


def get_config():
    c = config.default()
    c.reward.name = "majority_voting"
    c.optim.lr = 3e-4
    c.steps = 150
    return c
