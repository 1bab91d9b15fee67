"""F6: small training sets are safe, large ones are not."""

from __future__ import annotations

from urlvr_jax.findings.finding import Arm, Finding, Rule, Runs, late

SIZES = (32, 128, 512, 2048)
SMALL, LARGE = "32 questions", "2048 questions"


def net(runs: Runs, name: str) -> float:
    return runs[name]["held_out"]["final_minus_base"]["mean"]


def net_of_32(runs: Runs) -> float:
    return net(runs, "32 questions")


def net_of_128(runs: Runs) -> float:
    return net(runs, "128 questions")


def net_of_512(runs: Runs) -> float:
    return net(runs, "512 questions")


def net_of_all(runs: Runs) -> float:
    return net(runs, LARGE)


def distance(runs: Runs) -> float:
    """KL from the base at the end, all questions over 32."""
    return late(runs[LARGE], "kl") / late(runs[SMALL], "kl")


FINDING = Finding(
    name="F6",
    title="Small sets are safe",
    brief=("32 and 128 stay, 512 and more fall", "change on 32 {0}, on 128 {1}, on 512 {2}, on all {3}"),
    claim="Trained by majority voting on few questions a model stays above its base; on many it falls below, and goes farther from "
    "the base.",
    paper="Majority voting on 32, 128, 512, 2048, 8192, 16384 questions of DAPO-17k, batch 32, 600 steps: 32 and 128 are stable on "
    "three seeds, 512 and more hack the reward; KL to the base 0.057 on 32 and about twice that on 512.",
    setting="`lab:plain`, the first N training questions, 300 steps of 32 × 8 at 3e-4, the rate of F1. Collapse means to end below the base.",
    arms={
        f"{n} questions": Arm(
            "experiments/majority.py", {"steps": 300, "kl.watch": True, "data.subset": n % 2048}, ("kl",)
        )
        for n in SIZES
    },
    notes="All of them fall within 300 steps at 3e-4 in most runs. Slower rates were tried: at 2e-4 (seed 101, 300 steps) 32 questions end at 0.71, 128 at 0.84, "
    "512 at 0.80, all at 0.91; at 1e-4 (seed 100, 600 steps) 32 at 0.71, all at 0.92, from 0.62. So a small set loses little by little what it "
    "gained, and stays above the base; a large one holds, and falls at once where it falls. At these rates both end at the same distance from the base, 0.01 to 0.03 nats.",
    rules=(
        Rule("on 32 questions it ends above the base", net_of_32, ">", 0.0),
        Rule("on 128 too", net_of_128, ">", 0.0),
        Rule("on 512 it ends 0.10 or more below", net_of_512, "<=", -0.10, null=0.0),
        Rule("on all 2048 too", net_of_all, "<=", -0.10, null=0.0),
        Rule("KL from the base on all is 1.5 times that on 32, or more", distance, ">=", 1.5, null=1.0),
    ),
    panels=(
        ("eval_avg", "held-out accuracy"),
        ("reward_accuracy", "reward accuracy"),
        ("kl", "KL from the base (nats)"),
    ),
    at_scale={
        f"{n} questions": Arm(
            "experiments/paper/dapo.py",
            {"data.subset": n, "data.prompts_per_step": 32, "steps": 600, "kl.watch": True},
        )
        for n in (32, 128, 512, 2048, 8192, 16384)
    },
)
