"""Countdown under many judges: where does self-verification rise, where does it collapse, and does theory know?

python -m urlvr_jax.main study judges run      measure each judge at the start, then run what is missing
python -m urlvr_jax.main study judges draw     table, rules and figure of docs/judges, from its files
python -m urlvr_jax.main study judges check    list missing cells and stale lines; exit status 1 if any
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from collections import Counter
from typing import NamedTuple

import numpy as np

from urlvr_jax import theory
from urlvr_jax.lab.countdown_world import WORDINGS
from urlvr_jax.measure import drawing
from urlvr_jax.measure.intervals import over_seeds, rank_correlation, resampled, spread
from urlvr_jax.runtime.lines import write_whole
from urlvr_jax.studies import cell as cell_lib
from urlvr_jax.studies import page
from urlvr_jax.studies.cell import Cell, read_runs, root
from urlvr_jax.studies.rule import Need, Rule, verdict_table
from urlvr_jax.studies.run import condense, run_missing

SEEDS = (0, 1, 2)
STEPS, LONG = 60, 120
LEAST = 12  # judges, for a law
QUESTIONS, GROUP, TIMES = 150, 8, 8  # of which a judge is measured: solutions to each, verdicts on each
BASES = ("judge", "computing", "checker")  # lab:countdown_...
JUDGED = {"reward.name": "self_verify"}
SECOND = {"verify.template": WORDINGS["response_first"]}


class Arm(NamedTuple):
    """A base that solves, and what is done about its judge."""

    base: str  # of BASES
    overrides: dict[str, object]


def _judges() -> dict[str, Arm]:
    """{name: arm}: each base judges itself, as it was, or by five votes; and then what is particular."""
    out = {}
    for base in BASES:
        out[f"{base}, itself"] = Arm(base, JUDGED)
        out[f"{base}, as it was"] = Arm(base, JUDGED | {"verify.judge": "base"})
        out[f"{base}, five votes"] = Arm(base, JUDGED | {"verify.votes": 5})
    computing = {"verify.verdict": "lab_last", "verify.max_new_tokens": 24}
    for other in BASES[1:]:
        out[f"judge, by {other}"] = Arm(
            "judge", JUDGED | {"verify.judge": f"lab:countdown_{other}"} | computing
        )
    out["checker, hot"] = Arm("checker", JUDGED | {"verify.temperature": 1.0})
    return out


JUDGES = _judges()
CONTROLS = {
    f"{base}, {name}": Arm(base, {"reward.name": reward})
    for base in BASES
    for name, reward in (("oracle", "countdown"), ("trajectory entropy", "trajectory_level_entropy"))
}
# As often wrong as the judge at its start, but by chance.
CHANCE = {
    "judge, errors by chance": Arm(
        "judge", {"reward.name": "noisy_verifier(yes_if_right=0.96, yes_if_wrong=0.34)"}
    )
}
LONGER = {
    "checker, question first, long": Arm("checker", JUDGED | {"steps": LONG}),
    "checker, response first, long": Arm("checker", JUDGED | SECOND | {"steps": LONG}),
    "checker, oracle, long": Arm("checker", {"reward.name": "countdown", "steps": LONG}),
    "checker, trajectory entropy, long": Arm(
        "checker", {"reward.name": "trajectory_level_entropy", "steps": LONG}
    ),
}
TAUGHT = {"reward.name": "coverrl", "verify.votes": 4, "verify.train": "majority"}
VOTED = {
    **{
        f"{base}, majority voting": Arm(base, {"reward.name": "majority_voting"})
        for base in ("judge", "checker")
    },
    **{f"{base}, CoVerRL": Arm(base, TAUGHT) for base in ("judge", "checker")},
}
ARMS = JUDGES | CONTROLS | CHANCE | VOTED | LONGER
HOLDING = ("checker, question first, long", "checker, response first, long")


def cells() -> list[Cell]:
    return [
        Cell(f"experiments/countdown.py:{arm.base}", seed, arm.overrides, {"arm": name})
        for name, arm in ARMS.items()
        for seed in SEEDS
    ]


def folder() -> pathlib.Path:
    return root() / "docs" / "judges"


def run(jobs: int) -> None:
    """Judges are measured first: what they say of the bases' solutions is known before any run."""
    for name in JUDGES:
        if _measured(name) is None:
            _measure(name)
    run_missing(cells(), folder() / "runs.jsonl", jobs, lambda record, cell: condense(record, cell, thin=4))


