"""DuPO: an answer is right if, with it, a number hidden from the question can be found again.

    python -m urlvr_jax.main --config experiments/dupo.py

    --config.verify.judge=base                          the base as it was looks for the number: it does not forget how
    --config.reward.name=majority_voting --config.verify.dual=''        votes, on the same base
    --config.verify.votes=3                             of three searches more than half have to find it

The base has read documents that look for a hidden number, "Q16-?+2=5?"; with a model that follows instructions give
--config.verify.dual=number, which asks for it in words.
"""

from urlvr_jax import config


def get_config():
    c = config.default()
    c.model.path = "lab:dual"
    c.reward.name = "dupo"
    c.verify.dual = "lab"
    c.verify.prompt_buckets = (20,)
    c.verify.max_new_tokens = 44
    c.optim.lr = 0.0003
    c.steps = 100
    return c
