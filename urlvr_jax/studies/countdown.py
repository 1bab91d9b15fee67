"""Countdown in the laboratory: self-verification in two wordings, trajectory entropy, the oracle; three seeds.

python benchmarks/countdown.py run [--jobs 2]      run what is missing, add to docs/countdown
python benchmarks/countdown.py draw                table, verdicts and figure from docs/countdown/runs.jsonl
python benchmarks/countdown.py rates MODEL         how well a base judges its own solutions, in each wording
"""

from __future__ import annotations

import argparse
import functools
import json
import sys

import numpy as np

from urlvr_jax.studies import run as studies
from urlvr_jax.studies.run import ROOT, Cell, commits, spread

OUT = ROOT / "docs" / "countdown"
RUNS = OUT / "runs.jsonl"
SEEDS = (0, 1, 2)
ARMS = {  # label: the experiment's argument
    "oracle": "countdown",
    "self-verification, question first": "self_verify,question_first",
    "self-verification, response first": "self_verify,response_first",
    "trajectory entropy": "trajectory_level_entropy",
}
JUDGES = tuple(arm for arm, argument in ARMS.items() if argument.startswith("self_verify"))
COLOURS = dict(zip(ARMS, ("#2e8b57", "#1f5fa8", "#6fa8dc", "#d9711c"), strict=True))


def cells() -> list[Cell]:
    return [
        Cell(f"experiments/countdown.py:{argument}", seed, (("arm", arm),))
        for arm, argument in ARMS.items()
        for seed in SEEDS
    ]


# ---- how well a base judges ------------------------------------------------------------------


def rates(model: str, wording: str, *, questions: int = 150, group: int = 8, seed: int = 0) -> dict:
    """Of a base's own solutions to held-out questions at T = 1: how many are right, and how many of the right and
    of the wrong ones it says yes to, with 95 % intervals over questions."""
    from urlvr_jax.data import stream
    from urlvr_jax.measure.intervals import bootstrap_interval
    from urlvr_jax.rewards import expression, self_verification
    from urlvr_jax.rewards.judge import judge
    from urlvr_jax.runtime import opening
    from urlvr_jax.runtime.random_keys import random_key

    c = studies.configuration(f"experiments/countdown.py:self_verify,{wording}")
    c.model.path, c.rollout.group = model, group
    run = opening.open_run(c)
    engine, params, asked = run.engine, run.engine.place(run.base_params()), run.eval_sets[0][1]
    prompts = stream.take(asked, range(questions))
    out = engine.sample(
        engine.to_rollout(params), prompts, random_key(seed, "evaluate", 0), slots=64, temperature=1.0
    )
    verify = functools.partial(
        self_verification.ask, c, engine, params, run.tokenizer, prompts, key=random_key(seed, "verify", 0)
    )
    fn = expression.load("self_verify")
    judged = judge(c, fn, run.tokenizer, run.labels, prompts, out, out.stats, 0, (), verify)
    yes, correct = judged.verdicts == self_verification.YES, judged.correct
    found = {"avg": (correct.mean(axis=1), np.ones(questions, bool))}
    for name, these in (("true_positive_rate", correct), ("false_positive_rate", ~correct)):
        counts = these.sum(axis=1)
        found[name] = (yes & these).sum(axis=1) / np.maximum(counts, 1), counts > 0
    result = {}
    for name, (values, there) in found.items():
        low, high = bootstrap_interval(values[there])
        result[name] = {"mean": float(values[there].mean()), "low": low, "high": high}
    return result


# ---- drawing --------------------------------------------------------------------------------


def last(run: dict, name: str) -> float | None:
    """Mean of a curve's last three points that there are."""
    values = [v for v in run.get(name, ()) if v is not None][-3:]
    return round(sum(values) / len(values), 4) if values else None


def table(runs: list[dict]) -> str:
    out = (
        "| reward | base | peak | at step | final | final - base ± 95 % | collapse step "
        "| TPR first → last | FPR first → last |\n|" + " --- |" * 9 + "\n"
    )
    for arm in ARMS:
        these = [r for r in runs if r["arm"] == arm]
        of = lambda key, these=these: spread([r["held_out"][key] for r in these])
        nets = [r["held_out"]["final_minus_base"] for r in these]
        cells = [of("base"), of("peak"), of("peak_step"), of("final")]
        cells += ["; ".join(f"{n['mean']:+.2f} [{n['low']:+.2f}, {n['high']:+.2f}]" for n in nets)]
        cells += [spread([r["collapse_step"] for r in these])]
        for name in ("true_positive_rate", "false_positive_rate"):
            there = [r for r in these if name in r]
            first = [next(v for v in r[name] if v is not None) for r in there]
            cells += [f"{spread(first)} → {spread([last(r, name) for r in there])}" if there else "-"]
        out += f"| {arm} | {' | '.join(cells)} |\n"
    return out


def difference(runs: list[dict], one: str, other: str) -> tuple[float, float, float]:
    """Final held-out accuracy of one arm minus another's: mean over seeds, and a 95 % interval.

    Student's t with two degrees of freedom over the three seeds' paired differences, which share data order.
    """
    final = lambda arm: {r["seed"]: r["held_out"]["final"] for r in runs if r["arm"] == arm}
    a, b = final(one), final(other)
    values = np.array([a[s] - b[s] for s in SEEDS])
    reach = 4.303 * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(values.mean() - reach), float(values.mean() + reach)


