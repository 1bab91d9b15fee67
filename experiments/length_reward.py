"""Control: longer is better.

    python -m urlvr_jax.main --config experiments/length_reward.py

Cost: less than 3 minutes on two cores. Expect (seed 0, held-out accuracy): base 0.61, best 0.61 at
step 0, 0.00 at the end; responses from 17 to 44 tokens.
"""

from urlvr_jax import config


def get_config():
    c = config.default()
    c.reward.name = "length"
    c.optim.lr = 0.0003
    c.steps = 150
    return c
