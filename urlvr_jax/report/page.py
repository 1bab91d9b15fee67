"""The page itself: what is said of each arm, the tables, and all of it in one file that asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
import json
import pathlib
import re
import time

import numpy as np

from urlvr_jax.comparing import arms as arms_lib
from urlvr_jax.comparing import comparison
from urlvr_jax.comparing import text as comparing_text
from urlvr_jax.comparing.arms import Arm, Run
from urlvr_jax.errors import UserError
from urlvr_jax.measure import drawing
from urlvr_jax.measure.collapse import RiseAndFall, rise_and_fall_of
from urlvr_jax.report import bands, charts, completions, questions
from urlvr_jax.untrusted.shown import visible

HERE = pathlib.Path(__file__).parent
MOST_NOTES = 20


def html(arms: list[Arm], notes: list[str]) -> str:
    """The whole page. UserError where Bokeh is not installed."""
    try:
        import jinja2
        from bokeh.resources import INLINE
    except ImportError:
        raise UserError("report draws with Bokeh: pip install 'urlvr_jax[report]'") from None
    shown = charts.charts_of(arms)
    arrays, curves = charts.data_of(arms, shown)
    items = [
        {"item": charts.figure(chart, arms), "curves": of, "moves": True}
        for chart, of in zip(shown, curves, strict=True)
    ]
    still = [questions.reward_against_truth(arms), *questions.figures(arms)]
    for chart, figure in filter(None, still):
        shown.append(chart)
        items.append({"item": figure, "curves": {}, "moves": False})
    data = {
        "arrays": arrays, "charts": items, "marks": charts.marks_of(arms), "axes": bands.ALIGNMENTS,
        "colours": [charts.style(i)[0] for i in range(len(arms))],
    }  # fmt: skip
    tables, said = _comparison(arms)
    notes = list(dict.fromkeys([*notes, *said]))
    library = next(script for script in INLINE.js_raw if "Bokeh" in script)
    scripts = [_inert(script) for script in (library, (HERE / "page.js").read_text())]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, finalize=_shown
    )
    return environment.get_template("page.html").render(
        title=_title(arms), made=_made(arms), arms=[_arm(i, arm) for i, arm in enumerate(arms)],
        notes=notes[:MOST_NOTES] + [f"and {len(notes) - MOST_NOTES} notes more"] * (len(notes) > MOST_NOTES),
        axes=bands.ALIGNMENTS, groups=_groups(shown), comparison=tables, words=comparing_text.WORDS,
        texts=_texts(arms), record=_record(arms), apart=_apart(arms), config=_configuration(arms[0]),
        css=(HERE / "page.css").read_text(), hashes=" ".join(map(_hash, scripts)), scripts=scripts,
        data=json.dumps(data, allow_nan=False).replace("<", r"\u003c"),
    )  # fmt: skip


def _shown(value):
    """Texts without characters that are obeyed; what is marked safe is our own."""
    return visible(value) if type(value) is str else value


def _inert(script: str) -> str:
    """A script that cannot end its element, nor begin a comment in it."""
    return re.sub("</(?=script)", r"<\\/", script, flags=re.IGNORECASE).replace("<!--", r"<\!--")


def _hash(script: str) -> str:
    """As a content security policy names a script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _title(arms: list[Arm]) -> str:
    if len(arms) == 1 and len(arms[0].runs) == 1:
        return arms[0].runs[0].record.path.resolve().name
    return drawing.name(", ".join(arm.name for arm in arms), 120)


def _made(arms: list[Arm]) -> str:
    runs = [run for arm in arms for run in arm.runs]
    models = dict.fromkeys(pathlib.PurePath(run.config["model.path"]).name for run in runs)
    count = f"{len(runs)} run{'s' * (len(runs) > 1)}"
    return f"{count} of {', '.join(models)} · made {time.strftime('%Y-%m-%d')}"


def _arm(i: int, arm: Arm) -> dict:
    colour, dash = charts.style(i)
    dash = dash.replace("dotdash", "double")  # which CSS has not
    seeds = f"seed{'s' * (len(arm.seeds) > 1)} {', '.join(map(str, arm.seeds))}"
    return {"name": arm.name, "seeds": seeds, "said": _said(arm), "colour": colour, "dash": dash}


