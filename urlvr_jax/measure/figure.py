"""The figure of a run: accuracy and its own reward, votes, form of the text."""

from __future__ import annotations

import pathlib

from urlvr_jax.measure.collapse import TRUTH, mcs
from urlvr_jax.measure.record import RunRecord
from urlvr_jax.measure.summary import kind_of_set, test_time_text

BLUE = "#1f5fa8"
ORANGE = "#d9711c"
GREEN = "#2e8b57"
GREY = "#777777"


def rise_and_fall(path) -> pathlib.Path:
    """Draw `rise_and_fall.png` of a run: accuracy and its own reward, votes, form of the text."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    run = RunRecord(path)
    config = run.config
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.9), layout="constrained")
    _draw_accuracy(axes[0], run)
    _draw_votes(axes[1], run)
    _draw_form(axes[2], run)
    for axis in axes:
        axis.set_xlabel("training step")
        axis.set_xlim(left=0)
    reward = config["reward.fn"] or config["reward.name"]
    figure.suptitle(
        f"{reward}   ({config['model.path']}, lr {config['optim.lr']:g}, "
        f"{config['data.prompts_per_step']} × {config['rollout.group']}, seed {config['seed']})"
        f"   {test_time_text(run.trained_on())}".rstrip(),
        fontsize=10,
    )
    file = run.path / "rise_and_fall.png"
    figure.savefig(file, dpi=160)
    plt.close(figure)
    return file


def _legend_below(*axes) -> None:
    """One legend for axes that share a panel, under it, where no curve runs."""
    handles = [h for axis in axes for h in axis.get_legend_handles_labels()[0]]
    axes[0].legend(
        handles, [h.get_label() for h in handles], fontsize=7.5, frameon=False, ncols=2,
        loc="upper center", bbox_to_anchor=(0.5, -0.18),
    )  # fmt: skip


def _draw_accuracy(axis, run: RunRecord) -> None:
    axis.set_title("does it get better?")
    label = f"training prompts, T = {run.config['rollout.temperature']:g}"
    axis.plot(*run.curve(TRUTH), color=BLUE, lw=0.8, alpha=0.35, label=label)
    if evals := run.first_set():
        name = f"eval/{evals[0]['set']}/avg@{evals[0]['k']}"
        steps, middle = run.curve(name)
        ends, low = run.curve(f"{name}/low")
        _, high = run.curve(f"{name}/high")
        axis.fill_between(ends, low, high, color=BLUE, alpha=0.18, lw=0)
        what = kind_of_set(evals[0]["set"], run.trained_on())
        axis.plot(steps, middle, color=BLUE, lw=1.8, marker="o", ms=3, label=what)
        axis.axhline(middle[0], color=GREY, lw=0.8, ls=":", label=f"base, {what}")
    axis.set_ylim(0, 1)
    axis.set_ylabel("accuracy")
    own = axis.twinx()
    own.spines["right"].set_visible(True)
    own.plot(*run.curve("reward/mean"), color=ORANGE, lw=1.4, label="its own reward (right)")
    own.set_ylabel("reward the policy sees", color=ORANGE)
    own.tick_params(axis="y", colors=ORANGE)
    _legend_below(axis, own)


def _draw_votes(axis, run: RunRecord) -> None:
    axis.set_title("does confidence agree with truth?")
    for name, label, color in (
        ("train/ensemble/reward_accuracy", "reward accuracy", BLUE),
        ("train/ensemble/label_accuracy", "label accuracy", GREEN),
        ("train/ensemble/majority_ratio", "majority ratio", ORANGE),
    ):
        axis.plot(*run.curve(name), color=color, lw=1.2, label=label)
    collapsed = mcs(run.lines)
    if collapsed is not None:
        axis.axvline(collapsed, color=GREY, lw=0.9, ls="--")
        axis.annotate(f"MCS {collapsed}", (collapsed, 0.5), fontsize=8, color=GREY, rotation=90)
    axis.set_ylim(0, 1.02)
    _legend_below(axis)


def _draw_form(axis, run: RunRecord) -> None:
    axis.set_title("what does the text look like?")
    axis.plot(*run.curve("response_length/mean"), color=BLUE, lw=1.2, label="length (tokens)")
    axis.set_ylabel("tokens")
    axis.set_ylim(bottom=0)
    share = axis.twinx()
    share.spines["right"].set_visible(True)
    share.plot(*run.curve("repetition_rate"), color=ORANGE, lw=1.2, label="repetition rate (right)")
    share.plot(
        *run.curve("response_length/clip_ratio"), color=GREEN, lw=1.2, label="cut at the limit (right)"
    )
    share.plot(*run.curve("actor/entropy"), color=GREY, lw=1.0, ls="--", label="entropy, nats (right)")
    share.set_ylim(bottom=0)
    _legend_below(axis, share)
