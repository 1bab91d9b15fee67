"""Who is right. No rewards, and no JAX but where integrals are checked.

In: `Answers` and what was asked. Out: which responses are right, bool `[P, G]`, for metrics and controls.

    table.py        CHECKS, by the names of `answers.check`
    gold.py         by the gold answer
    countdown.py    by computing the expression
    integration.py  by the derivative of an integral; slopes.py takes it, variants.py writes easier ones
    workers.py      graders in processes that may be killed
"""
