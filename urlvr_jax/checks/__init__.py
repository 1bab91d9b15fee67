"""Who is right. No JAX, no rewards.

In: `Answers` and what was asked. Out: which responses are right, bool `[P, G]`, for metrics and controls.

    table.py      CHECKS, by the names of `answers.check`
    gold.py       by the gold answer
    countdown.py  by computing the expression
    workers.py    graders in processes that may be killed
"""
