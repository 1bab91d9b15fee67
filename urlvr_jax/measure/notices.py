"""What a user should hear at once: nothing that makes a run pointless stays silent.

Each function returns {kind: sentence}; whoever prints says each kind once. No label is needed, but where the sentence
is about labels.
"""

from __future__ import annotations

import numpy as np

from urlvr_jax import config as config_lib
from urlvr_jax.answers.extract import ASKED_BY
from urlvr_jax.answers.missing import missing
from urlvr_jax.checks import own
from urlvr_jax.checks.grading import ungraded_text
from urlvr_jax.data import prompt_formats

FEW_QUESTIONS = 8


# ---- answers ------------------------------------------------------------------------------------------


def of_answers(texts: list[str], answered: int, style: str) -> dict[str, str]:
    """Of responses, of which `answered` had an answer of this style: none, or far fewer than of another style."""
    text = missing(texts, answered, style)
    return {"answers": text} if text else {}


def of_template(prompt: str, style: str, lab: bool) -> dict[str, str]:
    """Of a rendered prompt that asks for another form of answer than `answers.style` reads. lab: of its questions."""
    if style.startswith("lab"):
        text = f"answers.style = {style!r} reads answers as the laboratory's models write them, 'A12'"
        remedy = "; for questions of your own take boxed, hashes, tag, line, choice or number"
        return {} if lab else {"template": text + remedy}
    asks = [s for s, marker in ASKED_BY.items() if marker in prompt]
    if style not in ASKED_BY or style in asks:
        return {}
    names = [n for n, p in prompt_formats.PRESETS.items() if ASKED_BY[style] in p.text + p.user + p.system]
    text = f"answers.style = {style!r}, but the prompt does not say {ASKED_BY[style]!r}"
    text += f": it asks as for {asks}" if asks else ""
    return {"template": f"{text}; set data.template" + (f", such as {names}" if names else "")}


# ---- a step -------------------------------------------------------------------------------------------


def of_step(c, rollouts, answers, rewards, graded) -> dict[str, str]:
    """Of a training step that teaches nothing, or that nobody can judge."""
    if c.mode == "supervised":
        return {}
    values = rewards.values[:, : c.rollout.train_group or c.rollout.group]
    answered = sum(key is not None for key in answers.keys)
    judged = own.is_own(c.answers.check) and rewards.labelled  # what is trained on reads no answer of ours
    out = {} if judged else of_answers(answers.texts, answered, c.answers.style)
    if np.ptp(values) == 0:
        out["reward"] = (
            f"the reward is {values[0, 0]:.4g} for all {values.size} responses of a step: it teaches nothing"
        )
    elif (np.ptp(values, axis=1) == 0).all():
        out["groups"] = (
            f"the rewards are equal within each of the {len(values)} groups of a step: it teaches nothing. A larger "
            "rollout.group, a higher rollout.temperature, or harder questions may help"
        )
    if not rollouts.ended.any():
        out["cut"] = (
            f"all {len(rollouts.ended)} responses of a step were cut at rollout.max_new_tokens = "
            f"{c.rollout.max_new_tokens}: raise it, or see that the model knows its end token"
        )
    return out | of_check(graded)


def of_check(graded) -> dict[str, str]:
    """Of `answers.check`: nothing judged, or some responses without a verdict."""
    if graded.correct is None:
        return {"check": f"{graded.why}: labelled metrics are absent from such a step"}
    said = ungraded_text(graded.ungraded, graded.error)
    return (
        {"check": f"answers.check gave no verdict to some responses, which count as wrong: {said}"}
        if said
        else {}
    )


def is_lab(c) -> bool:
    """Whether the questions are the laboratory's."""
    return config_lib.trained_on(c).startswith("lab:")


# ---- data ---------------------------------------------------------------------------------------------


def of_questions(name: str, questions, labels, buckets) -> dict[str, str]:
    """Of a question file: most of it too long, or one gold answer for all."""
    out = {}
    count = len(questions) + questions.overlong
    if questions.overlong * 2 > count:
        out[f"long {name}"] = (
            f"{name}: {questions.overlong} of {count} prompts are longer than the widest of data.prompt_buckets = "
            f"{tuple(buckets)} and left out; {questions.origin.lengths}"
        )
    gold = list(labels.gold.values())
    if len(gold) > 1 and len(set(gold)) == 1:
        out[f"gold {name}"] = (
            f"{name}: all {len(gold)} gold answers are {gold[0][:40]!r}; see which column data.columns reads"
        )
    return out


def of_sets(c) -> dict[str, str]:
    """Of evaluation sets from another world than the questions that are trained on."""
    worlds = (
        "lab:countdown",
        "lab:integration",
        "lab:programs",
        "lab:python_tasks",
        "lab:python_tests",
        "lab:",
    )  # those of sums have no name of their own
    world = lambda name: next((w for w in worlds if name.startswith(w)), None)
    if c.mode == "supervised" or not c.eval.every or c.continuation.corpus:
        return {}
    other = [name for name in c.eval.sets if world(name) != world(c.data.train)]
    if not other:
        return {}
    text = f"eval.sets has {other}, but data.train = {c.data.train!r}: they are of another kind; set eval.sets to"
    return {"sets": f"{text} held-out questions of the same, or eval.every = 0"}


def of_run(run) -> dict[str, str]:
    """Of what a run has opened."""
    c = run.c
    if c.mode == "supervised":
        return {}
    out = of_sets(c)
    trained = config_lib.trained_on(c)
    for name, questions, labels in ((trained, run.questions, run.labels), *run.eval_sets):
        out |= of_questions(name, questions, labels, c.data.prompt_buckets)
    if len(run.questions) < c.data.prompts_per_step:
        out["few"] = (
            f"{trained} has {len(run.questions)} questions for data.prompts_per_step = {c.data.prompts_per_step}: "
            "some come more than once in a step"
        )
    for name, questions, _ in run.eval_sets:
        if len(questions) < FEW_QUESTIONS:
            out[f"few {name}"] = (
                f"{name}: an evaluation on {len(questions)} questions tells little but chance"
            )
    return out | of_template(run.questions.texts[0], c.answers.style, is_lab(c))
