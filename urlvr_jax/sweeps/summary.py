"""What a sweep showed: a number of each run, means over seeds with their intervals, a table and a figure."""

from __future__ import annotations

import csv
import difflib
import io
import json
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from urlvr_jax.errors import UserError
from urlvr_jax.measure import drawing
from urlvr_jax.measure.intervals import Difference, over_seeds
from urlvr_jax.measure.record import RunRecord
from urlvr_jax.runtime.lines import write_whole
from urlvr_jax.studies.page import table
from urlvr_jax.sweeps import axes
from urlvr_jax.sweeps.axes import SEED, Axis
from urlvr_jax.sweeps.run import DONE, FAILS, Run
from urlvr_jax.sweeps.watch import default_metric

NUMBERS = ("first", "best", "last")
MANY = 8  # settings: more of them are told apart by a scale of colours


class Told(NamedTuple):
    """One run in numbers."""

    run: Run
    values: dict[str, object]  # of its axes
    steps: list[int]
    curve: list[float]  # the metric, at `steps`

    @property
    def line(self) -> dict:
        """As it stands in summary.jsonl."""
        state = DONE if self.run.done else FAILS if self.run.error else "not finished"
        out = {"name": self.run.hash, **self.values, "state": state}
        if self.curve:
            best = int(np.argmax(self.curve))
            numbers = {"first": self.curve[0], "best": self.curve[best], "best_step": self.steps[best]}
            out |= numbers | {"last": self.curve[-1], "last_step": self.steps[-1]}
        return out | ({"error": self.run.error} if self.run.error else {})


class Setting(NamedTuple):
    """Runs that differ by their seed alone, and that are done."""

    values: dict[str, object]  # of the axes but the seed
    runs: list[Told]

    def over_seeds(self, name: str) -> Difference | None:
        """Of a number of NUMBERS: its mean and 95 % interval, both ends the mean where there is one run."""
        numbers = [told.line[name] for told in self.runs if told.curve]
        if len(numbers) < 2:
            return Difference(*numbers * 3) if numbers else None
        return over_seeds(numbers)

    def text(self, name: str) -> str:
        """Mean and interval; the number alone where there is one run."""
        number = self.over_seeds(name)
        if number is None or len(self.runs) < 2:
            return f"{number.mean:.3f}" if number else "-"
        return f"{number.mean:.3f} [{number.low:.3f}, {number.high:.3f}]"

    def band(self) -> tuple[list[int], list[Difference]]:
        """The steps that all its runs have, and there the mean and its interval."""
        curves = [dict(zip(told.steps, told.curve, strict=True)) for told in self.runs]
        steps = sorted(set.intersection(*map(set, curves))) if curves else []
        at = [[curve[step] for curve in curves] for step in steps]
        return steps, [over_seeds(x) if len(x) > 1 else Difference(*x * 3) for x in at]


def metric_of(runs: Sequence[Run], asked: str) -> str:
    """The metric that is told; UserError where no run has the one that is asked for."""
    known: dict[str, float] = {}
    for run in runs:
        if (run.folder / "metrics.jsonl").is_file():
            for line in RunRecord(run.folder).lines:
                known |= line
    if asked and known and asked not in known:
        near = difflib.get_close_matches(asked, known, 3, 0.4)
        raise UserError(
            f"--metric {asked} is in no run's lines: give for example {' or '.join(near or sorted(known)[:3])}"
        )
    return asked or default_metric(known)


def told(run: Run, values: dict[str, object], metric: str) -> Told:
    there = (run.folder / "metrics.jsonl").is_file()
    steps, curve = RunRecord(run.folder).curve(metric) if there else ([], [])
    return Told(run, values, steps, curve)


def settings(runs: Sequence[Told]) -> list[Setting]:
    """In the order of their first run; runs that are not done are left out."""
    out: dict[str, Setting] = {}
    for one in runs:
        values = {key: value for key, value in one.values.items() if key != SEED}
        setting = out.setdefault(repr(values), Setting(values, []))
        if one.run.done and one.curve:
            setting.runs.append(one)
    return list(out.values())


