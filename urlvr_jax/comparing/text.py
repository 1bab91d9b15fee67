"""A comparison in words: Markdown tables, and the same as JSON."""

from __future__ import annotations

import math
from typing import NamedTuple

from urlvr_jax.comparing import arms as arms_lib
from urlvr_jax.comparing.aggregates import FEWEST, bayes_at
from urlvr_jax.comparing.comparison import Comparison, Row, of_base
from urlvr_jax.comparing.difference import NOT_SHOWN, ONE_SEED, Compared
from urlvr_jax.measure import drawing
from urlvr_jax.measure.intervals import Difference
from urlvr_jax.studies.page import table
from urlvr_jax.untrusted.shown import visible

AT = {
    arms_lib.END: "each run's end",
    arms_lib.PEAK: "each run's peak, chosen on even questions, told of odd ones",
}
WORDS = """Differences are paired by question; intervals are 95 %, over questions and training seeds together.
better, worse: the interval leaves out 0; of 20 rows without a difference about one says so, or fewer. higher, lower: of what has no good direction.
one seed: nothing is known of the next seed, so nothing is ranked; the interval is over questions alone.
± in the first table: one standard deviation of sampling responses alone, by Bayes@N, whose flat prior draws few samples towards one half.
would decide: seeds an arm, or questions where no number of seeds would, if these means and spreads stay.
"""


class Part(NamedTuple):
    """A table, and what it is about."""

    title: str
    head: list[str]
    rows: list[list[str]]


def text(c: Comparison) -> str:
    """All tables, Markdown."""
    tables = [f"{part.title}\n\n{table(part.head, part.rows)}" for part in parts(c)]
    return visible("\n".join([*tables, WORDS, *(f"note: {note}\n" for note in c.notes)]))


def parts(c: Comparison) -> list[Part]:
    """The tables of a comparison, those that have rows."""
    out = [_arms(c), _configurations(c), _rows("how they differ", c.rows), _together(c)]
    out.append(_rows("what the gain over the base is made of", c.parts))
    return [part for part in out if part.rows]


def _arms(c: Comparison) -> Part:
    """Seeds, tokens and minutes of each arm; its accuracy before and at the step compared."""
    rows = []
    for arm in c.arms:
        known = [name for name in c.steps if (arm.name, name) in c.scores]
        steps = [run.step for run in arm.runs]
        if known and all(len(c.scores[arm.name, name].steps) == len(arm.runs) for name in known):
            steps = [
                max(at) for at in zip(*(c.scores[arm.name, name].steps for name in known), strict=True)
            ]
        spent = [run.spent(step) for run, step in zip(arm.runs, steps, strict=True)]
        tokens, seconds = (sum(x) / len(spent) for x in zip(*spent, strict=True))
        told = [
            _accuracy(c.scores.get((of, name))) for name in c.steps for of in (of_base(arm.name), arm.name)
        ]
        rows.append(
            [arm.name, " ".join(map(str, arm.seeds)), f"{tokens:.3g}", f"{seconds / 60:.1f}", *told]
        )
    head = ["arm", "seeds", "tokens a run", "minutes a run"]
    for name, step in c.steps.items():
        head += [f"{name}, base", f"at {AT.get(step, f'step {step}')}"]
    return Part("what is compared", head, rows)


def _accuracy(scores: arms_lib.Scores | None) -> str:
    """Mean over the seeds; what sampling alone adds to it; Bayes@N, near one half of few samples; "-" without any."""
    if scores is None:
        return "-"
    each = [bayes_at(correct, scores.k) for correct in scores.correct]
    deviation = math.sqrt(sum(d**2 for _, d in each)) / len(each)
    return f"avg@{scores.k} {scores.avg.mean():.3f} ± {deviation:.3f}, Bayes {sum(m for m, _ in each) / len(each):.3f}"


def _configurations(c: Comparison) -> Part:
    apart = arms_lib.differences([arm.config for arm in c.arms])
    rows = [[key, *(drawing.number(value) for value in values)] for key, values in apart.items()]
    return Part("what differs between them", ["key", *(arm.name for arm in c.arms)], rows)


def _rows(title: str, rows: list[Row]) -> Part:
    lines = [
        [
            row.metric, row.arm, f"{row.found.a:.3f}", row.against, f"{row.found.b:.3f}",
            _interval(row.found.difference), row.found.verdict, would_decide(row.found),
        ]
        for row in rows
    ]  # fmt: skip
    return Part(title, ["metric", "arm", "", "against", "", "difference", "verdict", "would decide"], lines)


def _interval(d: Difference | None) -> str:
    if d is None:
        return f"- (fewer than {FEWEST} seeds)"
    return str(d) if math.isfinite(d.low) else f"{d.mean:+.3f}"


def would_decide(found: Compared) -> str:
    """How many seeds, or questions, would."""
    if found.verdict == ONE_SEED:
        return "2 seeds or more"
    if found.verdict != NOT_SHOWN:
        return "-"
    if found.seeds:
        return f"{found.seeds} seeds"
    return f"{found.questions} questions" if found.questions else "no number"


def _together(c: Comparison) -> Part:
    ends = lambda d: "-" if d is None else f"[{d.low:.2f}, {d.high:.2f}]"
    rows = [
        [
            t.arm, f"{t.a:.3f}", t.against, f"{t.b:.3f}", _interval(t.difference), f"{t.improvement:.2f}",
            ends(t.improvement_interval),
        ]
        for t in c.together
    ]  # fmt: skip
    head = ["arm", "interquartile mean", "against", "", "difference", "P(above)", ""]
    return Part("over all question sets, avg@k", head, rows)


def as_json(c: Comparison) -> dict:
    """Every number, and what the words mean."""
    row = lambda r: {
        "arm": r.arm, "against": r.against, "metric": r.metric, "values": [r.found.a, r.found.b],
        "difference": _three(r.found.difference), "verdict": r.found.verdict,
        "seeds_that_would_decide": r.found.seeds, "questions_that_would_decide": r.found.questions,
    }  # fmt: skip
    return {
        "arms": [
            {"name": arm.name, "runs": [str(run.record.path) for run in arm.runs], "seeds": arm.seeds}
            for arm in c.arms
        ],
        "steps": c.steps,
        "configurations": arms_lib.differences([arm.config for arm in c.arms]),
        "rows": [row(r) for r in c.rows],
        "over_sets": [
            {"arm": t.arm, "against": t.against, "interquartile_means": [t.a, t.b], "difference": _three(t.difference),
             "probability_of_improvement": t.improvement, "its_interval": _three(t.improvement_interval)}
            for t in c.together
        ],
        "parts_of_the_gain": [row(r) for r in c.parts],
        "notes": c.notes,
        "words": WORDS,
    }  # fmt: skip


def _three(d: Difference | None) -> list[float] | None:
    return [d.mean, d.low, d.high] if d and math.isfinite(d.low) else None
