"""What is said to tell, before or instead of training with labels, how much that would bring: numbers of one base.

The Model Collapse Step stands in collapse.py, its label-free estimate in detectors.py.
"""

from __future__ import annotations

import math

import numpy as np

# Model Collapse Step and gain on AIME 2024 with ground truth, in points (paper, F10).
PAPER = {
    "OLMo-2-7B": (34, 0.42),
    "Llama-3.1-8B": (40, 1.01),
    "Qwen2.5-Math-1.5B": (160, 3.96),
    "Qwen2.5-1.5B": (221, 3.96),
    "Qwen2.5-7B": (245, 6.67),
    "Qwen3-1.7B-Base": (280, 7.08),
    "Qwen3-8B-Base": (383, 17.08),
}

# The laboratory's form of the step (collapse.steady_step), mean over seeds, and the share of the base's mistakes that 100 steps
# of ground truth mend: docs/findings (F10).
LAB = {
    "lab:early": (12.3, -0.07),
    "lab:hasty": (16.7, 0.65),
    "lab:rash": (29.0, 0.63),
    "lab:sloppy": (37.3, 0.77),
    "lab:steady": (61.7, 0.90),
    "lab:careful": (65.0, 0.87),
    "lab:plain": (91.0, 0.91),
}


def pass_at(correct: np.ndarray, n: int, k: int) -> np.ndarray:
    """Unbiased pass@k of each question (Chen et al. 2021): 1 - C(n - c, k) / C(n, k). correct int `[Q]` of n samples.

    ValueError where k > n: more samples than there are say nothing.
    """
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} of {n} samples: k must be from 1 to {n}")
    # In logarithms: C(n - c, k) / C(n, k) = prod over i of (n - c - i) / (n - i).
    ways = lambda m: math.lgamma(m + 1) - math.lgamma(m - k + 1)
    return np.array([1.0 if n - c < k else 1 - math.exp(ways(n - c) - ways(n)) for c in correct.tolist()])


def of_base(correct: np.ndarray, majority: np.ndarray, n: int) -> dict[str, float]:
    """pass@k for k = 1, 2, 4, ... up to n, and of the majority of all n. correct int `[Q]`, majority bool `[Q]`."""
    ks = [2**i for i in range(n.bit_length()) if 2**i <= n]
    out = {f"pass@{k}": float(pass_at(correct, n, k).mean()) for k in ks}
    out[f"pass@{ks[-1]} - pass@1"] = out[f"pass@{ks[-1]}"] - out["pass@1"]
    return out | {f"maj@{n}": float(majority.mean())}


def neighbours(step: float, table: dict[str, tuple[float, float]]) -> tuple[tuple | None, tuple | None]:
    """(name, (step, gain)) of a table's next lower and next higher step, None where there is none; equal steps stand below."""
    ranked = sorted(table.items(), key=lambda item: item[1][0])
    below = [item for item in ranked if item[1][0] < step]
    above = [item for item in ranked if item[1][0] >= step]
    return below[-1] if below else None, above[0] if above else None


def between(step: float, table: dict[str, tuple[float, float]]) -> str:
    """Where a step stands among a table's, in words."""
    below, above = neighbours(step, table)
    said = lambda item: f"{item[0]} (step {item[1][0]:g}, gain {item[1][1]:+.2f})"
    if not below:
        return f"before {said(above)}, the first of {len(table)}"
    if not above:
        return f"after {said(below)}, the last of {len(table)}"
    return f"between {said(below)} and {said(above)}"


def foretold(step: float, table: dict[str, tuple[float, float]]) -> str:
    """The gains of its neighbours, as a step foretells them."""
    gains = sorted(item[1][1] for item in neighbours(step, table) if item)
    return " to ".join(f"{gain:.2f}" for gain in gains)
