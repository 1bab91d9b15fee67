"""Countdown in the laboratory: self-verification, the oracle, or any other reward on the same prompts.

    python -m urlvr_jax.main --config experiments/lab_pretrain.py:countdown_judge --workdir runs/judge
    python -m urlvr_jax.main export --model runs/judge --out runs/judge/base
    python -m urlvr_jax.main --config experiments/countdown.py:self_verify
    python -m urlvr_jax.main --config experiments/countdown.py:countdown                    the oracle
    python -m urlvr_jax.main --config experiments/countdown.py:trajectory_level_entropy

The first two lines make the base, which has read documents that judge solutions: "V", question, response, "?", answered by Y or N.
"""

from urlvr_jax import config


def get_config(reward="self_verify"):
    c = config.default()
    c.model.path = "runs/judge/base"
    c.data.train = "lab:countdown_train"
    c.answers.style = "lab_expression"
    c.answers.check = "countdown"
    c.reward.name = reward
    c.verify.prompt_buckets = (64,)
    c.optim.lr = 0.0003
    c.steps = 150
    c.eval.sets = ("lab:countdown_heldout",)
    return c
