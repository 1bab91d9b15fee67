"""Python in a sandbox as the reward: what comes out of a function (deduction), or what has to go in (abduction).

    python -m urlvr_jax.main --config experiments/python_tasks.py                   the sandbox; it needs bubblewrap

    --config.reward.name=majority_voting                the group's most frequent answer

A generator writes the functions; the policy proposes none of its own. Absolute Zero's third kind: unit_tests.py.

Cost: 1 to 3 s a step of one core, by what else it does; two thirds of that are the sandbox's.
Expect (seed 0, held-out accuracy): base 0.37, best 0.55 at
step 40, 0.55 at the end; responses from 14 to 17 tokens.
"""

from urlvr_jax import config


def get_config():
    c = config.default()
    c.model.path = "lab:python"
    c.data.train = "lab:python_tasks_train"
    c.data.prompt_buckets = (24,)
    c.data.prompts_per_step = 16
    c.answers.style = "fence"
    c.answers.check = "python_tasks"
    c.answers.workers = 1
    c.reward.name = "python_tasks"
    c.rollout.max_new_tokens = 40
    c.rollout.response_buckets = (40,)
    c.rollout.slots = 0  # all rows at once: rows are short, and all about as long
    c.optim.micro_rows = 32
    c.optim.lr = 0.0003
    c.steps = 40
    c.eval.sets = ("lab:python_tasks_heldout",)
    c.eval.every = 20
    c.eval.max_questions = 300
    c.checkpoint.every = 0
    return c