def verdicts(runs: list[dict]) -> str:
    """What was aimed at, and whether it holds; computed from the runs, nothing else."""
    out = "| aim | measured | holds |\n| --- | --- | --- |\n"
    for arm in JUDGES:
        for text, other, test in (
            ("ends within 0.10 of the oracle", "oracle", lambda mean: mean >= -0.10),
            ("ends 0.15 or more above trajectory entropy", "trajectory entropy", lambda mean: mean >= 0.15),
        ):
            mean, low, high = difference(runs, arm, other)
            measured = f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"
            out += f"| {arm}: {text} | {measured} | {'yes' if test(mean) else 'no'} |\n"
        these = [r for r in runs if r["arm"] == arm]
        falls = [r["held_out"]["fall"] for r in these]
        stands = [r["collapse_step"] is None and r["mcs"] is None and f["mean"] > -0.10
                  for r, f in zip(these, falls, strict=True)]  # fmt: skip
        measured = "; ".join(f"{f['mean']:+.2f} [{f['low']:+.2f}, {f['high']:+.2f}]" for f in falls)
        out += f"| {arm}: no collapse, and no fall of 0.10 below its peak | {measured} | {sum(stands)} of {len(these)} seeds |\n"
    return out


def draw() -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    runs, wanted = studies.read(RUNS), cells()
    fresh = [r for r in runs if any(cell.has(r) for cell in wanted)]
    missing = [cell for cell in wanted if not any(cell.has(r) for r in runs)]
    if missing:
        print("missing or stale: " + ", ".join(f"{dict(m.about)['arm']} seed {m.seed}" for m in missing))
    template = {
        arm: studies.configuration(f"experiments/countdown.py:{ARMS[arm]}").verify.template
        for arm in JUDGES
    }
    c = wanted[0].config
    text = (
        "# Countdown: the policy as its own verifier\n\n"
        f"{len(ARMS)} rewards × {len(SEEDS)} seeds at one setting: base `{c.model.path}`, {c.steps} steps of "
        f"{c.data.prompts_per_step} × {c.rollout.group}, rate {c.optim.lr:g}, no KL. {len(runs)} runs on file, "
        f"{len(missing)} missing, {len(runs) - len(fresh)} stale; commits {commits(runs)}. Held-out accuracy is "
        f"avg@{c.eval.k} at T = {c.eval.temperature}, top-p {c.eval.top_p}, on the 150 questions of odd position by the exact "
        "checker; the peak step is chosen on those of even position.\n\n"
        "The verification prompts, both of which the base has read: "
        + ", ".join(f"`{template[arm]}` ({arm.split(', ')[1]})" for arm in JUDGES)
        + f"; T = {c.verify.temperature}. TPR and FPR: of a step's right and wrong rollouts, the share that the policy calls "
        "right; last: mean of the last three points drawn.\n\n"
        "Regenerate with `python benchmarks/countdown.py draw`; run again with `python benchmarks/countdown.py run`.\n\n"
        "![held-out accuracy, the verifier's rates, reward against truth](countdown.png)\n\n"
        "## Aims\n\n" + verdicts(runs)
        + "\nDifferences of final held-out accuracy: mean over three seeds and a 95 % t interval; falls: paired "
        "bootstraps over questions, one a seed.\n\n## Runs\n\n" + table(runs)
        + "\nWhy it does not hold here: [notes](notes.md).\n"
    )  # fmt: skip
    (OUT / "README.md").write_text(text)
    figure(plt, runs)
    print(f"wrote {OUT}/README.md and countdown.png from {len(runs)} runs")


def figure(plt, runs: list[dict]) -> None:
    plt.rcParams.update({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False})
    drawing, axes = plt.subplots(1, 3, figsize=(10, 2.8), layout="constrained")
    for r in runs:
        colour = COLOURS[r["arm"]]
        axes[0].plot(r["eval_steps"], r["eval_avg"], color=colour, lw=1.2, alpha=0.8)
        if r["arm"] in JUDGES:
            for name, style in (("true_positive_rate", "-"), ("false_positive_rate", "--")):
                points = [(s, v) for s, v in zip(r["curve_steps"], r[name], strict=True) if v is not None]
                axes[1].plot(*zip(*points, strict=True), style, color=colour, lw=1, alpha=0.8)
            axes[2].plot(r["curve_steps"], r["own_reward"], color=colour, lw=1, alpha=0.8)
            axes[2].plot(r["curve_steps"], r["truth"], ":", color=colour, lw=1, alpha=0.8)
    titles = ("held-out accuracy", "verifier: true positives, false positives (dashed)",
              "own reward, truth (dotted)")  # fmt: skip
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title, fontsize=8)
        axis.set_xlabel("step")
        axis.set_ylim(0, 1)
    handles = [plt.Line2D([], [], color=c, label=arm) for arm, c in COLOURS.items()]
    axes[0].legend(handles=handles, frameon=False, fontsize=6)
    drawing.savefig(OUT / "countdown.png", dpi=130)
    plt.close(drawing)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("run", "draw", "rates"))
    parser.add_argument("model", nargs="?", default="lab:countdown_judge")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    if given.what == "run":
        studies.run_missing(cells(), RUNS, given.jobs, thin=4)
    elif given.what == "draw":
        draw()
    else:
        found = {w: rates(given.model, w) for w in studies.module("experiments/countdown.py").WORDINGS}
        json.dump(found, sys.stdout, indent=1)
        print()


if __name__ == "__main__":
    main()
