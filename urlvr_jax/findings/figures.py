"""Figures of findings: one colour an arm, one line a seed."""

from __future__ import annotations

import math
import pathlib

from urlvr_jax.findings.finding import Finding
from urlvr_jax.measure import drawing

MANY = 8  # arms, and more: coloured along a scale, without a legend of names
WIDTH, HEIGHT = 3.2, 2.6  # inches of a panel
LINE = 0.16  # inches of a line of the legend


def points(line: dict, name: str) -> tuple[list, list]:
    """Steps and values of a curve, or of the first question file's accuracy ("eval_avg"); empty where there is none."""
    if name == "eval_avg":
        return line["eval_steps"], line["eval_avg"]
    values = line.get("curves", {}).get(name, [])
    known = [(step, v) for step, v in enumerate(values, start=1) if v is not None]
    return [step for step, _ in known], [v for _, v in known]


def averaged(curve: tuple[list, list], over: int = 5) -> tuple[list, list]:
    """Trailing means, so that a curve of every step can be read."""
    steps, values = curve
    if len(values) < 4 * over:
        return curve
    means = [
        sum(values[max(0, i - over + 1) : i + 1]) / len(values[max(0, i - over + 1) : i + 1])
        for i in range(len(values))
    ]
    return steps, means


def colours(names: list[str], pyplot) -> dict[str, object]:
    """Of arms: the drawing's own, or along a scale where there are many."""
    fixed = (drawing.BLUE, drawing.ORANGE, drawing.GREEN, *drawing.OTHERS[2:], drawing.GREY)
    if len(names) <= len(fixed):
        return dict(zip(names, fixed, strict=False))
    scale = pyplot.get_cmap("viridis")
    return {name: scale(i / (len(names) - 1)) for i, name in enumerate(names)}


def draw(finding: Finding, runs: dict[str, list[dict]], file: pathlib.Path) -> None:
    """runs: {arm: its lines, one a seed}."""
    plt = drawing.pyplot(8)
    columns = min(4, len(finding.panels))
    rows = math.ceil(len(finding.panels) / columns)
    arms = [name for name in finding.arms if runs.get(name)]
    colour = colours(arms, plt)
    of_legend = min(4, 2 * columns, len(arms)) if arms and len(arms) <= 2 * MANY else 0
    lines = math.ceil(len(arms) / of_legend) if of_legend else 0
    size = (WIDTH * columns, HEIGHT * rows + 0.3 + LINE * lines)
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    for axis, (name, label) in zip(axes.flat, finding.panels, strict=False):
        for arm in arms:
            for line in runs[arm]:
                drawing.curve(axis, averaged(points(line, name)), color=colour[arm], lw=1, alpha=0.85)
        axis.set_title(label, fontsize=8)
        axis.set_xlabel("training step")
    for axis in list(axes.flat)[len(finding.panels) :]:
        axis.axis("off")
    if of_legend:
        handles = [plt.Line2D([], [], color=colour[arm], label=arm) for arm in arms]
        figure.legend(
            handles=handles,
            frameon=False,
            fontsize=7.5,
            ncols=of_legend,
            loc="outside lower center",
        )
    figure.savefig(file, dpi=120, bbox_inches="tight")  # a legend may be wider than its panel
    plt.close(figure)
