"""Countdown in the laboratory: self-verification in two wordings, trajectory entropy, the oracle; three seeds.

python -m urlvr_jax.main study countdown run      run what is missing
python -m urlvr_jax.main study countdown draw     table, verdicts and figure of docs/countdown, from its runs.jsonl
python -m urlvr_jax.main study countdown check    list missing cells and stale lines; exit status 1 if any
"""

from __future__ import annotations

import functools
import pathlib

from urlvr_jax.lab.countdown_world import WORDINGS
from urlvr_jax.measure import drawing
from urlvr_jax.measure.intervals import spread
from urlvr_jax.studies import cell as cell_lib
from urlvr_jax.studies import page
from urlvr_jax.studies.cell import Cell, read_runs, root
from urlvr_jax.studies.rule import Need, Rule, verdict_table
from urlvr_jax.studies.run import condense, run_missing

SEEDS = (0, 1, 2)
JUDGES = {  # label: the wording of the verification prompt
    "self-verification, question first": "question_first",
    "self-verification, response first": "response_first",
}
ARMS = {  # label: the keys of its runs
    "oracle": {"reward.name": "countdown"},
    **{
        label: {"reward.name": "self_verify", "verify.template": WORDINGS[wording]}
        for label, wording in JUDGES.items()
    },
    "trajectory entropy": {"reward.name": "trajectory_level_entropy"},
}
COLOURS = dict(zip(ARMS, ("#2e8b57", "#1f5fa8", "#6fa8dc", "#d9711c"), strict=True))


def _rules(judge: str) -> tuple[Rule, ...]:
    where = {"arm": judge}
    stands = (
        Need("held_out.fall.mean", ">", -0.10),
        Need("collapse_step", "is", None),
        Need("mcs", "is", None),
    )
    return (
        Rule(
            "ends within 0.10 of the oracle",
            where,
            (Need("held_out.final", ">=", -0.10),),
            "a0389f5",
            against={"arm": "oracle"},
        ),
        Rule(
            "ends 0.15 or more above trajectory entropy",
            where,
            (Need("held_out.final", ">=", 0.15),),
            "a0389f5",
            against={"arm": "trajectory entropy"},
        ),
        Rule("no collapse, and no fall of 0.10 below its peak", where, stands, "a0389f5"),
    )


RULES = tuple(rule for judge in JUDGES for rule in _rules(judge))


def cells() -> list[Cell]:
    return [
        Cell("experiments/countdown.py", seed, overrides, {"arm": arm})
        for arm, overrides in ARMS.items()
        for seed in SEEDS
    ]


def folder() -> pathlib.Path:
    return root() / "docs" / "countdown"


def run(jobs: int) -> None:
    line_of = functools.partial(condense, thin=4)
    run_missing(cells(), folder() / "runs.jsonl", jobs, line_of)


def check() -> int:
    return cell_lib.check(cells(), read_runs(folder() / "runs.jsonl"))


# ---- the page -------------------------------------------------------------------------------

HEAD = (
    "reward", "base", "peak", "at step", "final", "final - base ± 95 %", "collapse step", "TPR first → last",
    "FPR first → last",
)  # fmt: skip


def table(runs: list[dict]) -> str:
    """A row an arm, over its seeds."""
    return page.table(HEAD, [(arm, *_over_seeds([r for r in runs if r["arm"] == arm])) for arm in ARMS])


def _over_seeds(runs: list[dict]) -> list[str]:
    held = [r["held_out"] for r in runs]
    accuracies = [spread([h[key] for h in held]) for key in ("base", "peak", "peak_step", "final")]
    change = page.intervals([h["final_minus_base"] for h in held])
    rates = [_first_to_last(runs, name) for name in ("true_positive_rate", "false_positive_rate")]
    return [*accuracies, change, spread([r["collapse_step"] for r in runs]), *rates]


def _first_to_last(runs: list[dict], name: str) -> str:
    """A curve's first value and the mean of its last three, where there are any; "-" without the curve."""
    curves = [[v for v in r[name] if v is not None] for r in runs if name in r]
    if not curves:
        return "-"
    last = [round(sum(curve[-3:]) / len(curve[-3:]), 4) for curve in curves]
    return f"{spread([curve[0] for curve in curves])} → {spread(last)}"


def draw() -> None:
    """Write the page and its figure."""
    lines = read_runs(folder() / "runs.jsonl")
    runs = cell_lib.fresh(cells(), lines)
    c = cells()[0].config
    wordings = ", ".join(f"`{WORDINGS[w]}` ({w.replace('_', ' ')})" for w in JUDGES.values())
    text = (
        "# Countdown: the policy as its own verifier\n\n"
        f"{len(ARMS)} rewards × {len(SEEDS)} seeds at one setting: base `{c.model.path}`, {c.steps} steps of "
        f"{c.data.prompts_per_step} × {c.rollout.group}, rate {drawing.number(c.optim.lr)}, no KL. {page.on_file(cells(), lines)}. "
        f"Held-out accuracy is avg@{c.eval.k} at T = {c.eval.temperature}, top-p {c.eval.top_p}, on the questions "
        "of odd position by the exact checker; the peak step is chosen on those of even position.\n\n"
        f"The verification prompts, both of which the base has read: {wordings}; T = {c.verify.temperature}. TPR and "
        "FPR: of a step's right and wrong rollouts, the share that the policy calls right; last: mean of the last "
        "three points drawn.\n\n"
        "Regenerate with `python -m urlvr_jax.main study countdown draw`; run again with "
        "`python -m urlvr_jax.main study countdown run`.\n\n"
        "![held-out accuracy, the verifier's rates, reward against truth](countdown.png)\n\n"
        f"## Findings\n\n{verdict_table(RULES, runs)}\n"
        "Differences of final held-out accuracy: mean over the seeds and a 95 % t interval; falls: paired "
        "intervals over questions, one a seed. Fixed in: the commit that first had the finding's text and "
        f"threshold.\n\n## Runs\n\n{table(runs)}\n"
        "What was tried and read of these runs: [notes](notes.md).\n"
    )
    (folder() / "README.md").write_text(text)
    _figure(runs)
    print(f"wrote {folder()}/README.md and countdown.png from {len(runs)} runs")


def _figure(runs: list[dict]) -> None:
    plt = drawing.pyplot(8)
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.1), layout="constrained")
    for r in runs:
        colour = COLOURS[r["arm"]]
        drawing.curve(axes[0], (r["eval_steps"], r["eval_avg"]), color=colour, lw=1.2, alpha=0.8)
        if r["arm"] in JUDGES:
            for name, style in (("true_positive_rate", "-"), ("false_positive_rate", "--")):
                points = [(s, v) for s, v in zip(r["curve_steps"], r[name], strict=True) if v is not None]
                axes[1].plot(*zip(*points, strict=True), style, color=colour, lw=1, alpha=0.8)
            axes[2].plot(r["curve_steps"], r["own_reward"], color=colour, lw=1, alpha=0.8)
            axes[2].plot(r["curve_steps"], r["truth"], ":", color=colour, lw=1, alpha=0.8)
    titles = (
        "held-out accuracy",
        "verifier: true positives, false positives (dashed)",
        "own reward, truth (dotted)",
    )
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title, fontsize=8)
        axis.set_xlabel("step")
        drawing.span(axis, 0, 1)
    handles = [plt.Line2D([], [], color=c, label=arm) for arm, c in COLOURS.items()]
    figure.legend(
        handles=handles, frameon=False, fontsize=8, ncols=len(handles), loc="outside lower center"
    )
    figure.savefig(folder() / "countdown.png", dpi=130)
    plt.close(figure)
