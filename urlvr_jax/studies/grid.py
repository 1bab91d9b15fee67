"""The laboratory's grid: nine rewards, three rates, three seeds, one base. No reward is tuned apart.

python -m urlvr_jax.main study grid run      run what is missing (all cells: two hours of one core)
python -m urlvr_jax.main study grid draw     tables, verdicts and figures of docs/grid, from its runs.jsonl
python -m urlvr_jax.main study grid check    list missing cells and stale lines; exit status 1 if any
"""

from __future__ import annotations

import pathlib

from urlvr_jax.measure import drawing
from urlvr_jax.measure.intervals import spread
from urlvr_jax.studies import cell as cell_lib
from urlvr_jax.studies import page
from urlvr_jax.studies.cell import Cell, read_runs, root
from urlvr_jax.studies.rule import Need, Rule, verdict_table
from urlvr_jax.studies.run import condense, run_missing

REWARDS = (
    "self_certainty",
    "token_level_entropy",
    "trajectory_level_entropy",
    "probability",
    "majority_voting",
    "ground_truth",
    "random",
    "format",
    "length",
)
RATES = (1e-5, 3e-5, 3e-4)
SLOWEST, SLOW, FAST = RATES
SEEDS = (0, 1, 2)
COLOURS = dict(zip(RATES, ("#7a9a3a", "#1f5fa8", "#d9711c"), strict=True))

RISE, FALL, NET = "held_out.rise", "held_out.fall", "held_out.final_minus_base"


def _of(reward: str, rate: float) -> dict:
    return {"reward": reward, "rate": rate}


def _self_certainty_rises(rate: float, fixed_in: str) -> Rule:
    needs = Need(f"{RISE}.mean", ">=", 0.08), Need(f"{RISE}.low", ">", 0)
    return Rule("self-certainty rises by 0.08 or more", _of("self_certainty", rate), needs, fixed_in)


def _ground_truth(rate: float) -> tuple[Rule, Rule]:
    where = _of("ground_truth", rate)
    return (
        Rule("ground truth rises", where, (Need(f"{RISE}.low", ">", 0),), "c3dfd44"),
        Rule(
            "ground truth ends within 0.03 of its peak",
            where,
            (Need(f"{FALL}.mean", ">=", -0.03),),
            "c3dfd44",
        ),
    )


def _random_stays(rate: float, fixed_in: str) -> Rule:
    needs = Need(f"{NET}.low", "<=", 0), Need(f"{NET}.high", ">=", 0)
    return Rule("random: final - base has 0 in its interval", _of("random", rate), needs, fixed_in)


RULES = (
    _self_certainty_rises(SLOWEST, "efc6dd4"),
    _self_certainty_rises(SLOW, "c3dfd44"),
    Rule(
        "self-certainty ends 0.10 or more below the base",
        _of("self_certainty", SLOW),
        (Need(f"{NET}.mean", "<=", -0.10), Need(f"{NET}.high", "<", 0)),
        "c3dfd44",
    ),
    Rule(
        "majority voting rises by 0.15 or more",
        _of("majority_voting", FAST),
        (Need(f"{RISE}.mean", ">=", 0.15), Need(f"{RISE}.low", ">", 0)),
        "c3dfd44",
    ),
    Rule(
        "majority voting falls 0.08 or more below its peak",
        _of("majority_voting", FAST),
        (Need(f"{FALL}.mean", "<=", -0.08), Need(f"{FALL}.high", "<", 0)),
        "c3dfd44",
    ),
    *_ground_truth(SLOW),
    *_ground_truth(FAST),
    _random_stays(SLOWEST, "1760367"),
    _random_stays(SLOW, "c3dfd44"),
    _random_stays(FAST, "c3dfd44"),
    Rule(
        "format: an answer in 99 % of responses at the end",
        _of("format", FAST),
        (Need("own_reward_last", ">=", 0.99),),
        "c3dfd44",
    ),
    Rule(
        "length: responses at the end half as long again as at first",
        _of("length", FAST),
        (Need("length_last", ">=", 1.5, times="length.0"),),
        "c3dfd44",
    ),
)


def cells() -> list[Cell]:
    return [
        Cell("experiments/grid.py", seed, {"reward.name": reward, "optim.lr": rate}, _of(reward, rate))
        for reward in REWARDS
        for rate in RATES
        for seed in SEEDS
    ]


def folder() -> pathlib.Path:
    return root() / "docs" / "grid"


def run(jobs: int) -> None:
    run_missing(cells(), folder() / "runs.jsonl", jobs, condense)


def check() -> int:
    return cell_lib.check(cells(), read_runs(folder() / "runs.jsonl"))


# ---- the page -------------------------------------------------------------------------------

