"""Self-certainty (Intuitor, RLIF): it gets better, then talks itself into nonsense.

    python -m urlvr_jax.main --config experiments/selfcert.py

Cost: about 2 minutes on two cores. Expect (seed 0, held-out accuracy): base 0.61, best 0.82 at
step 90, 0.44 at the end; responses from 17 to 29 tokens.
"""

from urlvr_jax import config


def get_config():
    c = config.default()
    c.reward.name = "self_certainty"
    c.optim.lr = 3e-5
    c.steps = 150
    return c
