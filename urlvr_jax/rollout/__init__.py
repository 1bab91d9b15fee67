"""From prompts to responses: every prompt is prefilled once; rows end, and others take their slots.

In: parameters, prompts `[P, L]`, a random key. Out: tokens and statistics `[B, T]`, lengths and ends `[B]`.

    draw.py    from logits to the next token
    slots.py   which row each slot decodes, and what it sees
    sample.py  the loop
"""
