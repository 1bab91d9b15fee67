"""The figure of a run: accuracy and its own reward, agreement with the truth, votes, form of the text."""

from __future__ import annotations

import pathlib
import warnings

from urlvr_jax.measure import drawing
from urlvr_jax.measure.collapse import NO_ANSWER, TRUTH, VOTES, collapse_of
from urlvr_jax.measure.drawing import BLUE, GREEN, GREY, ORANGE, OTHERS, curve
from urlvr_jax.measure.record import RunRecord
from urlvr_jax.measure.summary import kind_of_set, shadows_of, test_time_text
from urlvr_jax.untrusted import shown


def rise_and_fall(path) -> pathlib.Path:
    """Draw `rise_and_fall.png` of a run: three panels, and a fourth where rewards can be compared."""
    run = RunRecord(path)
    plt = drawing.pyplot(9)
    panels = [_draw_accuracy, _draw_votes, _draw_form]
    if draw := _comparison(run):
        panels.insert(1, draw)
    rows, columns, size = 1, 3, (11, 4)
    if len(panels) == 4:
        rows, columns, size = 2, 2, (9.6, 7.2 + 0.15 * len(shadows_of(run.lines)))  # a line of legend each
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained")
    for draw, axis in zip(panels, axes.flat, strict=True):
        draw(axis, run)
        drawing.steps(axis, run.lines[-1]["step"] if run.lines else 0)
    figure.suptitle(title(run), fontsize=10)
    file = run.path / "rise_and_fall.png"
    with (
        warnings.catch_warnings()
    ):  # a folder's name may have letters that the font lacks: they are drawn as boxes
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(file, dpi=160)
    plt.close(figure)
    return file


def title(run: RunRecord) -> str:
    """The run's folder and what it trained, by names alone: a figure is shown elsewhere."""
    c = run.config
    settings = [
        drawing.name(pathlib.PurePath(c["model.path"]).name),
        f"lr {drawing.number(c['optim.lr'])}",
        f"{c['data.prompts_per_step']} × {c['rollout.group']}",
        *([f"KL {drawing.number(c['kl.coef'])}"] if c["kl.coef"] else []),
        f"seed {c['seed']}",
    ]
    reward = drawing.name(c["reward.fn"].rpartition(":")[2] or c["reward.name"], 80)
    what, how = f"{drawing.name(run.path.resolve().name)}: {reward}", f"({', '.join(settings)})"
    first = f"{what}   {how}" if len(what + how) < 100 else f"{what}\n{how}"
    return shown.visible("\n".join(filter(None, (first, test_time_text(run.trained_on())))))


def _draw_accuracy(axis, run: RunRecord) -> None:
    axis.set_title("does it get better?")
    label = f"training prompts, T = {drawing.number(run.config['rollout.temperature'])}"
    curve(axis, run.curve(TRUTH), color=BLUE, lw=0.8, alpha=0.35, label=label)
    if evals := run.first_set():
        name = f"eval/{evals[0]['set']}/avg@{evals[0]['k']}"
        steps, middle = run.curve(name)
        ends, low = run.curve(f"{name}/low")
        _, high = run.curve(f"{name}/high")
        axis.fill_between(ends, low, high, color=BLUE, alpha=0.18, lw=0)
        what = kind_of_set(evals[0]["set"], run.trained_on())
        axis.plot(steps, middle, color=BLUE, lw=1.8, marker="o", ms=3, label=what)
        axis.axhline(middle[0], color=GREY, lw=0.8, ls=":", label=f"base, {what}")
    if axis.lines:
        drawing.span(axis, 0, 1)
        axis.set_ylabel("accuracy")
    else:
        axis.set_title("does its reward rise?")
        axis.yaxis.set_visible(False)
        axis.spines["left"].set_visible(False)
    own = axis.twinx()
    own.spines["right"].set_visible(True)
    curve(own, run.curve("reward/mean"), color=ORANGE, lw=1.4, label="its own reward (right axis)")
    own.set_ylabel("reward the policy sees", color=ORANGE)
    own.tick_params(axis="y", colors=ORANGE)
    drawing.legend_below(axis, own)


