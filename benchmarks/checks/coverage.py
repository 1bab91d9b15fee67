"""How often the 95 % intervals of an evaluation hold the truth, in worlds whose truth is known.

    python benchmarks/checks/coverage.py

Questions are drawn anew from a world of a mean accuracy: all alike, mixed, or split into nearly always and nearly
never right. Each cell is one statistic at one number of questions; the truth is the world's. Printed: per cent of
trials that cover it and the mean width. A cell outside 93 to 99 % is marked, and above 99 % called conservative.
Seconds on one core.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from urlvr_jax.measure.intervals import mean_interval

TRIALS, WORLD = 1000, 200_000
ACCURACIES, QUESTIONS, SAMPLES = (0.02, 0.5, 0.98), (30, 83, 600), (1, 2, 8)
CONCENTRATION = {"alike": np.inf, "mixed": 2.0, "split": 0.2}  # of the Beta of a question's accuracy
CHANGED = 0.3  # share of questions that a paired comparison finds changed


def draw(accuracy: float, concentration: float, rng, shape) -> np.ndarray:
    """Accuracies of questions."""
    if np.isinf(concentration):
        return np.full(shape, accuracy)
    return rng.beta(concentration * accuracy, concentration * (1 - accuracy), shape)


def cells(accuracy: float, concentration: float, questions: int, trials: int = TRIALS):
    """Yield (statistic, values `[trials, Q]`, their range, the truth)."""
    rng = np.random.default_rng((17, questions))
    world = draw(accuracy, concentration, rng, WORLD)
    right = draw(accuracy, concentration, rng, (trials, questions))
    changed = rng.random(right.shape) < CHANGED
    later = np.where(changed, draw(accuracy, concentration, rng, right.shape), right)
    for k in SAMPLES:
        correct = rng.binomial(k, right)
        yield f"avg@{k}", correct / k, (0.0, 1.0), accuracy
        if k > 1:
            yield f"maj@{k}", correct > k // 2, (0.0, 1.0), stats.binom.sf(k // 2, k, world).mean()
            yield f"pass@{k}", correct > 0, (0.0, 1.0), (1 - (1 - world) ** k).mean()
        yield f"paired, {k}", (rng.binomial(k, later) - correct) / k, (-1.0, 1.0), 0.0


def coverage(values, ends, truth) -> tuple[float, float]:
    """Share of trials whose interval holds the truth, and the mean width."""
    low, high = mean_interval(values, *ends)
    held = (low <= truth + 1e-12) & (truth <= high + 1e-12)
    return float(held.mean()), float((high - low).mean())


def main() -> None:
    print("accuracy  world  questions  statistic    truth   covers   width")
    for accuracy in ACCURACIES:
        for world, concentration in CONCENTRATION.items():
            for questions in QUESTIONS:
                for name, values, ends, truth in cells(accuracy, concentration, questions):
                    share, width = coverage(values, ends, truth)
                    mark = "conservative" if share > 0.99 else "" if share >= 0.93 else "TOO LITTLE"
                    print(
                        f"{accuracy:8} {world:>6} {questions:10}  {name:10} {truth:7.4f} {share:8.1%} {width:7.3f}  {mark}"
                    )


if __name__ == "__main__":
    main()
