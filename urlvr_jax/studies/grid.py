"""The laboratory's grid: nine rewards, three rates, three seeds, one base.

    python benchmarks/grid.py run [--jobs 2] [--only REWARD]     run what is missing, add to docs/grid
    python benchmarks/grid.py draw                               table and figures from docs/grid

`run` appends one line a finished run to docs/grid/runs.jsonl: its findings, thinned curves, the
commit and the configuration's hash. Lines of another commit's configuration are never mixed: a cell
whose hash differs from the one on file is run again and replaces it.
"""

from __future__ import annotations

import argparse

from urlvr_jax.studies import run as studies
from urlvr_jax.studies.run import ROOT, Cell, commits, spread

OUT = ROOT / "docs" / "grid"
RUNS = OUT / "runs.jsonl"
GRID = studies.module("experiments/grid.py")


def cells() -> list[Cell]:
    return [
        Cell(f"experiments/grid.py:{reward},{rate}", seed, (("reward", reward), ("rate", rate)))
        for reward in GRID.REWARDS
        for rate in GRID.RATES
        for seed in GRID.SEEDS
    ]


# ---- drawing --------------------------------------------------------------------------------


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

    runs = studies.read(RUNS)
    hashes = {cell.hash for cell in cells()}
    stale = [r for r in runs if r["config_hash"] not in hashes]
    missing = len(hashes - {r["config_hash"] for r in runs})
    text = "# The laboratory's grid\n\n"
    text += (
        f"{len(GRID.REWARDS)} rewards × {len(GRID.RATES)} rates × {len(GRID.SEEDS)} seeds, base `lab:plain`, "
        f"{runs[0]['steps']} steps of 32 × 8. {len(runs)} runs on file, {missing} missing, {len(stale)} stale; "
        f"commits {commits(runs)}; `+changes` marks a tree with uncommitted changes, here new lines of this "
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
    if options.what == "run":
        only = lambda cell: options.only in (None, dict(cell.about)["reward"])
        studies.run_missing(cells(), RUNS, options.jobs, only=only)
    else:
        draw()
