"""Run folders written by hand: what a run of so many seeds and questions would have left."""

import json

import numpy as np

from urlvr_jax import config as config_lib


def write_run(
    folder,
    seed=0,
    steps=40,
    accuracy=(0.3, 0.6),
    questions=60,
    k=4,
    every=10,
    sets=("heldout",),
    until=None,
    **keys,
):
    """A run whose held-out accuracy goes from the first to the last of `accuracy`. until: the step it was cut short at."""
    folder.mkdir(parents=True)
    c = config_lib.default()
    c.update_from_flattened_dict({"seed": seed, "steps": steps, **keys})
    (folder / "config.json").write_text(json.dumps(config_lib.flat(c)))
    attempt = {"commit": "0" * 40, "modified": False, "versions": {"jax": "0.10.2"}}
    (folder / "record.json").write_text(json.dumps({"attempts": [attempt]}))
    rng = np.random.default_rng([seed, 5])
    hard = np.random.default_rng(0).normal(0, 0.15, questions)
    metrics, evals = [], []
    for step in range(0, (until or steps) + 1):
        line = {"step": step}
        if step:
            line |= {
                "reward/mean": 0.5 + step / 100,
                "response_length/mean": 30 - step / 10 + rng.normal(),
                "actor/entropy": 1 / step,
                "perf/rollout_tokens": 1000.0,
                "timing_s/step": 0.5,
            }
        if step % every == 0 or step == steps:
            share = np.interp(step, np.linspace(0, steps, len(accuracy)), accuracy) + rng.normal(0, 0.01)
            for name in sets:
                correct = rng.binomial(k, np.clip(share + hard, 0.01, 0.99))
                evals.append(
                    {
                        "step": step,
                        "set": name,
                        "k": k,
                        "correct": correct.tolist(),
                        "majority": (correct > k / 2).astype(int).tolist(),
                    }
                )
                line[f"eval/{name}/avg@{k}"] = float(correct.mean() / k)
        metrics.append(line)
    for file, lines in (("metrics", metrics), ("evals", evals)):
        (folder / f"{file}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder
