"""Charts of a page: which metrics are shown, their bands as arrays that are held once, and Bokeh's figures for them.

A figure has no data of its own: the page's script fills it along the axis that the reader chooses.
"""

from __future__ import annotations

import base64
import re
from typing import NamedTuple

import numpy as np

from urlvr_jax.comparing.arms import Arm
from urlvr_jax.measure.collapse import TRUTH
from urlvr_jax.measure.definitions import definition_of, limits
from urlvr_jax.report import bands
from urlvr_jax.report.bands import ALIGNMENTS, WORST

# Told apart by those who see few colours: Okabe and Ito's, then the same again in dashes.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A8A8A")
DASHES = ("solid", "dashed", "dotted", "dotdash")
MOST_BYTES = 900_000  # of the arrays of a page, as text
HEIGHT = 230  # pixels


class Chart(NamedTuple):
    """One metric of all arms."""

    group: str
    title: str
    metric: str
    says: str  # its definition


GROUPS = {
    "the truth on training questions": {
        TRUTH: "are its answers right?",
        "train/ensemble/label_accuracy": "are the majorities right?",
        "train/ensemble/reward_accuracy": "does the vote pay the right ones?",
        "reward/rank_correlation": "does its reward rank right above wrong?",
        "reward/accuracy": "is its reward the true one?",
    },
    "votes": {
        "train/ensemble/majority_ratio": "do rollouts agree?",
        "votes/distinct": "how many answers are there over all questions?",
        "votes/commonest": "how many questions have one answer?",
        "votes/kept": "do majorities stay with the policy of before?",
        "votes/flips": "do majorities flip?",
    },
    "the text": {
        "response_length/mean": "how long are responses?",
        "response_length/clip_ratio": "how many are cut?",
        "repetition_rate": "do they repeat themselves?",
        "train/ensemble/no_answer": "how many have no answer?",
        "actor/entropy": "how unsure is it of a token?",
        "actor/kl": "how far is it from its base?",
    },
    "training": {
        "actor/grad_norm": "how large are gradients?",
        "frac_reward_zero_std": "how many groups teach nothing?",
        "actor/sampler_logp_diff_max": "do sampler and trainer agree?",
        "perf/tokens_per_s": "how fast is it?",
    },
}


def charts_of(arms: list[Arm]) -> list[Chart]:
    """Those of which some run has a value: first what one looks at first, then by group."""
    names = dict.fromkeys(n for arm in arms for run in arm.runs for line in run.record.lines for n in line)
    sets = list(dict.fromkeys(e["set"] for arm in arms for run in arm.runs for e in run.record.evals))
    accuracies = [n for n in names if re.fullmatch(r"eval/.+/(avg|maj|pass)@\d+", n)]
    kinds = [n.rpartition("@")[0] for n in accuracies]  # of runs with other k: each run's own
    accuracies = list(
        dict.fromkeys(
            n if kinds.count(k) == 1 else f"{k}@*" for n, k in zip(accuracies, kinds, strict=True)
        )
    )
    accuracies.sort(
        key=lambda n: (sets.index(s) if (s := n.split("/")[1]) in sets else 99, "avg@" not in n)
    )
    first = accuracies[:1] or [n for n in (TRUTH,) if n in names]
    out = [Chart("", "does it get better?", n, _says(n)) for n in first]
    if "reward/mean" in names:
        out.append(Chart("", "does its own reward rise?", "reward/mean", _says("reward/mean")))
    detectors = sorted(n for n in names if _is_detector(n))
    if detectors:
        says = "the highest of all detectors of collapse, each over its threshold: at 1 the alarm is raised"
        out.append(Chart("", "is collapse near?", WORST, f"{says}. Label-free."))
    for group, titles in GROUPS.items():
        out += [Chart(group, t, n, _says(n)) for n, t in titles.items() if n in names and n not in first]
    out += [Chart("detectors of collapse", n.removeprefix("collapse/"), n, _says(n)) for n in detectors]
    out += [Chart("evaluations", n.removeprefix("eval/"), n, _says(n)) for n in accuracies[1:]]
    ranks = [n for n in names if n.startswith("shadow/") and n.endswith("/rank_correlation")]
    out += [Chart("rewards that were only watched", n.split("/")[1], n, _says(n)) for n in ranks]
    return out


def _is_detector(name: str) -> bool:
    return name.startswith("collapse/") and name not in bands.NO_DETECTORS


def _says(metric: str) -> str:
    of = definition_of(metric)
    return (
        f"{metric}: {of.says} ({of.unit}; {of.labels})".replace("`", "").replace("\\|", "|")
        if of
        else metric
    )


