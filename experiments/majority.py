"""Majority voting (TTRL, SRT) on the laboratory's plain base.

    python -m urlvr_jax.main --config experiments/majority.py

Cost: COST. Expect: EXPECT
"""

from urlvr_jax import config


def get_config():
    c = config.default()
    c.reward.name = "majority_voting"
    return c
