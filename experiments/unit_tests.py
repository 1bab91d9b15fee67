"""Python in a sandbox as the reward: write a function that passes the tests in the question (induction).

    python -m urlvr_jax.main --config experiments/unit_tests.py                     the sandbox; it needs bubblewrap

    --config.reward.name="unit_tests(mode='share')"     the share of the three tests

A question is three lines such as `assert f(4) == 10`; they are a part of the task, and no label.

Cost: 4 to 13 s a step of one core, by what else it does.
Expect (seed 0, held-out accuracy): base 0.23, best 0.42 at
step 40, 0.42 at the end; responses from 20 to 31 tokens.
"""

import pathlib

from urlvr_jax import config


def get_config():
    c = config.load_experiment(str(pathlib.Path(__file__).with_name("python_tasks.py"))).unlock()
    c.data.train = "lab:python_tests_train"
    c.eval.sets = ("lab:python_tests_heldout",)
    c.answers.check = c.reward.name = "unit_tests"
    return c
