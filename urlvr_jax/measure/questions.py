"""What a run did to its questions, from votes.jsonl: paths of the first majority's share beside the law's, flips, and a ledger.

Only questions that come again are looked at. Flips and ledger need labels.
"""

from __future__ import annotations

import pathlib
from typing import NamedTuple

import numpy as np

from urlvr_jax import theory
from urlvr_jax.measure import drawing, ledger
from urlvr_jax.measure.record import RunRecord
from urlvr_jax.measure.votes import majority_of

FITTED = 64  # questions, at most, by which the law's rate is fitted
DRAWN = 8  # of their paths
COLOURS = {
    "kept": drawing.BLUE, "learned": drawing.GREEN, "corrupted": drawing.ORANGE, "never": drawing.GREY,
    "amplified right": drawing.BLUE, "wrong to right": drawing.GREEN, "right to wrong": drawing.ORANGE,
    "amplified wrong": "#8c564b", "held right": "#9db8d9", "held wrong": drawing.GREY,
}  # fmt: skip


class Path(NamedTuple):
    """One question's visits, in the order of steps."""

    steps: np.ndarray  # int [N], N >= 2
    first: np.ndarray  # float [N], share of the rollouts that give the first visit's majority answer
    majority: np.ndarray  # float [N], share of the majority's answer
    right: np.ndarray | None  # bool [N], whether the majority is right; None without labels
    group: int  # rollouts a visit


def paths(lines: list[dict]) -> dict[str, Path]:
    """Of the lines of votes.jsonl: the questions that come twice or more, whose first visit had a majority.

    An answer that is none of a line's most frequent counts as not given.
    """
    seen: dict[str, list] = {}
    for line in lines:
        right = line.get("majority_right", [None] * len(line["id"]))
        for question, votes, is_right in zip(line["id"], line["votes"], right, strict=True):
            visits = seen.setdefault(question, [])
            if not visits or visits[-1][0] < line["step"]:
                visits.append((line["step"], votes, is_right, line["group"]))
    out = {}
    for question, visits in seen.items():
        steps, votes, right, group = zip(*visits, strict=True)
        chosen = majority_of(votes[0])
        if len(steps) < 2 or chosen is None:
            continue
        out[question] = Path(
            steps=np.array(steps),
            first=np.array([v.get(chosen, 0) for v in votes]) / group[0],
            majority=np.array([max(v.values(), default=0) for v in votes]) / group[0],
            right=None if None in right else np.array(right, bool),
            group=group[0],
        )
    return out


def law(found: list[Path]) -> theory.CommonFit | None:
    """One 1 / beta a step for the questions together; the first visit, which chose the answer, is left out.

    None where fewer than two questions have two visits more, or no share tells.
    """
    longer = [(i, p) for i, p in enumerate(found[:FITTED]) if len(p.steps) > 2]
    if len(longer) < 2:
        return None
    join = lambda of: np.concatenate([of(i, p) for i, p in longer])
    try:
        return theory.fit_common_rate(
            join(lambda i, p: p.first[1:]),
            join(lambda i, p: p.steps[1:]),
            join(lambda i, p: np.full(len(p.steps) - 1, i)),
            longer[0][1].group,
        )
    except ValueError:
        return None


def book(found: list[Path], step: int) -> dict[str, int] | None:
    """The ledger of the questions that came again by a step: first visit against the latest; None without any, or labels."""
    known = [(p.right[0], p.right[: np.searchsorted(p.steps, step, "right")]) for p in found if p.right is not None]  # fmt: skip
    again = [(first, visits[-1]) for first, visits in known if len(visits) > 1]
    if not again:
        return None
    first, last = (np.array(x, bool) for x in zip(*again, strict=True))
    return ledger.ledger(first, last)


def kinds(found: list[Path]) -> np.ndarray | None:
    """Which of ledger.KINDS each question is, `[Q]`; None without labels."""
    if not found or any(p.right is None for p in found):
        return None
    at = lambda i: ledger.Visit(
        np.array([p.right[i] for p in found]), np.array([p.majority[i] for p in found])
    )
    return ledger.flips(at(0), at(-1))