def page(found: Sequence[Setting], over: Sequence[Axis], metric: str) -> str:
    """A row a setting, in Markdown."""
    keys = [axis.key for axis in over if axis.key != SEED]
    head = [*(f"`{key}`" for key in keys), "runs", *NUMBERS]
    rows = [
        [
            *(axes.typed(s.values[key]) for key in keys),
            str(len(s.runs)),
            *(s.text(n) for n in NUMBERS),
        ]
        for s in found
    ]
    return f"`{metric}`\n\n{table(head, rows)}"


EXPLAINED = (
    "\nMeans over seeds with 95 % intervals of Student's t. First: at the first step that has the metric. Best: the highest "
    "of each run, chosen on the numbers themselves. Last: at the end.\n"
)


def write(folder: pathlib.Path, runs: Sequence[Told], over: Sequence[Axis], metric: str) -> str:
    """summary.md, .csv, .jsonl and .png; the table, as it is printed."""
    found = settings(runs)
    lines = [one.line for one in runs]
    shown = page(found, over, metric)
    rest = [f"- `{line['name']}` {axes.text(one.values)}: {line.get('error') or line['state']}" for one, line in
            zip(runs, lines, strict=True) if line["state"] != DONE]  # fmt: skip
    listed = "\n## Not in the table\n\n" + "\n".join(rest) + "\n" if rest else ""
    write_whole(
        folder / "summary.md", f"{shown}{EXPLAINED}\n![over steps, and at the end](summary.png)\n{listed}"
    )
    write_whole(folder / "summary.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    columns = list(dict.fromkeys(name for line in lines for name in line))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_whole(folder / "summary.csv", out.getvalue())
    if any(setting.runs for setting in found):
        draw([s for s in found if s.runs], metric, folder / "summary.png")
    return shown + (
        f"\nnot in the table: {len(rest)} of {len(lines)} runs, see {folder}/summary.md\n" if rest else ""
    )


def draw(found: Sequence[Setting], metric: str, file: pathlib.Path) -> None:
    """Left the metric over steps, right at the end: means over seeds, their intervals, and each seed."""
    plt = drawing.pyplot(9)
    many = len(found) > MANY
    colours = [
        plt.get_cmap("viridis" if many else "tab10")(i / len(found) if many else i)
        for i in range(len(found))
    ]
    height = max(3.4, 0.24 * len(found) + 1.4)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9, height), layout="constrained", width_ratios=(3, 2)
    )
    values = [x for setting in found for one in setting.runs for x in one.curve]
    margin = 0.08 * (max(values) - min(values)) or 0.05
    left.set_ylim(min(values) - margin, max(values) + margin)
    right.set_xlim(min(values) - margin, max(values) + margin)
    for i, (setting, colour) in enumerate(zip(found, colours, strict=True)):
        steps, band = setting.band()
        drawing.curve(left, (steps, [b.mean for b in band]), color=colour, lw=1.4)
        left.fill_between(
            steps, [b.low for b in band], [b.high for b in band], color=colour, alpha=0.12, lw=0
        )
        last = setting.over_seeds("last")
        reach = [[last.mean - last.low], [last.high - last.mean]]
        right.errorbar([last.mean], [i], xerr=reach, fmt="o", color=colour, capsize=3, ms=5)
        each = [one.curve[-1] for one in setting.runs]
        right.plot(each, [i] * len(each), "|", color=colour, ms=9, alpha=0.7)
    drawing.steps(left, max(step for setting in found for one in setting.runs for step in one.steps))
    left.set_ylabel(drawing.name(metric))
    right.set_xlabel(f"{drawing.name(metric)}, at the end")
    right.set_yticks(range(len(found)), [drawing.name(axes.text(s.values) or "all", 40) for s in found])
    right.invert_yaxis()
    right.set_ylim(len(found) - 0.5, -0.5)
    figure.suptitle("means over seeds, 95 % intervals; bars: each seed", fontsize=9)
    figure.savefig(file, dpi=130)
    plt.close(figure)
