"""Charts of what a run did to its questions, those that came again: predicted and measured p_maj, flips, the ledger."""

from __future__ import annotations

import numpy as np

from urlvr_jax import theory
from urlvr_jax.comparing.arms import Arm
from urlvr_jax.measure import ledger, questions
from urlvr_jax.measure.collapse import TRUTH
from urlvr_jax.report import bands
from urlvr_jax.report.charts import Chart, new_figure, plain, style

GROUP = "questions that came again"
MOST_ARMS, MOST_POINTS, MOST_STEPS = 4, 600, 60
KINDS = {  # of a flip -> colour and marker
    "wrong to right": ("#009E73", "triangle"), "right to wrong": ("#D55E00", "inverted_triangle"),
    "amplified right": ("#0072B2", "circle"), "amplified wrong": ("#E69F00", "circle"),
    "held right": ("#56B4E9", "square"), "held wrong": ("#8A8A8A", "square"),
}  # fmt: skip
BOOK = {"kept": "#0072B2", "learned": "#009E73", "corrupted": "#D55E00", "never": "#8A8A8A"}


def figures(arms: list[Arm]) -> list[tuple[Chart, dict]]:
    """Of each arm's first run whose questions came again, of a few arms; Bokeh's JSON with its data."""
    out = []
    for arm in arms[:MOST_ARMS]:
        run = arm.runs[0]
        found = list(questions.paths(run.record.votes).values())
        if not found:
            continue
        which = f"{arm.name}, seed {run.seed}"
        for draw, title, says in (
            (_law, "does the law predict it?", "measured share of each question's first majority against the law's fitted one; on the line they are equal"),
            (_flips, "what flips?", "share of each question's majority at its first and its last visit, by what became of it"),
            (_ledger, "what became of them?", "share of questions right at both visits (kept), at the last (learned), at the first (corrupted), at neither (never)"),
        ):  # fmt: skip
            figure = draw(found)
            if figure is not None:
                out.append((Chart(GROUP, title, which, says), figure))
    return out


def _law(found: list[questions.Path]) -> dict | None:
    fit = questions.law(found)
    if fit is None:
        return None
    measured, expected = [], []
    for i, p0 in zip(fit.questions, fit.p0, strict=True):
        p = found[i]
        measured.append(p.first[1:])
        expected.append(theory.predicted(np.full(len(p.steps) - 1, p0), fit.inverse_beta, p.steps[1:]))
    x, y = _fewer(np.concatenate(expected), np.concatenate(measured))
    f = new_figure(
        x_axis_label=f"predicted p_maj, 1/β = {fit.inverse_beta:.3f} a step", y_axis_label="measured"
    )
    f.scatter(x.astype(np.float32), y.astype(np.float32), size=4, alpha=0.45, color="#0072B2")
    f.line([0, 1], [0, 1], color="#8A8A8A", line_dash="dashed")
    return _json(f)


def _flips(found: list[questions.Path]) -> dict:
    of = questions.kinds(found)
    first, final = (np.array([p.majority[i] for p in found]) for i in (0, -1))
    # Shares are counts of a group: moved apart a little, so that equal ones are seen as many.
    apart = np.random.default_rng(0).uniform(-0.35, 0.35, (2, len(found))) / found[0].group
    f = new_figure(x_axis_label="share of the majority, first visit", y_axis_label="last visit")
    for kind in ledger.KINDS if of is not None else ("all",):
        those = np.ones(len(found), bool) if of is None else of == kind
        x, y = _fewer(first[those] + apart[0, those], final[those] + apart[1, those])
        colour, marker = KINDS.get(kind, ("#0072B2", "circle"))
        f.scatter(
            x.astype(np.float32), y.astype(np.float32), size=5, alpha=0.6, color=colour, marker=marker,
            legend_label=f"{kind} {int(those.sum())}",
        )  # fmt: skip
    return _json(f)


def _ledger(found: list[questions.Path]) -> dict | None:
    steps = np.unique(np.concatenate([p.steps[1:] for p in found]))
    steps = steps[np.unique(np.linspace(0, len(steps) - 1, MOST_STEPS).round().astype(int))]
    books = {int(step): book for step in steps if (book := questions.book(found, int(step)))}
    if not books:
        return None
    f = new_figure(x_axis_label="training step", y_axis_label="share of the questions")
    f.y_range.update(start=-0.03, end=1.03)
    for name, colour in BOOK.items():
        shares = [book[name] / sum(book.values()) for book in books.values()]
        f.line(list(books), shares, color=colour, line_width=1.8, legend_label=name)
    return _json(f)


def reward_against_truth(arms: list[Arm]) -> tuple[Chart, dict] | None:
    """Each arm's path of mean reward and true reward; None where nobody has both."""
    f = new_figure(x_axis_label="mean of its own reward", y_axis_label="share of right answers")
    some = False
    for i, arm in enumerate(arms):
        own, true = (bands.band(arm, name, points=100) for name in ("reward/mean", TRUTH))
        if own is None or true is None or not np.array_equal(own.x, true.x):
            continue
        some = True
        colour, dash = style(i)
        f.line(own.mean, true.mean, color=colour, line_dash=dash, line_width=1.6, name=plain(arm.name))
        f.scatter(own.mean[:1], true.mean[:1], color=colour, size=7, fill_alpha=0)
        f.scatter(own.mean[-1:], true.mean[-1:], color=colour, size=7)
    if not some:
        return None
    says = "the path of training: from the open to the filled dot, one point a step or a bin of steps, mean over seeds"
    return Chart(
        "the truth on training questions", "what is its reward worth?", "reward/mean, truth", says
    ), _json(f)


def _fewer(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most MOST_POINTS of them, drawn at random."""
    if len(x) <= MOST_POINTS:
        return x, y
    chosen = np.random.default_rng(0).choice(len(x), MOST_POINTS, replace=False)
    return x[chosen], y[chosen]


def _json(f) -> dict:
    from bokeh.embed import json_item

    for legend in f.legend:
        legend.update(
            label_text_font_size="10px", background_fill_alpha=0, border_line_color=None, label_text_color="#8A8A8A",
            spacing=0, padding=2, margin=2, glyph_height=12, glyph_width=12,
        )  # fmt: skip
        f.add_layout(legend, "below")
    if f.legend:
        f.legend[0].orientation = "horizontal"
        f.legend[0].ncols = 2
    for axis in f.axis:
        axis.update(axis_label_text_color="#8A8A8A", axis_label_text_font_size="11px")
    return json_item(f)
