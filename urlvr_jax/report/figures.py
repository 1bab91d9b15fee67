"""Figures for papers: vector graphics of one or two columns, and every number that is drawn beside them as CSV."""

from __future__ import annotations

import csv
import io
import pathlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from urlvr_jax import theory
from urlvr_jax.comparing.arms import Arm
from urlvr_jax.errors import UserError
from urlvr_jax.measure import collapse, drawing, ledger, questions
from urlvr_jax.measure.intervals import over_seeds
from urlvr_jax.report import bands, charts
from urlvr_jax.runtime.lines import write_whole
from urlvr_jax.untrusted.shown import visible

WIDTHS = {1: 3.25, 2: 6.75}  # inches of one and two columns, as conferences ask for
POINTS = 200
SUFFIXES = (".pdf", ".svg", ".png")
DASHES = ("-", "--", ":", "-.")


class Row(NamedTuple):
    """A point that is drawn, or a bar; ends of an interval are None of one seed."""

    panel: str
    arm: str
    x: object
    y: float
    low: float | None = None
    high: float | None = None


class Panel(NamedTuple):
    """Axes with their labels, and what is drawn there: lines, bars or points."""

    title: str
    x: str
    y: str
    kind: str
    rows: list[Row]


def rise(arms: list[Arm]) -> list[Panel]:
    """Held-out accuracy, and beside it what the policy is paid."""
    accuracy = _first_accuracy(arms)
    return [
        _curves(arms, accuracy, "held-out accuracy", accuracy.removeprefix("eval/").removesuffix("@*")),
        _curves(arms, "reward/mean", "its own reward", "mean reward"),
    ]


def alignment(arms: list[Arm]) -> list[Panel]:
    """How the reward ranks right and wrong responses, and whether majorities are right."""
    return [
        _curves(arms, "reward/rank_correlation", "reward and truth", "rank correlation"),
        _curves(arms, "train/ensemble/label_accuracy", "majorities", "share that is right"),
    ]


def mcs(arms: list[Arm]) -> list[Panel]:
    """The vote's reward accuracy, and the Model Collapse Step of each seed that has one."""
    panel = _curves(arms, collapse.VOTES, "Model Collapse Step", "reward accuracy of the vote")
    steps = [
        Row("Model Collapse Step", f"{arm.name}, seed {run.seed}", step, collapse.MCS_THRESHOLD)
        for arm in arms
        for run in arm.runs
        if (step := collapse.mcs(run.record.lines)) is not None
    ]
    return [panel, Panel("its steps", "training step", "", "points", steps)] if steps else [panel]


def flips(arms: list[Arm]) -> list[Panel]:
    """What became of the questions that came again, shares of them; means over seeds."""
    rows = []
    for arm in arms:
        shares: dict[str, list[float]] = {kind: [] for kind in ledger.KINDS}
        for run in arm.runs:
            kinds = questions.kinds(list(questions.paths(run.record.votes).values()))
            for kind in ledger.KINDS if kinds is not None else ():
                shares[kind].append(float(np.mean(kinds == kind)))
        for kind, values in shares.items():
            if values:
                d = over_seeds(values) if len(values) > 1 else None
                ends = (max(d.low, 0.0), min(d.high, 1.0)) if d else (None, None)
                rows.append(Row("flips", arm.name, kind, float(np.mean(values)), *ends))
    return [Panel("first visit against last", "", "share of questions", "bars", rows)]


def sharpening(arms: list[Arm]) -> list[Panel]:
    """The share of each question's first majority, measured against the law's."""
    rows = []
    for arm in arms:
        for run in arm.runs:
            found = list(questions.paths(run.record.votes).values())
            fit = questions.law(found) if found else None
            for i, p0 in zip(fit.questions, fit.p0, strict=True) if fit else ():
                p = found[i]
                law = theory.predicted(np.full(len(p.steps) - 1, p0), fit.inverse_beta, p.steps[1:])
                rows += [
                    Row("sharpening", arm.name, float(x), float(y))
                    for x, y in zip(law, p.first[1:], strict=True)
                ]
    return [Panel("the sharpening law", "predicted p_maj", "measured p_maj", "diagonal", rows)]


KINDS: dict[str, Callable[[list[Arm]], list[Panel]]] = {
    "rise": rise,
    "flips": flips,
    "alignment": alignment,
    "mcs": mcs,
    "sharpening": sharpening,
}


def _first_accuracy(arms: list[Arm]) -> str:
    evals = next((run.record.first_set() for arm in arms for run in arm.runs if run.record.evals), None)
    return f"eval/{evals[0]['set']}/avg@*" if evals else "no evaluation"


def _curves(arms: list[Arm], metric: str, title: str, y: str) -> Panel:
    rows = []
    for arm in arms:
        band = bands.band(arm, metric, points=POINTS)
        for x, *point in zip(*map(np.ndarray.tolist, band), strict=True) if band else ():
            rows.append(Row(title, arm.name, x, *(None if np.isnan(p) else p for p in point)))
    return Panel(title, "training step", y, "lines", rows)


