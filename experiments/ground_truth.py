"""Control: the gold answer on the laboratory's plain base.

    python -m urlvr_jax.main --config experiments/ground_truth.py

Cost: COST. Expect: EXPECT
"""

from urlvr_jax import config


def get_config():
    c = config.default()
    c.reward.name = "ground_truth"
    return c
