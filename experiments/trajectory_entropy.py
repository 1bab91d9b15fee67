"""Trajectory-level entropy (EM-RL sequence) on the laboratory's plain base.

    python -m urlvr_jax.main --config experiments/trajectory_entropy.py

Cost: COST. Expect: EXPECT
"""

from urlvr_jax import config


def get_config():
    c = config.default()
    c.reward.name = "trajectory_level_entropy"
    return c
