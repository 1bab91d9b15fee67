"""mcs: the Model Collapse Step of a base, what it foretells, and what other predictors say."""

from __future__ import annotations

import json
import pathlib

import numpy as np

from urlvr_jax.config import ConfigError
from urlvr_jax.measure import collapse, detectors, evaluate, predictors
from urlvr_jax.measure.intervals import over_seeds
from urlvr_jax.measure.record import RunRecord, by_step
from urlvr_jax.runtime import settled
from urlvr_jax.runtime.opening import open_evaluation, open_prompt_format, open_run
from urlvr_jax.runtime.progress import Console
from urlvr_jax.verbs.flags import seeds_of

DEFINITION = (
    f"Model Collapse Step: the first step of majority voting with reward accuracy below {collapse.MCS_THRESHOLD:.0%} (paper, F10); other "
    "texts mean the turning point from rise to fall, which comes sooner"
)
STEADY = f"the laboratory's form, reward accuracy below {collapse.STEADY_BELOW:.0%} in the mean of {collapse.STEADY_OVER} steps"
ESTIMATE = (
    f"label-free estimate: the first step at which, in the mean of {detectors.SMOOTH} steps, one answer is the majority's for "
    f"{detectors.ONE_ANSWER:.0%} of the questions, or rewards agree with the first sure answers below {detectors.KEPT:.0%}"
)
SAMPLES, QUESTIONS = 256, 100  # of the base, unless eval.k and eval.max_questions are typed
LAB = {"optim.lr": 1e-3, "steps": 200}  # as in the findings: most of the laboratory's bases collapse
UPDATES = 4  # a step, with --aggressive


def run(flag) -> int:
    """Train --model by majority voting on --data once a seed, until it collapses. --out writes all numbers."""
    if flag.out and not pathlib.Path(flag.out).absolute().parent.is_dir():
        raise ConfigError(f"--out={flag.out}: there is no such folder to write it in")
    c, seeds = of_flags(flag), seeds_of(flag.seeds)
    found = {
        "model": c.model.path,
        "data": c.data.train,
        "aggressive": bool(flag.aggressive),
        "base": of_base(c, flag),
    }
    folder = pathlib.Path(flag.workdir or f"runs/mcs-{pathlib.Path(c.model.path).name.replace(':', '-')}")
    found["runs"] = [of_seed(c, seed, folder / f"seed-{seed}") for seed in seeds]
    print(text(found, c))
    if flag.out:
        pathlib.Path(flag.out).write_text(json.dumps(found, indent=1) + "\n")
    return 0


