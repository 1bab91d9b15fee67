"""Draws docs/gallery from the runs on file in docs/findings, and nothing else:

python docs/gallery_pictures.py
"""

from __future__ import annotations

import json
import pathlib

import numpy as np

from urlvr_jax.measure import drawing
from urlvr_jax.report.charts import COLOURS

HERE = pathlib.Path(__file__).parent
SMOOTH = 5  # steps of a running mean: a step has 32 questions


def lines_of(finding: str) -> list[dict]:
    file = HERE / "findings" / f"{finding}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]


def curves_of(lines: list[dict], arm: str, name: str) -> list[np.ndarray]:
    """Of each seed, a running mean."""
    found = [np.array(line["curves"][name], float) for line in lines if line["arm"] == arm]
    return [
        np.convolve(np.pad(x, SMOOTH // 2, mode="edge"), np.ones(SMOOTH) / SMOOTH, "valid") for x in found
    ]


def draw(axis, curves: list[np.ndarray], colour: str, label: str) -> None:
    """Every seed thin, their median thick."""
    for curve in curves:
        axis.plot(np.arange(1, len(curve) + 1), curve, color=colour, lw=0.5, alpha=0.4)
    axis.plot(np.arange(1, len(curves[0]) + 1), np.median(curves, axis=0), color=colour, lw=2, label=label)


def save(plt, figure, name: str) -> None:
    figure.savefig(HERE / "gallery" / f"{name}.png", dpi=150, metadata={"Software": None})
    plt.close(figure)


def majority_voting(plt) -> None:
    lines = lines_of("F1")
    figure, axis = plt.subplots(figsize=(7.2, 3.4), layout="constrained")
    draw(
        axis,
        curves_of(lines, "majority voting", "own_reward"),
        COLOURS[1],
        "what it is paid: its share of the majority",
    )
    draw(axis, curves_of(lines, "majority voting", "truth"), COLOURS[0], "how often it is right")
    drawing.span(axis, 0, 1)
    axis.set(
        title="majority voting, 8 seeds: the reward rises, the truth goes with it, then leaves",
        ylabel="share of responses",
    )
    drawing.steps(axis, 300)
    axis.legend(frameon=False, loc="lower left", fontsize=8)
    save(plt, figure, "majority_voting")


def five_rewards(plt) -> None:
    """Truth and reward of each intrinsic reward, and of the truth itself."""
    lines = lines_of("F1") + lines_of("F2")
    arms = (
        "ground truth",
        "majority voting",
        "probability",
        "self_certainty",
        "token_level_entropy",
        "trajectory_level_entropy",
    )
    figure, axes = plt.subplots(2, 3, figsize=(9.6, 5), layout="constrained", sharex=True)
    for axis, arm in zip(axes.flat, arms, strict=True):
        draw(axis, curves_of(lines, arm, "truth"), COLOURS[0], "right")
        drawing.span(axis, 0, 1)
        own = axis.twinx()
        draw(own, curves_of(lines, arm, "own_reward"), COLOURS[1], "its own reward")
        own.tick_params(axis="y", colors=COLOURS[1])
        own.spines["right"].set_visible(True)
        axis.set_title(arm.replace("_", " "))
        drawing.steps(axis, 300)
    axes[0, 0].set_ylabel("share that is right")
    axes[1, 0].set_ylabel("share that is right")
    save(plt, figure, "five_rewards")


def what_collapse_looks_like(plt) -> None:
    """Three ways to fall: fewer words, more words, one answer."""
    lines = lines_of("F1") + lines_of("F2")
    arms = ("majority voting", "self_certainty", "probability")
    figure, axes = plt.subplots(1, 3, figsize=(9.6, 3.1), layout="constrained")
    for axis, (name, title) in zip(axes, (("length", "tokens of a response"), ("repetition", "repetition rate"), ("commonest", "share of questions with one answer")), strict=True):  # fmt: skip
        for i, arm in enumerate(arms):
            draw(axis, curves_of(lines, arm, name), COLOURS[i], arm.replace("_", " "))
        axis.set_title(title)
        drawing.steps(axis, 300)
    axes[0].legend(frameon=False, fontsize=7.5)
    save(plt, figure, "what_collapse_looks_like")


def test_questions(plt) -> None:
    """Forty questions, trained on without labels."""
    lines = lines_of("F7")
    arm = "40 test questions"
    figure, axis = plt.subplots(figsize=(7.2, 3.4), layout="constrained")
    draw(axis, curves_of(lines, arm, "own_reward"), COLOURS[1], "what it is paid")
    draw(axis, curves_of(lines, arm, "truth"), COLOURS[0], "how often it is right")
    drawing.span(axis, 0, 1)
    axis.set(title="test-time training on 40 questions, 3 seeds", ylabel="share of responses")
    drawing.steps(axis, 300)
    axis.legend(frameon=False, loc="center right", fontsize=8)
    save(plt, figure, "test_questions")


PICTURES = (majority_voting, five_rewards, what_collapse_looks_like, test_questions)

if __name__ == "__main__":
    pyplot = drawing.pyplot(9)
    (HERE / "gallery").mkdir(exist_ok=True)
    for picture in PICTURES:
        picture(pyplot)