class Pool:
    """Arrays float32 as text, each once however often it is asked for."""

    def __init__(self):
        self.texts: list[str] = []
        self.known: dict[bytes, int] = {}
        self.size = 0

    def add(self, values: np.ndarray) -> int:
        """Its number."""
        raw = np.ascontiguousarray(values, "<f4").tobytes()
        if raw not in self.known:
            self.known[raw] = len(self.texts)
            self.texts.append(base64.b64encode(raw).decode())
            self.size += len(self.texts[-1])
        return self.known[raw]


def data_of(arms: list[Arm], charts: list[Chart]) -> tuple[list[str], list[dict]]:
    """Arrays as text, and for each chart {axis: [for each arm the numbers of x, mean, low, high, or None]}.

    Curves have as many points as keep all arrays within MOST_BYTES.
    """
    points = bands.POINTS
    while True:
        pool = Pool()
        found = [_of_chart(pool, arms, chart, points) for chart in charts]
        if pool.size <= MOST_BYTES or points <= 25:
            return pool.texts, found
        points = max(25, min(points // 2, int(points * MOST_BYTES / pool.size)))


def _of_chart(pool: Pool, arms: list[Arm], chart: Chart, points: int) -> dict:
    out = {}
    for axis in ALIGNMENTS:
        of = []
        for arm in arms:
            band = bands.band(arm, chart.metric, axis, points if axis == "step" else points // 2)
            if band is None:
                of.append(None)
                continue
            ends = (band.low, band.high) if np.isfinite(band.low).any() else ()
            of.append([pool.add(a) for a in (band.x, band.mean, *ends)])
        out[axis] = of
    return out


def marks_of(arms: list[Arm]) -> dict:
    """{axis: [for each arm where its runs' alarms lie]}."""
    out = {}
    for axis in ALIGNMENTS:
        of = []
        for arm in arms:
            steps = [(run, step) for run in arm.runs if (step := bands.alarm_step(run)) is not None]
            at = [x for run, step in steps if (x := bands.along(run, axis, [step])) is not None]
            of.append([float(x[0]) for x in at])
        out[axis] = of
    return out


def style(i: int) -> tuple[str, str]:
    """Colour and dash of an arm."""
    return COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)]


def plain(name: str) -> str:
    """A name that no template of a tooltip takes for more than letters."""
    return re.sub(r"[^\w .,=:×+\-/]", "_", name)


def new_figure(**options):
    """Bokeh's, without a toolbar, on the page's own background."""
    from bokeh.plotting import figure

    f = figure(
        height=HEIGHT, sizing_mode="stretch_width", toolbar_location=None, tools="", background_fill_color=None,
        border_fill_color=None, outline_line_color=None, min_border_right=12, **options,
    )  # fmt: skip
    for grid in f.grid:
        grid.update(grid_line_color="#8A8A8A", grid_line_alpha=0.18)
    for axis in f.axis:
        axis.update(axis_line_color="#8A8A8A", major_tick_line_color="#8A8A8A", minor_tick_line_color=None)
    return f


def figure(chart: Chart, arms: list[Arm]) -> dict:
    """Bokeh's JSON of a chart without data. Renderers are tagged [number of the arm, kind]."""
    from bokeh.embed import json_item
    from bokeh.models import ColumnDataSource, HoverTool, HSpan, Line, Scatter, VArea, VSpan

    f = new_figure()
    if limits(chart.metric) == (0.0, 1.0):
        f.y_range.update(start=-0.03, end=1.03)
    lines = []
    for i, arm in enumerate(arms):
        colour, dash = style(i)
        source = ColumnDataSource({"x": [], "mean": [], "low": [], "high": []})
        if len(arm.runs) > 1:
            area = f.add_glyph(
                source, VArea(x="x", y1="low", y2="high", fill_color=colour, fill_alpha=0.16)
            )
            area.tags = [i, "band"]
        line = f.add_glyph(
            source,
            Line(x="x", y="mean", line_color=colour, line_width=1.8, line_dash=dash),
            name=plain(arm.name),
        )
        line.tags = [i, "line"]
        lines.append(line)
        if chart.metric.startswith("eval/"):
            few = f.add_glyph(source, Scatter(x="x", y="mean", size=5, fill_color=colour, line_color=None))
            few.tags = [i, "points"]
    marks = ColumnDataSource({"x": [], "colour": []})
    alarms = f.add_glyph(marks, VSpan(x="x", line_color="colour", line_dash="dotted", line_width=1.5))
    alarms.tags = [-1, "alarms"]
    if chart.metric == WORST:
        limit = HSpan(y="y", line_color="#D55E00", line_dash="dashed")
        f.add_glyph(ColumnDataSource({"y": [1.0]}), limit).tags = [-1, "limit"]
    tips = [
        ("", "$name"),
        ("at", "@x{0.[00]}"),
        ("mean", "@mean{0.[0000]}"),
        ("95 %", "@low{0.[000]} to @high{0.[000]}"),
    ]
    f.add_tools(HoverTool(renderers=lines, tooltips=tips, mode="vline", point_policy="snap_to_data"))
    return json_item(f)
