"""Programs in the laboratory: what comes out of one (deduction), or what has to go in (abduction), after Absolute Zero.

    python -m urlvr_jax.main --config experiments/programs.py                                     the interpreter

    --config.reward.name=majority_voting                the group's most frequent answer
    --config.reward.name=trajectory_level_entropy       or any other reward

A generator writes the programs; the policy proposes none of its own. Cost: about two minutes of one core.
Expect (seed 0, held-out accuracy): base 0.21, best 0.45 at
step 20, 0.45 at the end; responses from 9 to 23 tokens.
"""

from urlvr_jax import config


def get_config():
    c = config.default()
    c.model.path = "lab:programs"
    c.data.train = "lab:programs_train"
    c.data.prompt_buckets = (24,)
    c.answers.check = "programs"
    c.reward.name = "programs"
    c.rollout.max_new_tokens = 40
    c.rollout.response_buckets = (40,)
    c.data.prompts_per_step = 16
    c.rollout.slots = 0  # all rows at once: rows are short, and all about as long
    c.optim.micro_rows = 32
    c.optim.lr = 0.0003
    c.steps = 60
    c.eval.sets = ("lab:programs_heldout",)
    c.eval.every = 20
    c.eval.max_questions = 300
    c.checkpoint.every = 0
    return c
