"""Integrals in the laboratory: an answer is right when its derivative is the integrand (LADDER); no label is read.

    python -m urlvr_jax.main --config experiments/integration.py

    --config.reward.name=majority_voting       or any other reward, on the same questions

Hard questions with easier ones before them: variants.py.

Expect (seed 0, held-out accuracy): base 0.66, best 0.83 at
step 40, 0.80 at the end; responses from 24 to 32 tokens.
"""

from urlvr_jax import config


def get_config():
    c = config.default()
    c.model.path = "lab:integration"
    c.data.train = "lab:integration_train"
    c.data.prompt_buckets = (24,)
    c.data.prompts_per_step = 16
    c.answers.style = "lab_integral"
    c.answers.check = "integration"
    c.reward.name = "integration"
    c.rollout.max_new_tokens = 40
    c.rollout.slots = 0  # all rows at once: rows are short, and all about as long
    c.optim.micro_rows = 32
    c.optim.lr = 0.0003
    c.steps = 60
    c.eval.sets = ("lab:integration_heldout",)
    c.eval.every = 20
    c.eval.max_questions = 300
    c.checkpoint.every = 0
    return c