def of_flags(flag):
    """The configuration of the runs; ConfigError for what is missing."""
    c = flag.config
    if not flag.model:
        raise ConfigError(
            "--model is missing: give a model folder or lab:NAME, for example --model lab:plain"
        )
    lab = flag.model.startswith("lab:")
    if not lab and not flag.experiment:
        raise ConfigError(
            f"--model={flag.model}: say how it is trained, by --config experiments/my_data.py:{flag.model},QUESTIONS or another file"
        )
    keys = {"model.path": flag.model, "reward.name": "majority_voting", "reward.fn": "", "kl.coef": 0.0}
    keys |= {"eval.every": 0, "log.completions_every": 0, "checkpoint.every": 0, "collapse.until_mcs": True}
    if flag.data:
        keys["data.train"] = flag.data
    if lab and not flag.experiment:
        keys |= LAB
    c.update_from_flattened_dict(keys | flag.typed)
    if flag.aggressive and "optim.minibatch_prompts" not in flag.typed:
        c.optim.minibatch_prompts = max(1, c.data.prompts_per_step // UPDATES)
    return c


def of_base(c, flag) -> dict[str, float]:
    """pass@k, the vote, and the entropy of the untrained model, sampled as in training."""
    b = c.copy_and_resolve_references()
    b.eval.k = flag.typed.get("eval.k", SAMPLES)
    b.eval.max_questions = flag.typed.get("eval.max_questions", QUESTIONS)
    b.eval.temperature, b.eval.top_p, b.eval.top_k = b.rollout.temperature, 1.0, 0
    b = settled.here(b.lock())
    opened = open_run(b)
    questions, labels = open_evaluation(b, b.data.train, open_prompt_format(b, opened.tokenizer))
    console = Console("stderr")
    params = opened.engine.to_rollout(opened.base_params(console.stage))
    evaluate.compile_for(opened.engine, questions, console.stage("compiling", "programs"), evaluate.how(b))
    tell = console.stage("asking the base", "questions")
    found = evaluate.evaluate(opened.engine, params, opened.tokenizer, questions, labels, 0, tell)
    return predictors.of_base(found.correct, found.majority, b.eval.k) | {"no answer": found.no_answer}


def of_seed(c, seed: int, folder: pathlib.Path) -> dict:
    """One run, made or gone on with until it collapses or ends; what it tells."""
    from urlvr_jax.main import train

    c = c.copy_and_resolve_references()
    c.seed = seed
    train(settled.here(c.lock()), folder)
    lines = RunRecord(folder).lines
    tokens = by_step(lines, "perf/rollout_tokens")
    return {
        "seed": seed,
        "steps": lines[-1]["step"],
        "mcs": collapse.mcs(lines),
        "steady": collapse.steady_step(np.array(list(by_step(lines, collapse.VOTES).values()))),
        "estimate": detectors.collapse_estimate(detectors.history_of(lines)),
        "tokens": sum(tokens.values()),
        "entropy": next(iter(by_step(lines, "actor/entropy").values())),
        "majority_right": next(iter(by_step(lines, "train/ensemble/label_accuracy").values()), None),
    }


def text(found: dict, c) -> str:
    """What is printed."""
    base, runs = found["base"], found["runs"]
    never = f"not within {c.steps} steps"
    said = lambda name: ", ".join(str(r[name]) if r[name] else never for r in runs)
    steps = [r["mcs"] or c.steps + 1 for r in runs]
    mean = f"{sum(steps) / len(steps):.1f}"
    if len(steps) > 1:
        mean += " [{0.low:.1f}, {0.high:.1f}]".format(over_seeds(steps))
    labelled = c.steps * sum(r["tokens"] / r["steps"] for r in runs) / len(runs)
    spent = sum(r["tokens"] for r in runs) / len(runs)
    entropy = sum(r["entropy"] for r in runs) / len(runs)
    out = [
        DEFINITION,
        f"  by seed: {said('mcs')}; mean {mean}"
        + (f"; a run that stands counts as {c.steps + 1}" if None in [r["mcs"] for r in runs] else ""),
        ESTIMATE,
        f"  by seed: {said('estimate')}",
        f"tokens: {spent:,.0f} a seed; all {c.steps} steps with ground truth would take about {labelled:,.0f}",
        "base: "
        + "  ".join(f"{name} {value:.3f}" for name, value in base.items())
        + f"  entropy {entropy:.3f}",
    ]
    return "\n".join(out + _trainability(found, sum(steps) / len(steps)))


def _trainability(found: dict, middle: float) -> list[str]:
    """Where the steps stand among those of other models, and what labels brought these."""
    if not found["model"].startswith("lab:"):
        return [
            f"among the paper's models: {predictors.between(middle, predictors.PAPER)}",
            f"verdict: labels brought its neighbours there {predictors.foretold(middle, predictors.PAPER)} points on AIME 2024; "
            "this compares at the paper's setting alone: 64 x 8, rate 1e-6, DAPO-17k",
        ]
    steady = [r["steady"] for r in found["runs"]]
    if None in steady or found["aggressive"]:
        return [
            "the laboratory's table (docs/findings, F10) is of runs that collapse, at the rate as it is"
        ]
    step = sum(steady) / len(steady)
    return [
        f"{STEADY}: by seed {', '.join(map(str, steady))}; mean {step:.1f}",
        f"among the laboratory's bases: {predictors.between(step, predictors.LAB)}",
        f"verdict: labels mended {predictors.foretold(step, predictors.LAB)} of its neighbours' mistakes",
    ]
