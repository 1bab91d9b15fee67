"""From the text of a response to its answer. No JAX, no labels.

In: texts and a style (`boxed`, `hashes`, ...). Out: `Answers`: each answer, its key, its class within the group.

    extract.py    where the answer stands       canonical.py  the key: equal answers have equal keys
    classes.py    keys to classes; the majority tokens.py     which tokens spell the answer
    boxes.py      boxes of one answer           saved.py  responses on file: the verb `answers`
    notation.py, wording.py, names.py, piecewise.py, formula.py, functions.py, algebra.py
                  what the key is made with
    trees.py      a formula as a tree of x, for checks that differentiate it
"""
