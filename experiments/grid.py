"""One cell of the laboratory's grid: every reward under the same base, batch, length and rates.

    python -m urlvr_jax.main --config experiments/grid.py --config.reward.name=random --config.optim.lr=3e-5
    python -m urlvr_jax.main study grid run       all cells, three seeds (about two hours of one core)
    python -m urlvr_jax.main study grid draw      the tables and figures of docs/grid, from the runs on file

Rewards, rates and seeds stand in urlvr_jax/studies/grid.py. No reward is tuned apart.
"""

from urlvr_jax import config


def get_config():
    c = config.default()
    c.reward.name = "self_certainty"
    c.optim.lr = 3e-5
    c.steps = 150
    c.checkpoint.every = 0
    c.log.completions_every = 40
    return c
