"""Control: any answer that can be extracted, right or wrong.

    python -m urlvr_jax.main --config experiments/format_reward.py

Cost: less than 3 minutes on two cores. Expect (seed 0, held-out accuracy): base 0.61, best 0.61 at
step 0, 0.04 at the end; responses from 17 to 4 tokens.
"""

from urlvr_jax import config


def get_config():
    c = config.default()
    c.reward.name = "format"
    c.optim.lr = 0.0003
    c.steps = 150
    return c
