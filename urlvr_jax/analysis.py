"""From metric lines to findings: peak, rise, fall, Model Collapse Step, summary and figure.

Rise and fall are measured without picking winners twice: the peak step is chosen on the held-out
questions of even position and reported on those of odd position, as paired differences by question.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib

import numpy as np

from urlvr_jax.evaluate import bootstrap_interval
from urlvr_jax.workdir import read_lines

MCS_THRESHOLD = 0.01  # reward accuracy
COLLAPSE_SHARE = 0.5  # of the base's ground-truth reward
COLLAPSE_PATIENCE = 5  # steps in a row
TRUTH = "train/ensemble/ground_truth_reward"


@dataclasses.dataclass(frozen=True)
class Difference:
    """A mean difference over questions with its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self):
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


@dataclasses.dataclass(frozen=True)
class RiseAndFall:
    """Held-out accuracy on the reporting half: base, at the chosen peak step, at the end."""

    base: float
    peak_step: int
    peak: float
    final_step: int
    final: float
    rise: Difference  # peak - base
    fall: Difference  # final - peak
    final_minus_base: Difference


def curve(lines: list[dict], name: str) -> tuple[list[int], list[float]]:
    """Steps and values of a metric, where it is present."""
    points = [(line["step"], line[name]) for line in lines if name in line]
    return [p[0] for p in points], [p[1] for p in points]


def last_value(path: pathlib.Path, name: str | None) -> float | None:
    """The latest value of a metric of a run; None if there is none yet."""
    values = curve(read_lines(path / "metrics.jsonl"), name)[1] if name else []
    return values[-1] if values else None


def mcs(lines: list[dict]) -> int | None:
    """Model Collapse Step: the first step with reward accuracy below 1 % (paper, F10); None if never."""
    steps, values = curve(lines, "train/ensemble/reward_accuracy")
    return next((s for s, v in zip(steps, values, strict=True) if v < MCS_THRESHOLD), None)


def collapse_step(lines: list[dict]) -> int | None:
    """First of 5 steps in a row whose ground-truth reward is below half the base's (step 1's)."""
    steps, values = curve(lines, TRUTH)
    low = [v < COLLAPSE_SHARE * values[0] for v in values]
    for i in range(len(low) - COLLAPSE_PATIENCE + 1):
        if all(low[i : i + COLLAPSE_PATIENCE]):
            return steps[i]
    return None


def paired(a: np.ndarray, b: np.ndarray) -> Difference:
    """a - b by question, `[Q]` each."""
    difference = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    return Difference(float(difference.mean()), *bootstrap_interval(difference))


def rise_and_fall_of(evals: list[dict]) -> RiseAndFall:
    """From the lines of evals.jsonl, one set's, the first at step 0."""
    accuracy = {e["step"]: np.array(e["correct"]) / e["k"] for e in evals}
    steps = sorted(accuracy)
    if len(steps) < 2 or steps[0] != 0:
        raise ValueError(f"needs evaluations at step 0 and later, has {steps}")
    choose = {s: accuracy[s][0::2].mean() for s in steps}
    report = {s: accuracy[s][1::2] for s in steps}
    peak = max(steps, key=lambda s: (choose[s], -s))
    last = steps[-1]
    return RiseAndFall(
        base=float(report[0].mean()),
        peak_step=peak,
        peak=float(report[peak].mean()),
        final_step=last,
        final=float(report[last].mean()),
        rise=paired(report[peak], report[0]),
        fall=paired(report[last], report[peak]),
        final_minus_base=paired(report[last], report[0]),
    )


def first_set(path: pathlib.Path) -> list[dict]:
    """Evaluations of the run's first question file."""
    evals = read_lines(path / "evals.jsonl")
    return [e for e in evals if e["set"] == evals[0]["set"]]


def trained_on(path: pathlib.Path) -> dict[str, list[int]]:
    """Evaluation set -> [how many of its questions the run trains on, of how many], by its record."""
    file = path / "record.json"
    return (
        json.loads(file.read_text())["attempts"][-1].get("test_time_training", {}) if file.is_file() else {}
    )


def test_time_text(trained: dict[str, list[int]]) -> str:
    """What `trained_on` says, in words; "" where nothing is trained on."""
    sets = ", ".join(f"{n} of {of} questions of {name} are trained on" for name, (n, of) in trained.items())
    return f"test-time training: {sets}" if sets else ""


def kind_of_set(name: str, trained: dict[str, list[int]]) -> str:
    """Whether an evaluation set is held out, or how far not."""
    if name not in trained:
        return "held out"
    return "test-time training" if trained[name][0] == trained[name][1] else "partly trained on"


def eval_text(line: dict, trained: dict[str, list[int]]) -> str:
    """One line of text about an evaluation."""
    wanted = lambda n: n.startswith("eval/") and "@" in n and not n.endswith(("/low", "/high"))
    parts = [f"{n.removeprefix('eval/')} {v:.3f}" for n, v in line.items() if wanted(n)]
    kinds = {kind_of_set(name.split("/")[1], trained) for name in line if wanted(name)}
    return f"step {line['step']}: {', '.join(sorted(kinds))}  " + "  ".join(parts)