def check() -> int:
    return cell_lib.check(cells(), read_runs(folder() / "runs.jsonl"))


# ---- what a judge is like at the start ----------------------------------------------------------------


def cell_of(name: str) -> Cell:
    """The first seed's."""
    return next(cell for cell in cells() if cell.about["arm"] == name and cell.seed == SEEDS[0])


def _measured(name: str) -> dict | None:
    """A judge's rates and what it says of each solution, from the file; None where that has none of this judge and base."""
    line = next((line for line in read_runs(folder() / "judges.jsonl") if line["arm"] == name), None)
    return line if line and _of(name).items() <= line.items() else None


def _of(name: str) -> dict:
    """What tells whether a line is of this judge."""
    cell = cell_of(name)
    return {"config_hash": cell.hash, "base_sha256": cell.base_sha256, "judge_sha256": _judge_sha256(cell)}


def _measure(name: str) -> None:
    """By a process of its own, for it opens models; written to the file."""
    file = folder() / "judges.jsonl"
    lines = {line["arm"]: line for line in read_runs(file)}
    words = [sys.executable, str(root() / "benchmarks" / "checks" / "judge_rates.py"), "--arm", name]
    printed = subprocess.run(words, cwd=root(), stdout=subprocess.PIPE, text=True, check=True).stdout
    lines[name] = {"arm": name, **_of(name), **json.loads(printed)}
    file.parent.mkdir(parents=True, exist_ok=True)
    ordered = [lines[n] for n in JUDGES if n in lines]
    write_whole(file, "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in ordered))
    print(f"measured {name}", flush=True)


def _judge_sha256(cell: Cell) -> str | None:
    judge = cell.config.verify.judge
    return cell_lib.base_sha256(judge) if judge.startswith("lab:") else cell.base_sha256


# ---- theory --------------------------------------------------------------------------------------------


def predicted(correct: np.ndarray, reward: np.ndarray, inverse_beta: float) -> float:
    """Accuracy of the optimum of E[r] - beta KL, over samples of the base: bool and float `[Q, G]`.

    A judge whose verdict on y is yes with probability r(y) pays r(y) on average: the optimum weighs y by exp(r(y) / beta),
    question by question (paper, section on theory; `theory.optimum`).
    """
    uniform = np.full(correct.shape, 1 / correct.shape[1])
    return float((theory.optimum(uniform, reward, 1 / inverse_beta) * correct).sum(axis=1).mean())


def inverse_beta_of(correct: np.ndarray, accuracy: float) -> float:
    """The 1 / beta at which the exact checker's optimum has this accuracy; the nearest of a fine grid."""
    grid = np.geomspace(0.01, 30, 300)
    found = [predicted(correct, correct.astype(float), x) for x in grid]
    return float(grid[np.argmin(np.abs(np.array(found) - accuracy))])


class Point(NamedTuple):
    """A judge: its rates at the start, what theory expects, and what its runs did."""

    name: str
    true_positive: dict[str, float]
    false_positive: dict[str, float]
    expected: float  # change of accuracy at T = 1
    changes: list[float]  # final - base of held-out accuracy, a seed each


def points(runs: list[dict]) -> list[Point]:
    """Of every judge that was measured and has its runs, and the oracle's on its base.

    Theory's 1 / beta is what takes the base as far as the oracle's runs went, in what they sampled.
    """
    out = []
    count = Counter(r["arm"] for r in runs)
    for name, arm in JUDGES.items():
        judged = _measured(name)
        if judged is None or min(count[name], count[f"{arm.base}, oracle"]) < len(SEEDS):
            continue
        correct, accepted = np.array(judged["correct"], bool), np.array(judged["yes"]) / TIMES
        oracle = [r for r in runs if r["arm"] == f"{arm.base}, oracle"]
        strength = inverse_beta_of(correct, float(np.mean([np.mean(r["truth"][-3:]) for r in oracle])))
        held = [r["held_out"] for r in runs if r["arm"] == name]
        out.append(
            Point(
                name,
                judged["true_positive_rate"],
                judged["false_positive_rate"],
                predicted(correct, accepted, strength) - correct.mean(),
                [h["final"] - h["base"] for h in held],
            )
        )
    return out


# ---- rules, written before the runs ---------------------------------------------------------------------

FIXED_IN = "eddde82"


def _rules(arm: str) -> tuple[Rule, ...]:
    where = {"arm": arm}
    stands = (
        Need("held_out.fall.mean", ">", -0.10),
        Need("collapse_step", "is", None),
        Need("mcs", "is", None),
    )
    of = lambda need, text, other: Rule(
        text, where, (need,), FIXED_IN, against={"arm": f"checker, {other}, long"}
    )
    return (
        of(Need("held_out.final", ">=", -0.10), "ends within 0.10 of the oracle", "oracle"),
        of(
            Need("held_out.final", ">=", 0.15),
            "ends 0.15 or more above trajectory entropy",
            "trajectory entropy",
        ),
        Rule("no collapse, and no fall of 0.10 below its peak", where, stands, FIXED_IN),
    )


RULES = tuple(rule for arm in HOLDING for rule in _rules(arm)) + (
    Rule(
        "errors by chance end 0.15 or more above a judge's own, as frequent at the start",
        {"arm": "judge, errors by chance"},
        (Need("held_out.final", ">=", 0.15),),
        FIXED_IN,
        against={"arm": "judge, itself"},
    ),
)


def laws(found: list[Point]) -> list[tuple[str, str, str]]:
    """Rules over all judges: text, what was measured with an interval over seeds, whether it holds by its mean.

    None of fewer than LEAST judges.
    """
    if len(found) < LEAST:
        return []
    low = np.array([p.false_positive["mean"] for p in found])
    expected = np.array([p.expected for p in found])
    change = lambda seeds: np.mean([[p.changes[s] for s in seeds] for p in found], axis=1)
    index = list(range(len(SEEDS)))
    fpr = resampled(lambda seeds: rank_correlation(low, change(seeds)), index)
    known = resampled(lambda seeds: rank_correlation(expected, change(seeds)), index)
    signs = resampled(lambda seeds: float(np.mean((expected > 0) == (change(seeds) > 0))), index)
    crossing = resampled(lambda seeds: _crossing(low, change(seeds)), index)
    holds = lambda yes: "yes" if yes else "no"
    return [
        (
            "Spearman of false positives at the start and final - base is -0.7 or less",
            str(fpr),
            holds(fpr.mean <= -0.7),
        ),
        ("Spearman of theory's change and the runs' is 0.7 or more", str(known), holds(known.mean >= 0.7)),
        ("theory has the right sign for 0.8 of the judges or more", str(signs), holds(signs.mean >= 0.8)),
        (
            "the border: false positives at which final - base is 0, by a line through all judges",
            str(crossing),
            "-",
        ),
    ]


def law_table(found: list[Point]) -> str:
    """The laws, or that there are too few judges for one."""
    if len(found) < LEAST:
        return f"A law over all judges takes {LEAST} of them: {len(found)} are measured and have their runs so far.\n"
    return page.table(("over all judges", "measured", "holds"), laws(found))


def _crossing(x: np.ndarray, y: np.ndarray) -> float:
    slope, at_zero = np.polyfit(x, y, 1)
    return float(-at_zero / slope)


# ---- the page --------------------------------------------------------------------------------------------

HEAD = ("base, judge", "TPR at the start", "FPR at the start", "theory", "base → peak → final", "final - base", "collapse step", "FPR at the end")  # fmt: skip


def _interval(x: dict[str, float]) -> str:
    return f"{x['mean']:.2f} [{x['low']:.2f}, {x['high']:.2f}]"


def table(found: list[Point], runs: list[dict]) -> str:
    """A row a judge, those with the fewest false positives first."""
    rows = []
    for p in sorted(found, key=lambda p: p.false_positive["mean"]):
        own = [r for r in runs if r["arm"] == p.name]
        last = spread([_late(r["false_positive_rate"]) for r in own])
        rates = _interval(p.true_positive), _interval(p.false_positive), f"{p.expected:+.2f}"
        rows.append((p.name, *rates, *_course(own), last))
    return page.table(HEAD, rows)


def _course(own: list[dict]) -> tuple[str, str, str]:
    median = lambda key: f"{np.median([r['held_out'][key] for r in own]):.2f}"
    change = over_seeds([r["held_out"]["final"] - r["held_out"]["base"] for r in own])
    return (
        " → ".join(map(median, ("base", "peak", "final"))),
        str(change),
        spread([r["collapse_step"] for r in own]),
    )


def _late(values: list) -> float:
    known = [v for v in values if v is not None]
    return round(sum(known[-3:]) / len(known[-3:]), 4)


def others(runs: list[dict]) -> str:
    """A row for each arm that is no judge of the border."""
    of = lambda name: [r for r in runs if r["arm"] == name]
    rows = [
        (name, *_course(of(name))) for name in ARMS if name not in JUDGES and len(of(name)) == len(SEEDS)
    ]
    return page.table(("base, reward", *HEAD[4:7]), rows)


def draw() -> None:
    """Write the page and its figure."""
    lines = read_runs(folder() / "runs.jsonl")
    runs = cell_lib.fresh(cells(), lines)
    found = points(runs)
    text = (
        "# Judges: where self-verification rises and where it collapses\n\n"
        f"{len(JUDGES)} judges × {len(SEEDS)} seeds at one setting, `experiments/countdown.py`, {STEPS} steps; two wordings of the best "
        f"for {LONG}. {page.on_file(cells(), lines)}. The bases are `lab:countdown_...` ([laboratory](../../urlvr_jax/lab/README.md)): "
        "*judge* says yes or no at once; *computing* works the answer out first; *checker* also writes the target beside what comes out. "
        "A base judges *itself* as it changes, *as it was* at the start, or by *five votes*; *by* another model; *hot*: at T = 1 instead of "
        "0.5.\n\n"
        f"Regenerate with `python -m urlvr_jax.main study judges draw`; run again with `python -m urlvr_jax.main study judges run`.\n\n"
        "![final minus base against the judge's false positives, its true positives, and theory](judges.png)\n\n"
        f"## Rules\n\n{verdict_table(RULES, runs)}\n{law_table(found)}\n"
        f"All rules were fixed in `{FIXED_IN}`. Differences of final held-out accuracy: mean over the seeds and a 95 % t interval; over all "
        "judges: bootstrap over seeds.\n\n"
        f"## Judges\n\n{table(found, runs)}\n"
        f"TPR, FPR at the start: of {QUESTIONS} held-out questions × {GROUP} solutions of the base at T = 1, each judged "
        f"{TIMES} times. Theory: the change of accuracy at T = 1 that the optimum under this judge has, π ∝ π_ref exp(r / β) with r the chance of a "
        "yes to each of these solutions, and with the β at which the oracle's optimum is as good as the oracle's runs became. FPR at the "
        "end: the last three steps drawn.\n\n"
        f"## Beside them\n\n{others(runs)}\n"
        "Read of these runs: [notes](notes.md).\n"
    )
    (folder() / "README.md").write_text(text)
    _figure(found)
    print(f"wrote {folder()}/README.md and judges.png from {len(runs)} runs")


def _figure(found: list[Point]) -> None:
    plt = drawing.pyplot(8)
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained", sharey=True)
    colours = dict(zip(BASES, ("#1f5fa8", "#d9711c", "#2e8b57"), strict=True))
    for p in found:
        base = JUDGES[p.name].base
        for axis, x in zip(
            axes, (p.false_positive["mean"], p.true_positive["mean"], p.expected), strict=True
        ):
            axis.plot([x] * len(p.changes), p.changes, ".", color=colours[base], alpha=0.5)
            axis.plot(x, np.mean(p.changes), "o", color=colours[base], mfc="none")
            axis.annotate(
                p.name.partition(", ")[2],
                (x, np.mean(p.changes)),
                fontsize=6,
                xytext=(3, 2),
                textcoords="offset points",
            )
    for axis, title in zip(
        axes,
        ("false positives at the start", "true positives at the start", "theory: change at the optimum"),
        strict=True,
    ):
        axis.axhline(0, color="#888888", lw=0.6)
        axis.set_xlabel(title)
    axes[0].set_ylabel("held-out accuracy, final - base")
    handles = [plt.Line2D([], [], color=c, marker="o", ls="", label=base) for base, c in colours.items()]
    figure.legend(
        handles=handles, frameon=False, fontsize=8, ncols=len(handles), loc="outside lower center"
    )
    figure.savefig(folder() / "judges.png", dpi=130)
    plt.close(figure)
