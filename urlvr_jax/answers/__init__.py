"""From the text of a response to its answer. No JAX, no labels.

In: texts and a style (`boxed`, `hashes`, ...). Out: `Answers`: each answer, its key, its class within the group.

    extract.py    where the answer stands       canonical.py  the key: equal answers have equal keys
    classes.py    keys to classes; the majority tokens.py     which tokens spell the answer
    notation.py, formula.py, algebra.py         what the key is made with
    saved.py      responses on file: the verb `answers`
"""