def _said(arm: Arm) -> str:
    """Rise, fall and alarms in a sentence, means over the seeds; how far its own reward went."""
    told = []
    found = list(filter(None, map(_rise, arm.runs)))
    if found:
        mean = lambda key: f"{np.mean([getattr(r, key) for r in found]):.2f}"
        told.append(
            f"Held-out accuracy {mean('base')}, at its peak {mean('peak')} (step {_span(r.peak_step for r in found)}), "
            f"at the end {mean('final')} (step {_span(r.final_step for r in found)})"
        )
    own = [values for run in arm.runs if (values := run.record.curve("reward/mean")[1])]
    if own:
        first, last = (np.mean([values[at] for values in own]) for at in (0, -1))
        told.append(f"its own reward {first:.2f} to {last:.2f}")
    alarms = [step for run in arm.runs if (step := bands.alarm_step(run)) is not None]
    reasons = dict.fromkeys(x["collapse/reason"] for run in arm.runs for x in run.record.lines if x.get("collapse/reason"))  # fmt: skip
    if alarms:
        told.append(
            f"alarm in {len(alarms)} of {len(arm.runs)}, at step {_span(alarms)} ({', '.join(map(str, reasons))})"
        )
    elif any(bands.curve(run, bands.WORST)[0] for run in arm.runs):
        told.append("no alarm")
    return "; ".join(told) + "." if told else "No metrics."


def _rise(run: Run) -> RiseAndFall | None:
    """None of a run that was not evaluated before and after, or on one question."""
    try:
        return rise_and_fall_of(run.record.first_set())
    except ValueError:
        return None


def _span(steps) -> str:
    """One step, or from the first to the last."""
    low, *_, high = sorted({*steps}) * 2
    return str(low) if low == high else f"{low} to {high}"


def _groups(shown: list[charts.Chart]) -> dict[str, list[dict]]:
    out: dict[str, list[dict]] = {}
    for i, chart in enumerate(shown):
        out.setdefault(chart.group, []).append({**chart._asdict(), "number": i})
    return out


def _comparison(arms: list[Arm]) -> tuple[list[dict], list[str]]:
    """The tables of `compare`, and what it says of runs and sets that it leaves out."""
    try:
        found = comparison.compared(arms)
    except UserError as error:
        return [], [str(error)]
    tables = [part._asdict() for part in comparing_text.parts(found) if "what differs" not in part.title]
    return tables, found.notes


def _texts(arms: list[Arm]) -> list[dict]:
    """Of each arm's first run that has tables, as many rows as keep the page small."""
    rows, longest = completions.ROWS, completions.LONGEST
    while True:
        out = []
        for arm in arms:
            found = next(
                ((run, s) for run in arm.runs if (s := completions.stages(run, rows, longest))), None
            )
            if found:
                out.append({"name": f"{arm.name}, seed {found[0].seed}", "stages": found[1]})
        size = sum(
            len("".join(map(str, card))) for run in out for stage in run["stages"] for card in stage.cards
        )
        if size <= completions.MOST_TEXT or rows == 1:
            return out
        rows, longest = max(1, rows // 2), max(300, longest // 2)


def _record(arms: list[Arm]) -> dict:
    """Each run: folder, seed, steps, tokens and minutes, commit, versions."""
    head = ["arm", "folder", "seed", "steps", "tokens", "minutes", "commit", "versions"]
    rows = []
    for arm in arms:
        for run in arm.runs:
            tokens, seconds = run.spent(run.step)
            rows.append([
                arm.name, run.record.path.resolve().name, str(run.seed), str(run.step), f"{tokens:.3g}",
                f"{seconds / 60:.1f}", run.record.commit, run.record.versions,
            ])  # fmt: skip
    return {"head": head, "rows": rows}


def _apart(arms: list[Arm]) -> list[tuple[str, list[str]]]:
    apart = arms_lib.differences([arm.config for arm in arms])
    return [(key, [_value(value) for value in values]) for key, values in apart.items()]


def _configuration(arm: Arm) -> list[tuple[str, str]]:
    return [(key, _value(value)) for key, value in arm.config.items()]


def _value(value: object) -> str:
    return completions.short(drawing.number(value), 300)
