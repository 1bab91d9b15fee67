"""The card of an exported model, README.md of its folder: written from the run, so that no number is typed by hand."""

from __future__ import annotations

import pathlib

import numpy as np

from urlvr_jax import config as config_lib
from urlvr_jax.comparing.aggregates import pass_at
from urlvr_jax.measure import drawing
from urlvr_jax.measure.intervals import mean_interval
from urlvr_jax.measure.record import RunRecord, by_step
from urlvr_jax.measure.summary import kind_of_set, test_time_text
from urlvr_jax.report.bands import alarm_of
from urlvr_jax.rewards import expression
from urlvr_jax.studies.page import table
from urlvr_jax.untrusted.shown import visible


def card(folder: pathlib.Path, step: int) -> str:
    """Markdown with the Hub's header, of a run's checkpoint."""
    run = RunRecord(folder)
    c = config_lib.flat(config_lib.recorded(folder))  # with defaults for keys that came later
    given = pathlib.Path(c["model.path"]).expanduser()
    model = _line(
        given.name if given.is_absolute() else c["model.path"]
    )  # a folder's place is nobody's business
    reward = _line(c["reward.fn"] or c["reward.name"])
    parts = [
        f"---\nbase_model: {_quoted(model)}\ntags:\n- reinforcement-learning\n- urlvr_jax\n---\n",
        f"# {_line(folder.resolve().name)}, step {step}\n",
        f"`{model}` trained by urlvr_jax for {step} steps of {c['data.prompts_per_step']} questions × {c['rollout.group']} "
        f"responses. {_how(c, reward)}\n",
        _accuracies(run, step),
        _warnings(run, step),
        "## How it was asked\n",
        table(("key", "value"), [[key, _code(drawing.number(c[key]))] for key in ASKED]),
        "## How it was made\n",
        table(("key", "value"), [[key, _code(value)] for key, value in _made(run, c, step).items()]),
    ]
    return visible("\n".join(filter(None, parts)))


ASKED = (
    "data.prompt_format", "data.template", "data.system", "answers.style", "answers.check", "eval.k", "eval.temperature",
    "eval.top_p", "eval.top_k", "rollout.max_new_tokens",
)  # fmt: skip


def _line(text: object) -> str:
    """In one line, and nothing that ends a cell or a span of code."""
    return " ".join(str(text).split()).replace("|", "/").replace("`", "'")


def _code(value: object) -> str:
    text = _line(value)
    return f"`{text}`" if text else "none"


def _quoted(text: str) -> str:
    """As YAML takes any text."""
    return "'" + text.replace("'", "''") + "'"


def _how(c: dict, reward: str) -> str:
    if c["mode"] != "rl":
        return "It imitated documents; no reward was used."
    if c["reward.fn"] or "'" in c["reward.name"] or '"' in c["reward.name"]:  # whose file need not be here
        return f"Its reward was a function of its makers, `{reward}`."
    reads = expression.needs_labels(expression.load(c["reward.name"], ""))
    return f"Its reward, `{reward}`, read {'gold answers' if reads else 'no gold answer'}."


def _accuracies(run: RunRecord, step: int) -> str:
    """Of each question set before training and at the last evaluation up to a step."""
    rows = []
    for name in dict.fromkeys(e["set"] for e in run.evals):
        known = {e["step"]: e for e in run.evals if e["set"] == name and e["step"] <= step}
        for at in sorted({min(known), max(known)} if known else ()):
            e = known[at]
            correct = np.array(e["correct"])
            found = {
                "avg": correct / e["k"],
                "maj": np.array(e["majority"], float),
                "pass": pass_at(correct, e["k"], e["k"]),
            }
            ends = {metric: mean_interval(values) for metric, values in found.items()}
            cells = [f"{found[m].mean():.3f} [{ends[m][0]:.3f}, {ends[m][1]:.3f}]" for m in found]
            which = "base" if at == 0 else f"step {at}"
            rows.append(
                [
                    _line(name),
                    kind_of_set(name, run.trained_on()),
                    str(len(correct)),
                    str(e["k"]),
                    which,
                    *cells,
                ]
            )
    if not rows:
        return "It was not evaluated while it was trained.\n"
    head = ("question set", "", "questions", "k", "of", "avg@k", "maj@k", "pass@k")
    words = "95 % intervals over questions. One training seed: the next one may differ.\n"
    return f"## Accuracy\n\n{table(head, rows)}\n{words}"


def _warnings(run: RunRecord, step: int) -> str:
    """What whoever takes the model should know."""
    out = []
    alarm = alarm_of(run.lines)
    if alarm and alarm[0] <= step:
        out.append(
            f"The run's own watch raised an alarm of collapse at step {alarm[0]} ({_line(alarm[1])}), before this checkpoint."
        )
    if shared := test_time_text(run.trained_on()):
        out.append(f"{shared[0].upper()}{shared[1:]}.")
    clip = by_step(run.lines, "response_length/clip_ratio").get(step)
    if clip and clip > 0.1:
        out.append(f"{clip:.0%} of its training responses at this step were cut at the longest length.")
    return "## Beware\n\n" + "".join(f"- {text}\n" for text in out) if out else ""


def _made(run: RunRecord, c: dict, step: int) -> dict[str, str]:
    tokens = sum(n for s, n in by_step(run.lines, "perf/rollout_tokens").items() if s <= step)
    out = {"questions": c["data.train"], "tokens sampled": f"{tokens:.3g}", "seed": c["seed"]}
    out |= {
        key: drawing.number(c[key])
        for key in ("optim.lr", "kl.coef", "advantage.name", "rollout.temperature")
    }
    return out | {"commit": run.commit, "versions": run.versions}
