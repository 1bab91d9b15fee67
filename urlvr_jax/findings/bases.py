"""Eight bases that span the prior, and their runs: until the vote collapses, as that is hastened, and with ground truth."""

from __future__ import annotations

import numpy as np

from urlvr_jax.findings.finding import Arm, Runs, curve
from urlvr_jax.measure import collapse
from urlvr_jax.measure.intervals import rank_correlation

BASES = ("hasty", "rash", "sloppy", "early", "plain", "steady", "careful", "taught")
MENDABLE = BASES[:-1]  # without `taught`, which is right 0.985 of the time: labels have nothing to bring it
MCS_STEPS, HASTENED_STEPS, TRUTH_STEPS = 200, 60, 100
DEFINITION = (
    f"The Model Collapse Step of a base is the mean over seeds, as `mcs` tells it, of the first step at which reward accuracy, mean of "
    f"{collapse.STEADY_OVER} steps, is below {collapse.STEADY_BELOW:.2f}: the laboratory's answers are 0 to 99, so one answer for all is right in 1 to 3 % of the "
    "questions, and a single step below 1 %, the paper's form, scatters twofold between seeds. This form was chosen on seeds 0 to 2, "
    "so seeds from 3 decide; their interval is of seeds drawn again."
)
LEAN_STEPS = 160
VOTED, HASTENED, LEAN, TRUTH = "voted", "hastened", "lean", "truth"


def voted(base: str) -> Arm:
    """Majority voting at a rate at which the vote of most bases collapses within MCS_STEPS."""
    keys = {"model.path": f"lab:{base}", "optim.lr": 1e-3, "steps": MCS_STEPS, "eval.every": 50}
    return Arm("experiments/majority.py", keys)


def hastened(base: str) -> Arm:
    """The same with four updates a step."""
    keys = {"model.path": f"lab:{base}", "optim.lr": 1e-3, "steps": HASTENED_STEPS, "eval.every": 60}
    return Arm("experiments/majority.py", keys | {"optim.minibatch_prompts": 8})


def lean(base: str) -> Arm:
    """The same with an update every 8 questions, so four times as many for its tokens."""
    keys = {"model.path": f"lab:{base}", "optim.lr": 1e-3, "steps": LEAN_STEPS, "eval.every": LEAN_STEPS}
    return Arm("experiments/majority.py", keys | {"data.prompts_per_step": 8})


def truth(base: str) -> Arm:
    """What labels bring."""
    keys = {
        "model.path": f"lab:{base}",
        "optim.lr": 1e-4,
        "steps": TRUTH_STEPS,
        "eval.every": 50,
        "eval.k": 8,
    }
    return Arm("experiments/ground_truth.py", keys)


def arms(*kinds, names=BASES) -> dict[str, Arm]:
    """{"plain, voted": its arm} of all bases."""
    made = {VOTED: voted, HASTENED: hastened, LEAN: lean, TRUTH: truth}
    return {f"{base}, {kind}": made[kind](base) for kind in kinds for base in names}


def collapse_step(line: dict) -> int:
    """Model Collapse Step; a run that stands has collapsed one step after its end, at the earliest."""
    return line["mcs"] or line["steps"] + 1


def steady_step(line: dict) -> int:
    """Model Collapse Step in the laboratory's form; else one step after the end."""
    return collapse.steady_step(curve(line, "reward_accuracy")) or line["steps"] + 1


def of_bases(runs: Runs, kind: str, what, names=BASES) -> list[float]:
    """A number of each base's line, in the order of `names`."""
    return [float(runs[f"{base}, {kind}"].once(what)) for base in names]


def of_seeds(seeds: list[Runs], kind: str, what, names=BASES) -> list[float]:
    """The same, mean over seeds."""
    return np.mean([of_bases(runs, kind, what, names) for runs in seeds], axis=0).tolist()


def steps(runs: Runs, kind: str = VOTED) -> list[float]:
    """Model Collapse Steps in the paper's form."""
    return of_bases(runs, kind, collapse_step)


def base_votes(line: dict) -> float:
    """Share of the questions of the first step whose majority is right."""
    return float(curve(line, "label_accuracy", 1, 1)[0])


def base_entropy(line: dict) -> float:
    return float(curve(line, "entropy", 1, 1)[0])


def repaired(line: dict) -> float:
    """Of the base's held-out mistakes the share that ground truth repairs.

    Not the gain in points: a strong base of the laboratory is near 1, where the paper's are far from it.
    """
    found = next(iter(line["sets"].values()))["avg"]
    return (found[-1] - found[0]) / (1 - found[0])


def headroom(line: dict) -> float:
    """pass@8 - avg@8 of the base on held-out questions: what the paper's pass@256 - pass@1 is."""
    found = next(iter(line["sets"].values()))
    return found["pass"][0] - found["avg"][0]


def spearman(a: list[float], b: list[float]) -> float:
    """0 where either is constant."""
    return rank_correlation(a, b) or 0.0


def kendall(a: list[float], b: list[float]) -> float:
    """Kendall's tau b."""
    from scipy import stats

    return float(stats.kendalltau(a, b).statistic)


def tokens_until(line: dict, step: int) -> float:
    """Sampled until a step, it included."""
    return float(curve(line, "tokens", 1, min(step, line["steps"])).sum())


PAPER_MODELS = (
    "olmo2-7b", "llama3.1-8b", "qwen2.5-math-1.5b", "qwen2.5-1.5b", "qwen2.5-7b", "qwen3-1.7b", "qwen3-8b"
)  # fmt: skip


def at_scale(*rewards: str) -> dict[str, Arm]:
    """The paper's seven models under each reward."""
    return {
        f"{model}, {reward}": Arm(f"experiments/paper/mcs.py:{model}", {"reward.name": reward})
        for model in PAPER_MODELS
        for reward in rewards
    }
