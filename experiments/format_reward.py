"""Control: any extractable answer on the laboratory's plain base.

    python -m urlvr_jax.main --config experiments/format_reward.py

Cost: COST. Expect: EXPECT
"""

from urlvr_jax import config


def get_config():
    c = config.default()
    c.reward.name = "format"
    return c
