"""What a run showed, in words."""

from __future__ import annotations

from urlvr_jax.measure.collapse import NO_ANSWER, collapse_of, rise_and_fall_of
from urlvr_jax.measure.record import RunRecord


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
    """One line of text about an evaluation; "" of a line without any."""
    wanted = lambda n: n.startswith("eval/") and "@" in n and not n.endswith(("/low", "/high"))
    parts = [f"{n.removeprefix('eval/')} {v:.3f}" for n, v in line.items() if wanted(n)]
    kinds = {kind_of_set(name.split("/")[1], trained) for name in line if wanted(name)}
    return f"step {line['step']}: {', '.join(sorted(kinds))}  " + "  ".join(parts) if parts else ""


def _agreements(run: RunRecord) -> list[str]:
    """What the trained reward and each shadow were, and how they ranked right and wrong responses."""
    out = []
    for name in ("reward", *shadows_of(run.lines)):
        means, ranks = (run.curve(f"{name}/{what}")[1] for what in ("mean", "rank_correlation"))
        if len(means) > 1:
            text = f"{name.replace('/', ' ', 1)} {means[0]:.3f} -> {means[-1]:.3f}"
            ranked = f"   rank correlation with truth {ranks[0]:+.2f} -> {ranks[-1]:+.2f}" if ranks else ""
            out.append(text + ranked)
    return out


def shadows_of(lines: list[dict]) -> list[str]:
    """shadow/NAME of each reward that was only watched; NAME may be a sum, and have any sign."""
    names = dict.fromkeys(name for line in lines for name in line if name.startswith("shadow/"))
    return [name.removesuffix("/mean") for name in names if name.endswith("/mean")]


def summary(path) -> str:
    """What a run showed, in a few lines."""
    run = RunRecord(path)
    lines = run.lines
    shared = run.trained_on()
    out = [test_time_text(shared)] if shared else []
    if evals := run.first_set():
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
    if any(NO_ANSWER in line for line in lines):
        lost, collapsed = collapse_of(lines)
        out.append(f"Model Collapse Step (the vote's reward accuracy < 1 %)    {lost}")
        out.append(f"collapse step (truth below half the base's)  {collapsed}")
    out += _agreements(run)
    names = ("response_length/mean", "response_length/clip_ratio", "repetition_rate", "actor/entropy")
    curves = {name: run.curve(name)[1] for name in names}
    changes = [
        f"{n} {values[0]:.2f} -> {values[-1]:.2f}" for n, values in curves.items() if len(values) > 1
    ]
    if changes:
        out.append("first -> last step    " + "   ".join(changes))
    return "\n".join(out)
