"""CoVo: whether the steps of a response lead to its own answer, or to another of its group's, as the policy itself sees it.

    python -m urlvr_jax.main --config experiments/covo.py
    python -m urlvr_jax.main --config experiments/covo.py --config.reward.name="covo(mode='linear')"

In a chain of sums nobody knows the answer before the last step, and steps that calculate look volatile. What is paid most is an
answer that is settled at once: the policy learns to guess.

Cost: less than 3 minutes of one core. Expect (seed 0, held-out accuracy): base 0.61, best 0.61 at
step 0, 0.03 at the end; responses from 17 to 3 tokens.
"""

from urlvr_jax import config


def get_config():
    c = config.default()
    c.reward.name = "covo"
    c.optim.lr = 0.0003
    c.steps = 100
    return c
