"""From rewards to new parameters.

In: rewards `[P, G]`, log-probabilities `[B, T]`, a train state. Out: token advantages `[B, T]`, the next state.

    advantages.py  rewards against the rest of their group
    objective.py   clipped policy gradient and KL, a token at a time
    optimizer.py   AdamW and the learning rate
    step.py        one update, pure
"""
