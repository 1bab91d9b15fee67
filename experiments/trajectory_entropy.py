"""Trajectory-level entropy (EM-RL sequence): the mean log-probability of what it wrote.

    python -m urlvr_jax.main --config experiments/trajectory_entropy.py

Cost: about 3 minutes on two cores. Expect (seed 0, held-out accuracy): EXPECT
"""

from urlvr_jax import config


def get_config():
    c = config.default()
    c.reward.name = "trajectory_level_entropy"
    c.optim.lr = 3e-5
    c.steps = 150
    return c
