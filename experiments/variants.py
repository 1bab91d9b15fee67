"""Hard integrals with easier variants before them (LADDER): file order is a curriculum, and one epoch of it is a run.

    python -m urlvr_jax.main --config experiments/variants.py

    --config.data.train=lab:integration_hard       the hard questions alone, for as many steps

Questions have three terms, and so have the held-out ones. The file is what `urlvr_jax.lab.build` wrote from
lab:integration_hard by the rules of checks/variants.py: up to three variants a question, none of them held out.

Expect (seed 0, held-out accuracy): base 0.36, best 0.56 at
step 56, 0.56 at the end; responses from 12 to 37 tokens.
"""

import pathlib

from urlvr_jax import config


def get_config():
    c = config.load_experiment(str(pathlib.Path(__file__).with_name("integration.py"))).unlock()
    c.data.train = "lab:integration_variants"
    c.eval.sets = ("lab:integration_hard_heldout",)
    c.steps = 56  # one epoch of the variants and then the hard questions
    c.eval.every = 14
    return c