def summary(found: list[Path]) -> str:
    """In a line: how many came again, the ledger, and the law's rate."""
    text = f"questions that came again: {len(found)}"
    if said := book(found, max(int(p.steps[-1]) for p in found)):
        text += "; " + ", ".join(f"{name} {count}" for name, count in said.items())
    if fit := law(found):
        text += f"; 1/β {fit.inverse_beta:.3f} [{fit.low:.3f}, {fit.high:.3f}] a step, from the first majorities"
    return text


def draw(path) -> tuple[str, pathlib.Path] | None:
    """Write `questions.png` into a run's folder; its summary and the file. None where no question came again."""
    run = RunRecord(path)
    found = list(paths(run.votes).values())
    if not found:
        return None
    plt = drawing.pyplot(9)
    figure, axes = plt.subplots(1, 3, figsize=(11, 4), layout="constrained")
    last = run.votes[-1]["step"]
    _draw_paths(axes[0], found)
    drawing.steps(axes[0], last)
    _draw_flips(axes[1], found)
    _draw_ledger(axes[2], found, last)
    drawing.steps(axes[2], last)
    for axis in axes:
        drawing.legend_below(axis)
    file = run.path / "questions.png"
    figure.savefig(file, dpi=160)
    plt.close(figure)
    return summary(found), file


def _draw_paths(axis, found: list[Path]) -> None:
    axis.set_title("does the first majority grow by the law?")
    axis.set_ylabel("share of the first majority's answer")
    fit = law(found)
    p0 = dict(zip(fit.questions, fit.p0, strict=True)) if fit else {}
    shown = sorted(p0 or range(len(found)), key=lambda i: found[i].first[0])
    shown = [shown[i] for i in np.unique(np.linspace(0, len(shown) - 1, DRAWN).round().astype(int))]
    for i in shown:
        p = found[i]
        (line,) = axis.plot(p.steps, p.first, lw=0.9, alpha=0.7, marker=".", ms=3)
        if fit:
            steps = np.linspace(p.steps[1], p.steps[-1], 100)
            expected = theory.predicted(np.full(100, p0[i]), fit.inverse_beta, steps)
            axis.plot(steps, expected, ls="--", lw=1.2, color=line.get_color())
    axis.plot([], [], color="black", lw=0.9, marker=".", ms=3, label=f"measured, {len(shown)} questions")
    if fit:
        axis.plot(
            [], [], color="black", ls="--", lw=1.2, label=f"the law, 1/β = {fit.inverse_beta:.3f} a step"
        )
    drawing.span(axis, 0, 1)


def _draw_flips(axis, found: list[Path]) -> None:
    axis.set_title("what flips?")
    axis.set_xlabel("share of the majority, first visit")
    axis.set_ylabel("last visit")
    of = kinds(found)
    first, last = (np.array([p.majority[i] for p in found]) for i in (0, -1))
    # Shares are counts of a group: moved apart a little, so that equal ones are seen as many.
    apart = np.random.default_rng(0).uniform(-0.35, 0.35, (2, len(found))) / found[0].group
    for kind in ledger.KINDS if of is not None else ("all",):
        those = np.ones(len(found), bool) if of is None else of == kind
        axis.scatter(
            first[those] + apart[0, those], last[those] + apart[1, those], s=8, alpha=0.6, lw=0,
            color=COLOURS.get(kind, drawing.BLUE), label=f"{kind} {those.sum()}",
        )  # fmt: skip
    drawing.span(axis, 0, 1)
    axis.set_xlim(-0.05, 1.05)


def _draw_ledger(axis, found: list[Path], last: int) -> None:
    axis.set_title("what became of them?")
    axis.set_ylabel("share of the questions that came again")
    steps = np.unique(np.concatenate([p.steps[1:] for p in found]))
    steps = steps[np.unique(np.linspace(0, len(steps) - 1, 60).round().astype(int))]
    books = {int(step): book(found, step) for step in steps}
    known = {step: said for step, said in books.items() if said}
    if not known:
        axis.text(0.5, 0.5, "no labels", ha="center", transform=axis.transAxes, color=drawing.GREY)
        return
    for name in ("kept", "learned", "corrupted", "never"):
        shares = [said[name] / sum(said.values()) for said in known.values()]
        drawing.curve(axis, (list(known), shares), color=COLOURS[name], lw=1.3, label=name)
    drawing.span(axis, 0, 1)