HEAD = (
    "reward", "rate", "base", "peak", "at step", "final", "rise ± 95 %", "fall ± 95 %", "MCS", "collapse step",
    "length", "cut", "repetition",
)  # fmt: skip


def table(runs: list[dict]) -> str:
    """A row a reward and rate, over its seeds."""
    rows = []
    for reward in REWARDS:
        for rate in RATES:
            these = [r for r in runs if r["reward"] == reward and r["rate"] == rate]
            if these:
                rows.append((reward, drawing.number(rate), *_over_seeds(these)))
    return page.table(HEAD, rows)


def _over_seeds(runs: list[dict]) -> list[str]:
    held = [r["held_out"] for r in runs]
    accuracies = [spread([h[key] for h in held]) for key in ("base", "peak", "peak_step", "final")]
    changes = [page.intervals([h[key] for h in held]) for key in ("rise", "fall")]
    last = ("mcs", "collapse_step", "length_last", "clip_ratio_last", "repetition_last")
    return [*accuracies, *changes, *(spread([r[key] for r in runs]) for key in last)]


def draw() -> None:
    """Write the page and its figures."""
    lines = read_runs(folder() / "runs.jsonl")
    runs = cell_lib.fresh(cells(), lines)
    c = cells()[0].config
    text = (
        "# The laboratory's grid\n\n"
        f"{len(REWARDS)} rewards × {len(RATES)} rates × {len(SEEDS)} seeds, base `{c.model.path}`, "
        f"{c.steps} steps of {c.data.prompts_per_step} × {c.rollout.group}. {page.on_file(cells(), lines)}.\n\n"
        f"Held-out accuracy (avg@{c.eval.k} at T = {c.eval.temperature}, top-p {c.eval.top_p}) on the questions of "
        "odd position; the peak step is chosen on those of even position. Numbers over seeds are median (range); differences are paired, with "
        "95 % intervals over questions, one a seed. MCS: first step with vote accuracy (the majority's, whatever is trained) below 1 %. Collapse step: "
        "ground-truth reward below half the base's for 5 steps. Length, cut (responses that hit the limit of "
        f"{c.rollout.max_new_tokens} tokens) and repetition (share of repeated 4-grams) are the last step's.\n\n"
        "What changed in the arithmetic since, and cells that were run again: "
        "[history](../history.md#the-grid-after-the-arithmetic-changed).\n\n"
        "Regenerate with `python -m urlvr_jax.main study grid draw`; run again with "
        "`python -m urlvr_jax.main study grid run`.\n\n"
        "![held-out accuracy](held_out.png)\n\n![votes, length, repetition, entropy](dynamics.png)\n\n"
        "## Findings\n\n"
        f"{verdict_table(RULES, runs)}\n"
        "Measured: an interval or a value for each seed, as the finding asks. Fixed in: the commit that first had "
        "the finding's text and threshold.\n\n"
        f"## All cells\n\n{table(runs)}"
    )
    (folder() / "README.md").write_text(text)
    _panels(runs, "eval_steps", {"eval_avg": "held-out accuracy"}, "held_out.png")
    curves = {
        "reward_accuracy": "vote accuracy",
        "length": "response length",
        "repetition": "repetition rate",
        "entropy": "entropy (nats)",
    }
    _panels(runs, "curve_steps", curves, "dynamics.png")
    print(f"wrote {folder()}/README.md, held_out.png, dynamics.png from {len(runs)} runs")


def _panels(runs: list[dict], steps: str, curves: dict[str, str], file: str) -> None:
    """One column a reward, one row a curve, one line a seed, one colour a rate. curves: {name: label}."""
    plt = drawing.pyplot(8)
    columns = len(REWARDS)
    figure, axes = plt.subplots(
        len(curves), columns, figsize=(2.0 * columns, 1.9 * len(curves) + 0.4), sharex=True, sharey="row",
        layout="constrained", squeeze=False,
    )  # fmt: skip
    for j, reward in enumerate(REWARDS):
        for i, (name, label) in enumerate(curves.items()):
            axis = axes[i][j]
            for r in (r for r in runs if r["reward"] == reward):
                drawing.curve(axis, (r[steps], r[name]), color=COLOURS[r["rate"]], lw=1, alpha=0.8)
            if j == 0:
                axis.set_ylabel(label)
            if i == 0:
                axis.set_title(reward, fontsize=8)
            if i == len(curves) - 1:
                axis.set_xlabel("step")
    handles = [
        plt.Line2D([], [], color=colour, label=f"lr {drawing.number(rate)}")
        for rate, colour in COLOURS.items()
    ]
    figure.legend(
        handles=handles, frameon=False, fontsize=8, ncols=len(handles), loc="outside lower center"
    )
    figure.savefig(folder() / file, dpi=130)
    plt.close(figure)
