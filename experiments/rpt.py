"""RPT: what a response predicts after its thought has to be how the text goes on. No answer is read, only the corpus.

    python -m urlvr_jax.main --config experiments/rpt.py

The corpus is that of `rlp.py`. A prediction that the text begins with is enough, if it ends where a token ends: in the
laboratory a token is a character.

Cost: less than 2 minutes of one core. Expect (seed 0, held-out accuracy): base 0.61, best 0.94 at
step 20, 0.92 at the end; responses from 17 to 25 tokens.
"""

from urlvr_jax import config


def get_config():
    c = config.default()
    c.reward.name = "rpt"
    c.continuation.corpus = "lab:sums"
    c.continuation.cut = "?"
    c.continuation.thought_end = ";"
    c.optim.lr = 0.0003
    c.steps = 40
    return c