def summary(path) -> str:
    """What a run showed, in a few lines."""
    path = pathlib.Path(path)
    lines, shared = read_lines(path / "metrics.jsonl"), trained_on(path)
    out = [test_time_text(shared)] if shared else []
    if (path / "evals.jsonl").stat().st_size:
        evals = first_set(path)
        what = kind_of_set(evals[0]["set"], shared)
        what = "held-out accuracy" if what == "held out" else f"accuracy, {what}"
        if len(evals) > 1 and len(evals[0]["correct"]) > 1:
            r = rise_and_fall_of(evals)
            out += [
                f"{what}   base {r.base:.3f}   peak {r.peak:.3f} (step {r.peak_step})   "
                f"final {r.final:.3f} (step {r.final_step})",
                f"  rise  peak - base   {r.rise}",
                f"  fall  final - peak  {r.fall}",
                f"  net   final - base  {r.final_minus_base}    (odd questions; peak chosen on even ones)",
            ]
    if any(TRUTH in line for line in lines):
        never = lambda step: "never" if step is None else f"at step {step}"
        out.append(
            f"reward accuracy < 1 % (Model Collapse Step) {never(mcs(lines))}; "
            f"ground-truth reward below half the base's {never(collapse_step(lines))}"
        )
    trained = [line for line in lines if "response_length/mean" in line]
    if len(trained) > 1:
        change = lambda name: f"{trained[0][name]:.2f} -> {trained[-1][name]:.2f}"
        names = ("response_length/mean", "response_length/clip_ratio", "repetition_rate", "actor/entropy")
        names = [n for n in names if n in trained[0] and n in trained[-1]]
        out.append("first -> last step    " + "   ".join(f"{n} {change(n)}" for n in names))
    return "\n".join(out)


BLUE, ORANGE, GREEN, GREY = "#1f5fa8", "#d9711c", "#2e8b57", "#777777"


def rise_and_fall(path) -> pathlib.Path:
    """Draw `rise_and_fall.png` of a run: accuracy and its own reward, votes, form of the text."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    path = pathlib.Path(path)
    lines = read_lines(path / "metrics.jsonl")
    config = json.loads((path / "config.json").read_text())
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.9), layout="constrained")
    _draw_accuracy(axes[0], lines, path, config["rollout.temperature"])
    _draw_votes(axes[1], lines)
    _draw_form(axes[2], lines)
    for axis in axes:
        axis.set_xlabel("training step")
        axis.set_xlim(left=0)
    reward = config["reward.fn"] or config["reward.name"]
    figure.suptitle(
        f"{reward}   ({config['model.path']}, lr {config['optim.lr']:g}, "
        f"{config['data.prompts_per_step']} × {config['rollout.group']}, seed {config['seed']})"
        f"   {test_time_text(trained_on(path))}".rstrip(),
        fontsize=10,
    )
    file = path / "rise_and_fall.png"
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


def _draw_accuracy(axis, lines, path, temperature: float) -> None:
    axis.set_title("does it get better?")
    label = f"training prompts, T = {temperature:g}"
    axis.plot(*curve(lines, TRUTH), color=BLUE, lw=0.8, alpha=0.35, label=label)
    evals = (path / "evals.jsonl").stat().st_size and first_set(path)
    if evals:
        name = f"eval/{evals[0]['set']}/avg@{evals[0]['k']}"
        steps, middle = curve(lines, name)
        low, high = curve(lines, f"{name}/low")[1], curve(lines, f"{name}/high")[1]
        axis.fill_between(steps, low, high, color=BLUE, alpha=0.18, lw=0)
        what = kind_of_set(evals[0]["set"], trained_on(path))
        axis.plot(steps, middle, color=BLUE, lw=1.8, marker="o", ms=3, label=what)
        axis.axhline(middle[0], color=GREY, lw=0.8, ls=":", label=f"base, {what}")
    axis.set_ylim(0, 1)
    axis.set_ylabel("accuracy")
    own = axis.twinx()
    own.spines["right"].set_visible(True)
    own.plot(*curve(lines, "reward/mean"), color=ORANGE, lw=1.4, label="its own reward (right)")
    own.set_ylabel("reward the policy sees", color=ORANGE)
    own.tick_params(axis="y", colors=ORANGE)
    _legend_below(axis, own)


def _draw_votes(axis, lines) -> None:
    axis.set_title("does confidence agree with truth?")
    for name, label, color in (
        ("train/ensemble/reward_accuracy", "reward accuracy", BLUE),
        ("train/ensemble/label_accuracy", "label accuracy", GREEN),
        ("train/ensemble/majority_ratio", "majority ratio", ORANGE),
    ):
        axis.plot(*curve(lines, name), color=color, lw=1.2, label=label)
    collapsed = mcs(lines)
    if collapsed is not None:
        axis.axvline(collapsed, color=GREY, lw=0.9, ls="--")
        axis.annotate(f"MCS {collapsed}", (collapsed, 0.5), fontsize=8, color=GREY, rotation=90)
    axis.set_ylim(0, 1.02)
    _legend_below(axis)


def _draw_form(axis, lines) -> None:
    axis.set_title("what does the text look like?")
    axis.plot(*curve(lines, "response_length/mean"), color=BLUE, lw=1.2, label="length (tokens)")
    axis.set_ylabel("tokens")
    axis.set_ylim(bottom=0)
    share = axis.twinx()
    share.spines["right"].set_visible(True)
    share.plot(*curve(lines, "repetition_rate"), color=ORANGE, lw=1.2, label="repetition rate (right)")
    share.plot(
        *curve(lines, "response_length/clip_ratio"), color=GREEN, lw=1.2, label="cut at the limit (right)"
    )
    share.plot(*curve(lines, "actor/entropy"), color=GREY, lw=1.0, ls="--", label="entropy, nats (right)")
    share.set_ylim(bottom=0)
    _legend_below(axis, share)
