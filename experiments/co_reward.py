"""Co-Reward: the majority answer to a question in other words is taken for the truth, and vice versa.

    python -m urlvr_jax.main --config experiments/co_reward.py

Cost: less than 3 minutes on two cores. A step's 32 prompts are 16 questions in two wordings.
"""

from urlvr_jax import config


def get_config():
    c = config.default()
    c.reward.name = "co_reward"
    c.data.rephrase = "lab"
    c.optim.lr = 0.0003
    c.steps = 150
    return c
