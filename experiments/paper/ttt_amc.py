"""Test-time training: 40 problems of AMC 2023, trained on and evaluated on, without labels.

    python -m urlvr_jax.main --config experiments/paper/ttt_amc.py
    python -m urlvr_jax.main --config experiments/paper/ttt_amc.py --config.reward.name=trajectory_level_entropy

Written for 8 x H100; about an eighth of an H100 node's day by `plan`. Not run here. Expect of the paper: both rewards rise
and stay, AMC 2023 and AIME 2024 improve; no collapse, unlike on DAPO-17k. The record and the figure say that the
evaluation is on training questions.

All 40 questions are one batch, so a step is an epoch. The settings are those of dapo.py beside this file.
"""

import pathlib

from urlvr_jax import config


def get_config():
    c = config.load_experiment(str(pathlib.Path(__file__).with_name("dapo.py")))
    c.data.train = "hf:math-ai/amc23:test"
    c.data.prompts_per_step = 40
    c.steps = 200
    c.eval.every = 10
    return c
