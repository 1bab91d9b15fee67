"""One picture of all experiments: docs/experiments/courses.png."""

from __future__ import annotations

import pathlib
import textwrap

from urlvr_jax.measure import drawing

COLUMNS = 5


def draw(rows: list[tuple[str, list[dict]]], file: pathlib.Path) -> None:
    """A panel a row, given as its name and its runs: held-out accuracy of each seed, and what the policy is paid where all of
    that lies within 0 and 1."""
    plt = drawing.pyplot(7)
    height = -(-len(rows) // COLUMNS)
    figure, axes = plt.subplots(
        height, COLUMNS, figsize=(2.1 * COLUMNS, 1.55 * height), layout="constrained", squeeze=False
    )
    for axis in axes.flat[len(rows) :]:
        axis.axis("off")
    for axis, (name, runs) in zip(axes.flat, rows, strict=False):
        paid = [x for run in runs for x in run.get("own_reward", [None])]
        a_share = all(x is not None and 0 <= x <= 1 for x in paid) and any(paid)  # deviations have mean 0
        for run in runs:
            if a_share:
                axis.plot(run["curve_steps"], run["own_reward"], color=drawing.ORANGE, lw=0.6, alpha=0.7)
            axis.plot(run["eval_steps"], run["eval_avg"], color=drawing.BLUE, lw=1.2, alpha=0.8)
        drawing.span(axis, 0, 1)
        axis.set_title("\n".join(textwrap.wrap(name, 38)[:3]), fontsize=6)
    handles = [plt.Line2D([], [], color=c) for c in (drawing.BLUE, drawing.ORANGE)]
    labels = ("held-out accuracy, a line a seed", "what the policy is paid, where it is within 0 and 1")
    figure.legend(handles, labels, frameon=False, ncols=2, loc="outside lower center")
    figure.savefig(file, dpi=110, metadata={"Software": None})
    plt.close(figure)