def write(kind: str, arms: list[Arm], out: pathlib.Path, columns: int) -> pathlib.Path:
    """Draw a kind of KINDS into a file of matplotlib's (.pdf, .svg, .png), and its numbers beside it; the CSV file.

    UserError where the runs have nothing of it.
    """
    panels = [panel for panel in KINDS[kind](arms) if panel.rows]
    if out.suffix not in SUFFIXES:
        raise UserError(f"--out={out}: give a name that ends in {', '.join(SUFFIXES)}")
    if not out.absolute().parent.is_dir():
        raise UserError(f"--out={out}: there is no such folder to write it in")
    if not panels:
        raise UserError(f"--kind={kind}: these runs have nothing of it; {_needs(kind)}")
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(Row._fields)
    for panel in panels:
        writer.writerows([visible(x) if isinstance(x, str) else x for x in row] for row in panel.rows)
    _draw(panels, [arm.name for arm in arms], out, WIDTHS[columns])
    beside = out.with_suffix(".csv")
    write_whole(beside, table.getvalue())
    return beside


def _needs(kind: str) -> str:
    return {
        "flips": "it needs labels and questions that come again (more steps than an epoch has)",
        "sharpening": "it needs questions that come again (more steps than an epoch has)",
        "alignment": "it needs labels",
        "mcs": "it needs labels",
    }.get(kind, "it needs metrics")


def _draw(panels: list[Panel], arms: list[str], out: pathlib.Path, width: float) -> None:
    plt = drawing.pyplot(7)
    beside = 1 if width < 4 else len(panels)
    rows = -(-len(panels) // beside)
    figure, axes = plt.subplots(
        rows, beside, figsize=(width, 2.1 * rows), layout="constrained", squeeze=False
    )
    for panel, axis in zip(panels, axes.flat, strict=False):
        axis.set(title=visible(panel.title), xlabel=visible(panel.x), ylabel=visible(panel.y))
        {"lines": _lines, "bars": _bars, "points": _points, "diagonal": _diagonal}[panel.kind](
            axis, panel, arms
        )
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    handles, labels = axes.flat[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=2 if width < 4 else 4, frameon=False, fontsize=6.5)  # fmt: skip
    # Without the time of its making: the same runs give the same file.
    metadata = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(out.suffix)
    with plt.rc_context({"svg.hashsalt": "urlvr_jax"}):
        figure.savefig(out, dpi=300, metadata=metadata)
    plt.close(figure)


def _of(panel: Panel, arms: list[str]) -> Iterator[tuple[str, dict, list[Row]]]:
    """(name, style, rows) of each arm that has some."""
    for i, arm in enumerate(arms):
        rows = [row for row in panel.rows if row.arm == arm]
        if rows:
            colour, dash = charts.style(i)
            yield visible(arm), {"color": colour, "ls": DASHES[charts.DASHES.index(dash)]}, rows


def _lines(axis, panel: Panel, arms: list[str]) -> None:
    for name, style, rows in _of(panel, arms):
        x = [row.x for row in rows]
        if any(row.low is not None for row in rows):
            low, high = ([np.nan if end is None else end for end in ends] for ends in zip(*[row[4:] for row in rows], strict=True))  # fmt: skip
            axis.fill_between(x, low, high, color=style["color"], alpha=0.18, lw=0)
        axis.plot(x, [row.y for row in rows], lw=1.1, label=name, **style)


def _bars(axis, panel: Panel, arms: list[str]) -> None:
    shown = list(_of(panel, arms))
    wide = 0.8 / len(shown)
    for j, (name, style, rows) in enumerate(shown):
        at = np.arange(len(rows)) + (j - (len(shown) - 1) / 2) * wide
        reach = [[row.y - row.low if row.low is not None else 0 for row in rows], [row.high - row.y if row.high is not None else 0 for row in rows]]  # fmt: skip
        axis.bar(
            at,
            [row.y for row in rows],
            wide,
            yerr=reach,
            error_kw={"lw": 0.6},
            color=style["color"],
            label=name,
        )
    axis.set_xticks(
        range(len(ledger.KINDS)), [kind.replace(" ", "\n") for kind in ledger.KINDS], fontsize=5.5
    )


def _points(axis, panel: Panel, arms: list[str]) -> None:
    for i, arm in enumerate(arms):
        steps = [row.x for row in panel.rows if row.arm.rpartition(", seed")[0] == arm]
        axis.scatter(steps, [i] * len(steps), s=10, color=charts.style(i)[0])
    axis.set_yticks(range(len(arms)), [drawing.name(visible(arm), 16) for arm in arms])
    axis.set_ylim(-0.7, len(arms) - 0.3)


def _diagonal(axis, panel: Panel, arms: list[str]) -> None:
    for name, style, rows in _of(panel, arms):
        axis.scatter([row.x for row in rows], [row.y for row in rows], s=3, alpha=0.4, lw=0, color=style["color"], label=name)  # fmt: skip
    axis.plot([0, 1], [0, 1], lw=0.7, ls="--", color=drawing.GREY)
    axis.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
