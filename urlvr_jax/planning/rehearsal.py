"""doctor's last findings: the question files read, and one made-up step through check and reward.

No weights are loaded and nothing is compiled for the model. A reward or check of the user's own file is called.
"""

from __future__ import annotations

import functools
import time

import numpy as np

from urlvr_jax import config as config_lib
from urlvr_jax.answers.classes import read_answers
from urlvr_jax.checks import own, table
from urlvr_jax.data import prompt_formats, stream
from urlvr_jax.data.labels import Labels
from urlvr_jax.data.padding import padded
from urlvr_jax.errors import UserError
from urlvr_jax.measure import notices
from urlvr_jax.planning.finding import Finding
from urlvr_jax.rewards import expression
from urlvr_jax.rewards.compute import reference_of, reward_inputs, step_rewards
from urlvr_jax.rewards.derived import DERIVED, SECOND_GENERATION, Facts
from urlvr_jax.rewards.self_verification import Verification
from urlvr_jax.runtime import judges, opening
from urlvr_jax.types import STATISTICS, Rollouts

RESPONSE_TOKENS = 16
SLOW_S = 60.0  # of a step, for the check


def rehearse(c) -> list[Finding]:
    """Findings about files, template, evaluations, reward and check. Nothing is raised for what a user can cause."""
    if c.mode == "supervised":
        return []
    try:
        tokenizer = opening.open_model(c)[2]
        prompt_format = prompt_formats.of(c, tokenizer)
        reward = expression.load_configured(c)
        check = table.of(c)
        questions, labels = opening.open_questions(
            c, prompt_format, columns=expression.needs_labels(reward.fn)
        )
    except UserError as error:
        return [Finding("rehearsal", "fail", str(error), "change what is named")]
    out = [Finding("prompts", "warn", text, "see docs/data.md") for text in prompt_format.warnings]
    key = "continuation.corpus" if c.continuation.corpus else "data.train"
    out += _of_questions(c, key, config_lib.trained_on(c), questions, labels)
    sets = []
    for name in c.eval.sets if c.eval.every else ():
        try:
            sets.append((name, *opening.open_evaluation(c, name, prompt_format)))
        except UserError as error:
            out.append(Finding("eval.sets", "fail", str(error), "change what is named, or eval.every = 0"))
            continue
        out += _of_questions(c, "eval.sets", *sets[-1])
    out += _notices("eval.sets", notices.of_sets(c))
    out += _notices(
        "answers.style", notices.of_template(questions.texts[0], c.answers.style, notices.is_lab(c))
    )
    if sets:
        out.append(evaluations(c, sum(len(q) for _, q, _ in sets)))
    out.append(step(c, tokenizer, reward, check, questions, labels))
    return out


def _notices(name: str, found: dict[str, str]) -> list[Finding]:
    return [Finding(name, "warn", text) for text in found.values()]


def _of_questions(c, key: str, name: str, questions, labels) -> list[Finding]:
    origin = questions.origin
    text = f"{name}: {len(questions)} questions, {questions.overlong} too long, {len(labels.gold)} with a gold answer"
    out = [Finding(key, "ok", f"{text}; {origin.lengths}")]
    return _notices(key, notices.of_questions(name, questions, labels, c.data.prompt_buckets)) or out


def evaluations(c, questions: int) -> Finding:
    """What the evaluations of a run sample, beside what training does."""
    count = 1 + c.steps // c.eval.every + bool(c.steps % c.eval.every)
    rows = count * questions * c.eval.k
    share = rows / (c.steps * config_lib.rows_per_step(c))
    text = f"{count} of {questions} questions, {c.eval.k} responses each: {rows} responses, {share:.0%} of training's"
    remedy = "raise eval.every, or lower eval.k or eval.max_questions"
    return Finding("evaluations", "warn" if share > 1 else "ok", text, remedy if share > 1 else "")


def step(c, tokenizer, reward, check, questions, labels: Labels) -> Finding:
    """Reward and check on a step whose responses are the questions' own first tokens."""
    count = 2 + 2 * questions.paired
    prompts = stream.prompts_at(questions, 1, count, c.seed, shuffle=False)
    rows = [tokenizer.encode(q)[:RESPONSE_TOKENS] or [tokenizer.end_id] for q in prompts.questions]
    rows = [row for row in rows for _ in range(c.rollout.group)]
    tokens, lengths = padded(rows, max(map(len, rows)))
    rollouts = Rollouts(tokens, lengths, np.ones(len(rows), bool), {})
    stats = {name: np.where(rollouts.mask, 1.0, 0.0).astype(np.float32) for name in STATISTICS}
    try:
        texts = tokenizer.decode(rollouts.rows())
        answers = read_answers(texts, c.rollout.group, c.answers.style, check.key_of)
        asked = labels.of(prompts)
        table.require_rows(c.answers.check, asked.questions, asked.rows)
        opening.require_given(c, reward, questions.questions)
        if SECOND_GENERATION & reward.needs:
            judges.model_of(c)
        began = time.perf_counter()
        grade = check.begin(answers, asked)
        graded = grade()
        seconds = (time.perf_counter() - began) / len(prompts.ids) * config_lib.rows_per_step(c)
        made_up = lambda name, _: DERIVED[name].example(count, c.rollout.group, tokens.shape[1])
        nobody = np.zeros(len(rows), np.int32)
        verify = lambda: Verification(nobody, nobody[:, None], prompts, rollouts)
        facts = Facts(answers, rollouts, tokenizer, verify, made_up)
        inputs = reward_inputs(c, reward.needs, facts, prompts, stats, 1)
        step_rewards(reward, inputs, functools.partial(reference_of, grade, asked), 1)
    except UserError as error:
        return Finding("reward", "fail", str(error), "mend the function, or change the key that is named")
    text = f"{reward.fn.__name__} on {len(rows)} made-up responses"
    if own.is_own(c.answers.check):
        seconds /= max(1, c.answers.workers)
        text += f"; answers.check may take {seconds:.2g} s of a step"
        if graded.why:
            return Finding("answers.check", "warn", graded.why, "mend the function")
        if seconds > SLOW_S:
            return Finding("answers.check", "warn", text, "more answers.workers, or fewer rollouts a step")
    return Finding("reward", "ok", text)
