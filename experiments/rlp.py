"""RLP: a thought is worth what it adds to the likelihood of how a text goes on. No answer is read, only the corpus.

    python -m urlvr_jax.main --config experiments/rlp.py
    python -m urlvr_jax.main --config experiments/rlp.py --config.continuation.corpus=lab:sums_wrong
    python -m urlvr_jax.main --config experiments/rlp.py --config.reward.name=rlpr     probabilities in place of their logarithms
    python -m urlvr_jax.main --config experiments/rlp.py --config.reward.name=rpt      the prediction has to be how the text begins

The corpus has questions and answers without the steps between, "Q16-13+2?A5"; the base writes steps before its answer in
half of its responses. A response up to its last ";" is the thought.

Cost: less than 2 minutes of one core. Expect (seed 0, held-out accuracy): base 0.61, best 0.91 at
step 40, 0.91 at the end; responses from 17 to 25 tokens.
"""

from urlvr_jax import config


def get_config():
    c = config.default()
    c.reward.name = "rlp"
    c.continuation.corpus = "lab:sums"
    c.continuation.cut = "?"
    c.continuation.thought_end = ";"
    c.optim.lr = 0.0003
    c.steps = 40
    return c
