"""Control: any answer that can be extracted, right or wrong.

    python -m urlvr_jax.main --config experiments/format_reward.py

Cost: about 3 minutes on two cores. Expect (seed 0, held-out accuracy): EXPECT
"""

from urlvr_jax import config


def get_config():
    c = config.default()
    c.reward.name = "format"
    c.optim.lr = 3e-4
    c.steps = 150
    return c
