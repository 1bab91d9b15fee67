"""Run folders written by hand: what a run of so many seeds and questions would have left."""

import json

import numpy as np
import pyarrow
import pyarrow.parquet

from urlvr_jax import config as config_lib


def write_run(
    folder, seed=0, steps=40, accuracy=(0.3, 0.6), questions=60, k=4, every=10, sets=("heldout",), until=None,
    alarm=None, votes=False, texts=(), **keys,
):  # fmt: skip
    """A run whose held-out accuracy goes along `accuracy`, from the first to the last.

    until: the step it was cut short at. alarm: the step of one. votes: whether its questions come again. texts: its
    prompts and completions.
    """
    folder.mkdir(parents=True)
    c = config_lib.default()
    c.update_from_flattened_dict({"seed": seed, "steps": steps, **keys})
    (folder / "config.json").write_text(json.dumps(config_lib.flat(c)))
    attempt = {"git": {"commit": "0" * 40, "modified": True}, "versions": {"jax": "0.10.2"}}
    (folder / "record.json").write_text(json.dumps({"attempts": [attempt]}))
    rng = np.random.default_rng([seed, 5])
    last = until or steps
    lines = {"metrics": [], "evals": [], "votes": []}
    shares = {s: np.interp(s, np.linspace(0, steps, len(accuracy)), accuracy) for s in range(last + 1)}
    for step, share in shares.items():
        line = {"step": step} | (_metrics(step, share, alarm, rng) if step else {})
        if step % every == 0 or step == steps:
            for name in sets:
                found = _evaluation(step, name, share + rng.normal(0, 0.01), questions, k, rng)
                lines["evals"].append(found)
                line[f"eval/{name}/avg@{k}"] = float(np.mean(found["correct"]) / k)
        lines["metrics"].append(line)
        if votes and step and step % 4 == 0:
            lines["votes"].append(_votes(step, share, rng))
    for file, of in lines.items():
        (folder / f"{file}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in of))
    for step in (1, last) if texts else ():
        _completions(folder, step, list(texts))
    return folder


def _metrics(step, share, alarm, rng):
    line = {
        "reward/mean": 0.5 + step / 100,
        "train/ensemble/ground_truth_reward": float(np.clip(share + rng.normal(0, 0.02), 0, 1)),
        "response_length/mean": 30 - step / 10 + rng.normal(),
        "actor/entropy": 1 / step,
        "perf/rollout_tokens": 1000.0,
        "timing_s/step": 0.5,
        "collapse/cut": step / (alarm or 1000),
        "collapse/alarm": float(alarm is not None and step >= alarm),
    }
    return line | (
        {"collapse/onset": alarm - 3, "collapse/reason": "cut"} if line["collapse/alarm"] else {}
    )


def _evaluation(step, name, share, questions, k, rng):
    hard = np.random.default_rng(0).normal(0, 0.15, questions)
    correct = rng.binomial(k, np.clip(share + hard, 0.01, 0.99))
    majority = (correct > k / 2).astype(int)
    return {"step": step, "set": name, "k": k, "correct": correct.tolist(), "majority": majority.tolist()}


def _votes(step, share, rng):
    first = rng.binomial(8, np.clip(np.linspace(0.4, 0.9, 10) + step / 200, 0, 1)).tolist()
    return {
        "step": step,
        "id": [f"q{i}" for i in range(10)],
        "group": 8,
        "votes": [{"aa": max(n, 1), "bb": 8 - max(n, 1)} if n < 8 else {"aa": 8} for n in first],
        "right": first,
        "majority_right": (rng.random(10) < share).astype(int).tolist(),
    }


def _completions(folder, step, texts):
    (folder / "completions").mkdir(exist_ok=True)
    n = len(texts)
    columns = {
        "prompt": texts, "completion": texts[::-1], "answer": [t[:40] for t in texts], "gold": ["12"] * n,
        "right": [i % 2 == 0 for i in range(n)], "votes": [3] * n, "reward": [0.5] * n, "length": [7] * n,
        "ended": [True] * n, "mean_logp": [-0.5] * n,
    }  # fmt: skip
    pyarrow.parquet.write_table(
        pyarrow.table(columns), folder / "completions" / f"completions_{step:05d}.parquet"
    )
