"""RLCCF: a vote together with other models, each weighted by how much it agrees with itself.

    mkdir -p runs
    for base in sloppy rash; do
      python -m urlvr_jax.main generate --model lab:$base --data lab:train --config.eval.k=8 --config.eval.temperature=1.0 \\
          --config.eval.top_p=1.0 --out runs/votes_$base.jsonl; done
    python -m urlvr_jax.main --config experiments/rlccf.py

    --config.reward.name=majority_voting                the group alone

The others' responses are on file and stay as they are; any model of any size can write them, for it is asked once.
"""

from urlvr_jax import config


def get_config():
    c = config.default()
    c.reward.name = "rlccf"
    c.data.votes = ("runs/votes_sloppy.jsonl", "runs/votes_rash.jsonl")
    c.optim.lr = 0.0003
    c.steps = 150
    return c
