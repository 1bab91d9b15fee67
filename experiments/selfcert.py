"""Self-certainty (Intuitor) on the laboratory's plain base: it gets better, then talks itself away.

python -m urlvr_jax.main --config experiments/selfcert.py
"""

from urlvr_jax import config


def get_config():
    c = config.default()
    c.reward.name = "self_certainty"
    c.optim.lr = 1e-4
    c.steps = 160
    return c
