"""F1: training on the majority's answer first rises with the truth, then falls while its own reward rises on."""

from __future__ import annotations

from urlvr_jax.findings.finding import Arm, Finding, Rule, Runs, held_out, late, near

VOTED, TRUE = "majority voting", "ground truth"
EARLY = 20  # steps


def lead_early(runs: Runs) -> float:
    return held_out(runs[VOTED], EARLY) - held_out(runs[TRUE], EARLY)


def lead_at_last(runs: Runs) -> float:
    return held_out(runs[VOTED], runs[VOTED]["steps"]) - held_out(runs[TRUE], runs[TRUE]["steps"])


def fall(runs: Runs) -> float:
    return runs[VOTED]["held_out"]["fall"]["mean"]


def rise(runs: Runs) -> float:
    return runs[VOTED]["held_out"]["rise"]["mean"]


def _since_peak(name: str):
    def change(runs: Runs) -> float:
        return late(runs[VOTED], name) - near(runs[VOTED], name, runs[VOTED]["held_out"]["peak_step"])

    return change


own_reward_since_peak = _since_peak("own_reward")
reward_accuracy_since_peak = _since_peak("reward_accuracy")


def entropy_against_truth(runs: Runs) -> float:
    """Mean entropy of steps 10 to 40 over ground truth's."""
    return near(runs[VOTED], "entropy", 25, 15) / near(runs[TRUE], "entropy", 25, 15)


def _majority(steps: int, **overrides) -> Arm:
    return Arm("experiments/majority.py", {"steps": steps, **overrides})


FINDING = Finding(
    name="F1",
    title="Rise, then fall",
    brief=("early as good as ground truth, later it falls", "rises {1}, then falls {2}"),
    claim="Majority voting at first gains as much as ground truth; later its own reward goes on rising while held-out "
    "accuracy and reward accuracy fall.",
    paper="Qwen3-1.7B-Base on DAPO-17k, majority voting beside ground truth: early it matches or beats ground truth on AIME "
    "2024, AIME 2025 and AMC 2023, later reward accuracy and validation fall while its own reward rises; actor entropy "
    "falls faster.",
    setting="`lab:plain`, 32 × 8, rate 3e-4, 300 steps: at 150 the fall of most seeds has not come yet.",
    arms={
        VOTED: _majority(300),
        TRUE: Arm("experiments/ground_truth.py", {"steps": 300}),
    },
    notes="At this rate voting is 0.05 behind ground truth at step 20, and its entropy falls no faster: ground truth sharpens as much. A slower rate "
    "closes the gap and loses the fall. At 1e-4 (seed 100) accuracy is 0.94 at step 30, as with ground truth, and 0.92 after 600 steps; at 2e-4 "
    "seed 100 falls at step 60, to 0.34, and seed 101 stands at 0.91 after 300.",
    rules=(
        Rule(
            f"at step {EARLY} held-out accuracy is at most 0.03 below ground truth's",
            lead_early,
            ">=",
            -0.03,
        ),
        Rule("held-out accuracy rises by 0.15 or more", rise, ">=", 0.15, null=0.0),
        Rule("then falls 0.10 or more below its peak", fall, "<=", -0.10, null=0.0),
        Rule("and ends 0.10 or more below ground truth", lead_at_last, "<=", -0.10, null=0.0),
        Rule("its own reward at the end is above that at the peak", own_reward_since_peak, ">", 0.0),
        Rule(
            "reward accuracy at the end is 0.10 or more below that at the peak",
            reward_accuracy_since_peak,
            "<=",
            -0.10,
            null=0.0,
        ),
        Rule("entropy in steps 10 to 40 is below ground truth's", entropy_against_truth, "<", 1.0),
    ),
    panels=(
        ("eval_avg", "held-out accuracy"),
        ("own_reward", "own reward"),
        ("reward_accuracy", "reward accuracy"),
        ("entropy", "entropy (nats)"),
    ),
    at_scale={
        VOTED: Arm("experiments/paper/dapo.py", {"reward.name": "majority_voting", "steps": 1000}),
        TRUE: Arm("experiments/paper/dapo.py", {"reward.name": "ground_truth", "steps": 1000}),
    },
)
