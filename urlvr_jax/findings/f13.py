"""F13: a base that was finished on clean solutions is robust."""

from __future__ import annotations

from urlvr_jax.findings import bases
from urlvr_jax.findings.f01 import FINDING as F1
from urlvr_jax.findings.f01 import VOTED as RAW
from urlvr_jax.findings.finding import Arm, Finding, Rule, Runs

FINISHED = "finished on clean solutions"
RAW_FAST, FINISHED_FAST = "majority voting, 1e-3", "finished on clean solutions, 1e-3"


def fall(runs: Runs) -> float:
    return runs[FINISHED]["held_out"]["fall"]["mean"]


def above_raw(runs: Runs) -> float:
    return runs[FINISHED]["held_out"]["final"] - runs[RAW]["held_out"]["final"]


def later(runs: Runs) -> float:
    return bases.collapse_step(runs[FINISHED_FAST]) / bases.collapse_step(runs[RAW_FAST])


FINDING = Finding(
    name="F13",
    title="Instruction alignment makes it robust",
    brief=("0.60 to 0.80 and more", "fall of the finished base {0}"),
    claim="The same base, finished on clean worked solutions, keeps its accuracy where the raw one collapses.",
    paper="Qwen3-1.7B instruct under self-verification starts above 60 % and reaches more than 80 % with either of two prompts, the base "
    "with one of them only.",
    setting="`lab:taught` (100 steps of clean solutions after `lab:plain`) beside `lab:plain` under majority voting, 300 steps at 3e-4 and "
    "200 at 1e-3: in the laboratory it is the vote that works on raw bases, F12's judge does not.",
    arms={
        RAW: F1.arms[RAW],
        FINISHED: Arm("experiments/majority.py", {"steps": 300, "model.path": "lab:taught"}),
        RAW_FAST: bases.voted("plain"),
        FINISHED_FAST: bases.voted("taught"),
    },
    notes="The finished base is right nearly always, so that the few votes against it are noise, and the update follows them as it follows any. At 1e-4 "
    "(seed 100, 300 steps) it goes from 0.98 to 0.94, and the raw base from 0.62 to 0.92: neither collapses.",
    rules=(
        Rule("finished, it falls by less than 0.10 at 3e-4", fall, ">", -0.10),
        Rule("and ends 0.10 or more above the raw base", above_raw, ">=", 0.10, null=0.0),
        Rule("at 1e-3 it collapses at least 1.5 times as late", later, ">=", 1.5, null=1.0),
    ),
    panels=(("eval_avg", "held-out accuracy"), ("reward_accuracy", "reward accuracy")),
    at_scale={
        "Qwen3-1.7B": Arm(
            "experiments/paper/dapo.py", {"model.path": "Qwen/Qwen3-1.7B", "data.prompt_format": "chat"}
        ),
        "Qwen3-1.7B-Base": Arm("experiments/paper/dapo.py"),
    },
)
