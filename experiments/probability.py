"""Probability of the response (RLSC) on the laboratory's plain base.

    python -m urlvr_jax.main --config experiments/probability.py

Cost: COST. Expect: EXPECT
"""

from urlvr_jax import config


def get_config():
    c = config.default()
    c.reward.name = "probability"
    return c
