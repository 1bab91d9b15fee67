"""Token-level entropy (RENT, EM-RL token) on the laboratory's plain base.

    python -m urlvr_jax.main --config experiments/token_entropy.py

Cost: COST. Expect: EXPECT
"""

from urlvr_jax import config


def get_config():
    c = config.default()
    c.reward.name = "token_level_entropy"
    return c
