"""Countdown in the laboratory: the policy judges its own solutions, beside the oracle and a certainty.

    python -m urlvr_jax.main --config experiments/countdown.py                                    self-verification
    python -m urlvr_jax.main --config experiments/countdown.py:checker                            by a base that computes before it judges

    --config.reward.name=countdown                      the oracle
    --config.reward.name=trajectory_level_entropy       or any other reward
    --config.verify.template='V{response}?{prompt}'     the verifier is asked in another order
    --config.verify.judge=base                          the verifier stays as it was at the start

The base has read documents that judge solutions, in both orders; `self_verify` needs one that has.
"""

from urlvr_jax import config
from urlvr_jax.lab.countdown_world import RECIPES, WORDINGS


def get_config(judge="judge"):
    c = config.default()
    c.model.path = f"lab:countdown_{judge}"
    c.data.train = "lab:countdown_train"
    c.answers.style = "lab_expression"
    c.answers.check = "countdown"
    c.reward.name = "self_verify"
    c.verify.template = WORDINGS["question_first"]
    c.verify.prompt_buckets = (40,)
    if RECIPES[f"countdown_{judge}"].by:
        c.verify.verdict = "lab_last"
        c.verify.max_new_tokens = 24
    c.rollout.max_new_tokens = 26
    c.rollout.response_buckets = (26,)
    c.data.prompts_per_step = 16
    c.rollout.slots = 0  # all rows at once: rows are short, and all about as long
    c.optim.micro_rows = 32
    c.optim.lr = 0.0003
    c.steps = 60
    c.eval.sets = ("lab:countdown_heldout",)
    c.eval.every = 20
    c.eval.max_questions = 300
    c.checkpoint.every = 0
    return c
