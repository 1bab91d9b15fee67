"""Self-certainty (Intuitor, RLIF): it gets better, then talks itself into nonsense.

    python -m urlvr_jax.main --config experiments/selfcert.py

Cost: about 3 minutes on two cores. Expect (seed 0, held-out accuracy): EXPECT
"""

from urlvr_jax import config


def get_config():
    c = config.default()
    c.reward.name = "self_certainty"
    c.optim.lr = 3e-5
    c.steps = 150
    return c
