"""One cell of the laboratory's grid: every reward under the same base, batch, length and rates.

    python -m urlvr_jax.main --config experiments/grid.py:REWARD,RATE --config.seed=0
    python -m urlvr_jax.main study grid run       all cells, three seeds (about two hours of one core)
    python -m urlvr_jax.main study grid draw      the tables and figures of docs/grid, from the runs on file

No reward is tuned apart: `RATES` holds for all of them.
"""

from urlvr_jax import config

REWARDS = (
    "self_certainty",
    "token_level_entropy",
    "trajectory_level_entropy",
    "probability",
    "majority_voting",
    "ground_truth",
    "random",
    "format",
    "length",
)
RATES = (1e-5, 3e-5, 3e-4)
SEEDS = (0, 1, 2)


def get_config(cell="self_certainty,3e-5"):
    reward, rate = cell.split(",")
    c = config.default()
    c.reward.name = reward
    c.optim.lr = float(rate)
    c.steps = 150
    c.checkpoint.every = 0
    c.log.completions_every = 40
    return c
