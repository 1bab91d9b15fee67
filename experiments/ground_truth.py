"""Control: the gold answer. The upper bound, not an unsupervised reward.

    python -m urlvr_jax.main --config experiments/ground_truth.py

Cost: about 3 minutes on two cores. Expect (seed 0, held-out accuracy): EXPECT
"""

from urlvr_jax import config


def get_config():
    c = config.default()
    c.reward.name = "ground_truth"
    c.optim.lr = 3e-4
    c.steps = 150
    return c
