"""From hidden states to the statistics of every token, for the sampler, the scorer and the loss alike.

In: hidden states or whole responses. Out: log-probability, entropy, self-certainty and top-2 gap, float32 `[B, T]`.

    token_statistics.py  the four formulas
    head.py              the output head, a chunk of tokens at a time, with its own gradient
    packing.py           responses packed into full rows
    score.py             teacher-forced scoring
"""
