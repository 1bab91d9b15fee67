"""The laboratory's grid: nine rewards, three rates, three seeds, one base.

    python benchmarks/grid.py run [--jobs 2] [--only REWARD]     run what is missing, add to docs/grid
    python benchmarks/grid.py draw                               table and figures from docs/grid

`run` appends one line a finished run to docs/grid/runs.jsonl: its findings, thinned curves, the
commit and the configuration's hash. Lines of another commit's configuration are never mixed: a cell
whose hash differs from the one on file is run again and replaces it.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import importlib.util
import json
import os
import pathlib
import queue
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from urlvr_jax import analysis, workdir  # noqa: E402
from urlvr_jax import config as config_lib  # noqa: E402

OUT = ROOT / "docs" / "grid"
RUNS = OUT / "runs.jsonl"
CURVES = {
    "own_reward": "reward/mean",
    "truth": analysis.TRUTH,
    "reward_accuracy": "train/ensemble/reward_accuracy",
    "majority_ratio": "train/ensemble/majority_ratio",
    "length": "response_length/mean",
    "clip_ratio": "response_length/clip_ratio",
    "repetition": "repetition_rate",
    "entropy": "actor/entropy",
    "nll": "actor/nll",
}
THIN = 8  # steps between points of a committed curve

spec = importlib.util.spec_from_file_location("grid", ROOT / "experiments" / "grid.py")
GRID = importlib.util.module_from_spec(spec)
spec.loader.exec_module(GRID)


def cells(only: str | None):
    for rate in GRID.RATES:
        for seed in GRID.SEEDS:
            for reward in GRID.REWARDS:
                if only in (None, reward):
                    yield reward, rate, seed


def expected_hash(reward: str, rate: float, seed: int) -> str:
    c = GRID.get_config(f"{reward},{rate}")
    c.seed = seed
    return workdir.config_hash(config_lib.flat(c))


def run_cell(cell, cores: queue.Queue) -> dict:
    """Run one cell in a process of its own, on one core."""
    reward, rate, seed = cell
    core = cores.get()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="grid-"))
    try:
        words = [sys.executable, "-m", "urlvr_jax.main"]
        words += ["--config", f"experiments/grid.py:{reward},{rate}"]
        words += [f"--config.seed={seed}", "--workdir", str(folder)]
        pin = (lambda: os.sched_setaffinity(0, {core})) if hasattr(os, "sched_setaffinity") else None
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, preexec_fn=pin)
        if done.returncode:
            raise RuntimeError(f"{cell}: exit status {done.returncode}\n{done.stderr[-2000:]}")
        return condense(folder, reward, rate, seed)
    finally:
        cores.put(core)
        shutil.rmtree(folder, ignore_errors=True)


def condense(folder: pathlib.Path, reward: str, rate: float, seed: int) -> dict:
    """A run's folder -> one line of findings."""
    lines = workdir.read_lines(folder / "metrics.jsonl")
    evals = analysis.first_set(folder)
    record = json.loads((folder / "record.json").read_text())
    trained = [line for line in lines if "reward/mean" in line]
    line = {
        "reward": reward,
        "rate": rate,
        "seed": seed,
        "config_hash": record["config_hash"],
        "commit": record["attempts"][-1]["git"].get("commit"),
        "modified": record["attempts"][-1]["git"].get("modified"),
        "steps": lines[-1]["step"],
        "held_out": dataclasses.asdict(analysis.rise_and_fall_of(evals)),
        "mcs": analysis.mcs(lines),
        "collapse_step": analysis.collapse_step(lines),
        "eval_steps": [e["step"] for e in evals],
        "eval_avg": [round(sum(e["correct"]) / len(e["correct"]) / e["k"], 4) for e in evals],
        "seconds_per_step": round(sorted(x["timing_s/step"] for x in trained)[len(trained) // 2], 3),
        "curve_steps": [x["step"] for x in trained[::THIN]],
    }
    for name, metric in CURVES.items():
        line[name] = [round(x[metric], 4) for x in trained[::THIN]]
        line[f"{name}_last"] = round(trained[-1][metric], 4)
    return line


def run(jobs: int, only: str | None) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    kept = {(r["reward"], r["rate"], r["seed"]): r for r in read_runs()}
    todo = [c for c in cells(only) if kept.get(c, {}).get("config_hash") != expected_hash(*c)]
    print(f"{len(todo)} cells to run, {len(kept)} on file", flush=True)
    cores: queue.Queue = queue.Queue()
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    for i in range(jobs):
        cores.put(allowed[i % len(allowed)])
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(run_cell, cell, cores): cell for cell in todo}
        for i, future in enumerate(concurrent.futures.as_completed(futures)):
            line = future.result()
            kept[futures[future]] = line
            write_runs(kept)
            held = line["held_out"]
            print(
                f"{i + 1}/{len(todo)} {line['reward']} {line['rate']:g} seed {line['seed']}: "
                f"{held['base']:.3f} {held['peak']:.3f} {held['final']:.3f} mcs {line['mcs']}",
                flush=True,
            )


def read_runs() -> list[dict]:
    return workdir.read_lines(RUNS) if RUNS.is_file() else []


def write_runs(kept: dict) -> None:
    order = sorted(kept, key=lambda c: (GRID.REWARDS.index(c[0]), c[1], c[2]))
    text = "".join(json.dumps(kept[c]) + "\n" for c in order)
    beside = RUNS.with_suffix(".tmp")
    beside.write_text(text)
    os.replace(beside, RUNS)


# ---- drawing --------------------------------------------------------------------------------


def spread(values: list) -> str:
    """Median and range over seeds; 'never' counts as later than any step."""
    if all(v is None for v in values):
        return "never"
    if any(v is None for v in values):
        return " ".join("never" if v is None else str(v) for v in values)
    if all(isinstance(v, int) for v in values):
        return " ".join(map(str, values))
    middle = sorted(values)[len(values) // 2]
    return f"{middle:.2f} ({min(values):.2f}–{max(values):.2f})"


def table(runs: list[dict]) -> str:
    head = (
        "| reward | rate | base | peak | at step | final | rise ± 95 % | fall ± 95 % | MCS | collapse step "
        "| length | cut | repetition |\n|" + " --- |" * 13 + "\n"
    )
    rows = []
    for reward in GRID.REWARDS:
        for rate in GRID.RATES:
            these = [r for r in runs if r["reward"] == reward and r["rate"] == rate]
            if not these:
                continue
            held = [r["held_out"] for r in these]
            of = lambda key, held=held: spread([h[key] for h in held])
            interval = lambda key, held=held: "; ".join(
                f"{h[key]['mean']:+.2f} [{h[key]['low']:+.2f}, {h[key]['high']:+.2f}]" for h in held
            )
            last = lambda key, these=these: spread([r[f"{key}_last"] for r in these])
            rows.append(
                f"| {reward} | {rate:g} | {of('base')} | {of('peak')} | {of('peak_step')} | {of('final')} "
                f"| {interval('rise')} | {interval('fall')} | {spread([r['mcs'] for r in these])} "
                f"| {spread([r['collapse_step'] for r in these])} | {last('length')} | {last('clip_ratio')} "
                f"| {last('repetition')} |"
            )
    return head + "\n".join(rows) + "\n"


def verdicts(runs: list[dict]) -> str:
    """Each finding, and in how many seeds it holds; computed from the runs, nothing else."""
    slowest, slow, fast = GRID.RATES
    held = lambda key: lambda r: r["held_out"][key]
    rise, fall, net = held("rise"), held("fall"), held("final_minus_base")
    findings = (
        *(
            ("self-certainty rises by 0.08 or more", "self_certainty", rate,
             lambda r: rise(r)["mean"] >= 0.08 and rise(r)["low"] > 0)
            for rate in (slowest, slow)
        ),
        ("self-certainty ends 0.10 or more below the base", "self_certainty", slow,
         lambda r: net(r)["mean"] <= -0.10 and net(r)["high"] < 0),
        ("majority voting rises by 0.15 or more", "majority_voting", fast,
         lambda r: rise(r)["mean"] >= 0.15 and rise(r)["low"] > 0),
        ("majority voting falls 0.08 or more below its peak", "majority_voting", fast,
         lambda r: fall(r)["mean"] <= -0.08 and fall(r)["high"] < 0),
        *(
            (f"ground truth {what}", "ground_truth", rate, test)
            for rate in (slow, fast)
            for what, test in (
                ("rises", lambda r: rise(r)["low"] > 0),
                ("ends within 0.03 of its peak", lambda r: fall(r)["mean"] >= -0.03),
            )
        ),
        *(
            ("random: final - base has 0 in its interval", "random", rate,
             lambda r: net(r)["low"] <= 0 <= net(r)["high"])
            for rate in (slowest, slow, fast)
        ),
        ("format: an answer in 99 % of responses at the end", "format", fast,
         lambda r: r["own_reward_last"] >= 0.99),
        ("length: responses at the end half as long again as at first", "length", fast,
         lambda r: r["length_last"] >= 1.5 * r["length"][0]),
    )  # fmt: skip
    out = "| finding | rate | holds in |\n| --- | --- | --- |\n"
    for text, reward, rate, test in findings:
        these = [r for r in runs if r["reward"] == reward and r["rate"] == rate]
        out += f"| {text} | {rate:g} | {sum(map(test, these))} of {len(these)} seeds |\n"
    return out


def draw() -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    runs = read_runs()
    stale = [r for r in runs if r["config_hash"] != expected_hash(r["reward"], r["rate"], r["seed"])]
    commits = sorted({f"{r['commit'][:12]}{'+changes' if r['modified'] else ''}" for r in runs})
    missing = len(list(cells(None))) - len(runs)
    text = "# The laboratory's grid\n\n"
    text += (
        f"{len(GRID.REWARDS)} rewards × {len(GRID.RATES)} rates × {len(GRID.SEEDS)} seeds, base `lab:plain`, "
        f"{runs[0]['steps']} steps of 32 × 8. {len(runs)} runs on file, {missing} missing, {len(stale)} stale; "
        f"commits {', '.join(commits)}; `+changes` marks a tree with uncommitted changes, here new lines of this "
        "folder.\n\nHeld-out accuracy (avg@2 at T = 0.6, top-p 0.95) on the 300 questions "
        "of odd position; the peak step is chosen on the 300 of even position. Numbers over seeds are median "
        "(range); intervals are paired 95 % bootstraps over questions, one a seed. MCS: first step with reward "
        "accuracy below 1 %. Collapse step: ground-truth reward below half the base's for 5 steps. Length, cut "
        "(responses that hit the limit of 44 tokens) and repetition (share of repeated 4-grams) are the last "
        "step's.\n\nRegenerate with `python benchmarks/grid.py draw`; run again with "
        "`python benchmarks/grid.py run`.\n\n![held-out accuracy](held_out.png)\n\n"
        "![votes, length, repetition, entropy](dynamics.png)\n\n"
    )
    text += "## Findings\n\n" + verdicts(runs) + "\n## All cells\n\n"
    (OUT / "README.md").write_text(text + table(runs))
    plt.rcParams.update({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False})
    colours = dict(zip(GRID.RATES, ("#7a9a3a", "#1f5fa8", "#d9711c"), strict=True))
    panels(plt, runs, colours, "eval_steps", ("eval_avg",), ("held-out accuracy",), "held_out.png")
    panels(
        plt, runs, colours, "curve_steps", ("reward_accuracy", "length", "repetition", "entropy"),
        ("reward accuracy", "response length", "repetition rate", "entropy (nats)"), "dynamics.png",
    )  # fmt: skip
    print(f"wrote {OUT}/README.md, held_out.png, dynamics.png from {len(runs)} runs")


def panels(plt, runs, colours, steps, names, labels, file) -> None:
    """One column a reward, one row a curve, one line a seed, one colour a rate."""
    columns = len(GRID.REWARDS)
    figure, axes = plt.subplots(
        len(names), columns, figsize=(2.0 * columns, 1.9 * len(names)), sharex=True, sharey="row",
        layout="constrained", squeeze=False,
    )  # fmt: skip
    for j, reward in enumerate(GRID.REWARDS):
        for i, (name, label) in enumerate(zip(names, labels, strict=True)):
            axis = axes[i][j]
            for r in (r for r in runs if r["reward"] == reward):
                axis.plot(r[steps], r[name], color=colours[r["rate"]], lw=1, alpha=0.8)
            if j == 0:
                axis.set_ylabel(label)
            if i == 0:
                axis.set_title(reward, fontsize=8)
            if i == len(names) - 1:
                axis.set_xlabel("step")
    handles = [plt.Line2D([], [], color=c, label=f"lr {rate:g}") for rate, c in colours.items()]
    axes[0][-1].legend(handles=handles, frameon=False, fontsize=7)
    figure.savefig(OUT / file, dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("run", "draw"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", choices=GRID.REWARDS)
    options = parser.parse_args()
    run(options.jobs, options.only) if options.what == "run" else draw()