def _comparison(run: RunRecord):
    """How the trained reward and the shadows are drawn beside each other; None where nothing compares them."""
    shadows = shadows_of(run.lines)
    if any(run.curve(f"{name}/rank_correlation")[0] for name in ("reward", *shadows)):
        return _draw_agreement
    return _draw_shadows if shadows else None


def _draw_agreement(axis, run: RunRecord) -> None:
    axis.set_title("which reward agrees with the truth?")
    for i, name in enumerate(shadows_of(run.lines)):
        label = f"shadow {drawing.name(name.removeprefix('shadow/'))}"
        curve(axis, run.curve(f"{name}/rank_correlation"), color=_colour(i), lw=0.9, label=label)
    curve(axis, run.curve("reward/rank_correlation"), color=ORANGE, lw=1.4, label="the trained one")
    accuracy = run.curve("reward/accuracy")
    curve(axis, accuracy, color=ORANGE, lw=1.0, ls="--", label="its accuracy (0 to 1)")
    lowest = min((y for line in axis.lines for y in line.get_ydata()), default=0)
    drawing.span(axis, -0.5 if lowest >= -0.5 else -1, 1)
    axis.axhline(0, color=GREY, lw=0.6)
    axis.set_ylabel("rank correlation")
    drawing.legend_below(axis)


def _draw_shadows(axis, run: RunRecord) -> None:
    axis.set_title("what do the shadows do?")
    for i, name in enumerate(shadows_of(run.lines)):
        steps, means = run.curve(f"{name}/mean")
        low, high = min(means, default=0), max(means, default=0)
        scaled = [(x - low) / (high - low) if high > low else 0.5 for x in means]
        label = f"{drawing.name(name.removeprefix('shadow/'))}, {low:.3g} to {high:.3g}"
        curve(axis, (steps, scaled), color=_colour(i), lw=1.2, label=label)
    drawing.span(axis, 0, 1)
    axis.set_ylabel("mean, from its least to its greatest")
    drawing.legend_below(axis)


def _colour(i: int) -> str:
    return OTHERS[i % len(OTHERS)]


def _draw_votes(axis, run: RunRecord) -> None:
    labelled = bool(run.curve(VOTES)[0])
    axis.set_title("are the votes right?" if labelled else "do the votes agree?")
    for name, label, color in (
        (VOTES, "the vote's reward accuracy", BLUE),
        ("train/ensemble/label_accuracy", "majority answer right", GREEN),
        ("train/ensemble/majority_ratio", "majority ratio", ORANGE),
        (NO_ANSWER, "no answer", GREY),
    ):
        curve(axis, run.curve(name), color=color, lw=1.2, label=label)
    lost, _ = collapse_of(run.lines)
    if lost.step is not None:
        axis.axvline(lost.step, color=GREY, lw=0.9, ls="--", label=f"Model Collapse Step {lost.step}")
    drawing.span(axis, 0, 1)
    axis.set_ylabel("share")
    drawing.legend_below(axis)


def _draw_form(axis, run: RunRecord) -> None:
    axis.set_title("what does the text look like?")
    curve(axis, run.curve("response_length/mean"), color=BLUE, lw=1.2, label="length (tokens)")
    axis.set_ylabel("tokens")
    share = axis.twinx()
    share.spines["right"].set_visible(True)
    for name, label, style in (
        ("repetition_rate", "repetition rate (right axis)", {"color": ORANGE, "lw": 1.2}),
        ("response_length/clip_ratio", "cut at the limit (right axis)", {"color": GREEN, "lw": 1.2}),
        ("actor/entropy", "entropy, nats (right axis)", {"color": GREY, "lw": 1.0, "ls": "--"}),
        ("actor/kl", "KL, nats (right axis)", {"color": GREY, "lw": 1.0, "ls": ":"}),
    ):
        curve(share, run.curve(name), label=label, **style)
    for each in (axis, share):  # 0 a little above the axis, so that a line there is seen
        high = each.get_ylim()[1]
        each.set_ylim(-0.03 * high, 1.03 * high)
    drawing.legend_below(axis, share)
