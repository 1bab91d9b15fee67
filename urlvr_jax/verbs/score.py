"""score: rewards of responses that were written before, by any model.

Rows of one prompt of the file are its group.
"""

from __future__ import annotations

import functools
import json

import numpy as np

from urlvr_jax.checks import table
from urlvr_jax.config import ConfigError
from urlvr_jax.data import prompt_formats
from urlvr_jax.data.completions import Row, read
from urlvr_jax.data.labels import Labels
from urlvr_jax.data.padding import padded
from urlvr_jax.errors import DataError
from urlvr_jax.measure import notices
from urlvr_jax.rewards import expression, self_verification, supplied
from urlvr_jax.rewards.compute import reference_of, reward_inputs, step_rewards
from urlvr_jax.rewards.derived import OF_OTHERS, SECOND_GENERATION, TWO_WORDINGS, Facts
from urlvr_jax.runtime import elsewhere, judges, own_rows
from urlvr_jax.runtime.engine import Engine
from urlvr_jax.runtime.opening import require_programs, require_second_generation
from urlvr_jax.runtime.terminal import warn
from urlvr_jax.types import STATISTICS, Prompts, Rollouts
from urlvr_jax.verbs.opened import open_flag

ROWS_AT_ONCE = 64  # of one call of the scorer, or one group where that is more


def by_prompt(rows: list[Row]) -> list[list[Row]]:
    """The rows of each prompt, prompts in order of appearance; DataError unless groups are of one size."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.prompt, []).append(row)
    first, *others = groups.values()
    for group in others:
        if len(group) != len(first):
            raise DataError(
                f"{group[-1].where}: prompt {group[0].prompt[:60]!r} has {len(group)} rows, the one in line "
                f"{first[0].line} has {len(first)}: the rows of a prompt form its group, and all groups must "
                "be of one size"
            )
    for group in groups.values():
        answers = [row for row in group if row.answer is not None]
        for row in answers:
            if row.answer != answers[0].answer:
                raise DataError(
                    f"{row.where}: `answer` {row.answer!r}, but {answers[0].answer!r} in line "
                    f"{answers[0].line} for the same prompt"
                )
    return list(groups.values())


def run(flag) -> int:
    """Rewards of the saved completions of --data; one JSON line a row on standard output."""
    if not flag.data:
        raise ConfigError("--data is missing: give a file of JSON lines with `prompt` and `response`")
    rows = read(flag.data)  # before the model, which takes longer
    _, engine, params, tokenizer, _, step = open_flag(flag)
    for line in rewards_of(engine, params, tokenizer, rows, step or 0):
        print(json.dumps(line))
    return 0


def rewards_of(engine: Engine, params, tokenizer, rows: list[Row], step: int) -> list[dict]:
    """One dict a row, in the file's order, of the reward that the engine's configuration names.

    params are in the training layout. Rewards over a whole step, such as `batch_z`, are over the file.
    """
    c = engine.c
    reward = expression.load_configured(c)
    if TWO_WORDINGS & reward.needs:
        raise DataError(
            f"saved completions have no other wording of their prompts, which {c.reward.fn or c.reward.name!r} or a "
            "shadow needs: give --config.reward.name another, such as majority_voting"
        )
    if lacking := [name for name in supplied.NAMES if name in reward.needs]:
        raise DataError(
            f"saved completions have neither a corpus, a frozen base nor scored states beside the model: give another --config.reward.name "
            f"than {reward.fn.__name__}, which needs {lacking[0]}"
        )
    groups = by_prompt(rows)
    gold = {str(p): row.answer for p, g in enumerate(groups) for row in g if row.answer is not None}
    labels = Labels(gold, {str(p): g[0].columns for p, g in enumerate(groups)})
    check = table.of(c)
    questions = [g[0].prompt for g in groups]
    table.require_rows(c.answers.check, questions, [g[0].columns for g in groups])
    require_programs(c, reward, questions)
    require_second_generation(c, reward, questions)
    if OF_OTHERS & reward.needs:
        elsewhere.require(c, questions, "the file of --data")
    if expression.needs_labels(reward.fn) and check.needs_gold and len(gold) < len(groups):
        lacking = next(g[0] for p, g in enumerate(groups) if str(p) not in gold)
        raise DataError(
            f"{lacking.where}: reward {reward.fn.__name__!r} needs an `answer` for every prompt"
        )
    most = max(prompt_formats.SHORT, engine.model_config.max_positions * tokenizer.longest_token)
    _check_characters(groups, most)
    prompts = _prompts(groups, prompt_formats.of(c, tokenizer))
    rollouts = _rollouts(groups, tokenizer)
    lengths = np.repeat(prompts.lengths, len(groups[0])) + rollouts.lengths
    longest = int(lengths.argmax())
    if 0 < engine.model_config.max_positions < lengths[longest]:
        row = [row for group in groups for row in group][longest]
        raise DataError(
            f"{row.where}: prompt and response have {lengths[longest]} tokens, but the model's "
            f"max_position_embeddings is {engine.model_config.max_positions}: leave out such rows"
        )
    engine = _resized(engine, rollouts, len(groups[0]), len(groups))
    rollouts = _widened(rollouts, engine.c.rollout.max_new_tokens)
    stats = _statistics(engine, params, prompts, rollouts)
    c = engine.c
    answers = own_rows.read(c, tokenizer, rollouts.rows(), c.rollout.group, check)
    answered = sum(key is not None for key in answers.keys)
    for text in notices.of_answers(answers.texts, answered, c.answers.style).values():
        warn(text)
    asked = labels.of(prompts)
    grade = own_rows.begin(check, answers, asked)
    judge = _judge(engine, params, tokenizer) if SECOND_GENERATION & reward.needs else None
    verify = functools.partial(self_verification.ask, judge, prompts, step, answers.texts)
    facts = Facts(answers, rollouts, tokenizer, verify)
    inputs = reward_inputs(c, reward.needs, facts, prompts, stats, step)
    rewards = step_rewards(reward, inputs, functools.partial(reference_of, grade, asked), step)
    correct = grade().correct
    out = {}
    for b, row in enumerate(row for group in groups for row in group):
        at = divmod(b, len(groups[0]))
        line = {"line": row.line, "prompt": row.prompt, "response": row.response}
        line |= {"reward": float(rewards.values[at]), "answer": answers.keys[b]}
        line["tokens"] = int(rollouts.lengths[b])
        if correct is not None:
            line["correct"] = bool(correct[at])
        for key, values in (("terms", rewards.terms), ("shadows", rewards.shadows)):
            if values:
                line[key] = {name: float(x[at]) for name, x in values.items()}
        out[row.line] = line
    return [out[row.line] for row in rows]


def _judge(engine: Engine, params: dict, tokenizer) -> self_verification.Judge:
    """Who judges; ConfigError for a base beside the weights that are scored, which only a run has."""
    if engine.c.verify.judge == "base" and not engine.model_config.lora:
        raise ConfigError(
            "verify.judge = 'base': `score` has one model; name the other, --config.verify.judge=lab:plain or a folder"
        )
    return judges.asked(engine, tokenizer, judges.opened(engine.c), None)(params)


def _check_characters(groups, most: int) -> None:
    """DataError for a text that has more characters than the model's positions can hold, before it is encoded."""
    for row in (row for group in groups for row in group):
        count = max(len(row.prompt), len(row.response))
        if count > most:
            raise DataError(
                f"{row.where}: has a text of {count} characters; the model can hold at most {most}"
            )


def _prompts(groups, prompt_format) -> Prompts:
    asked = [g[0].prompt for g in groups]
    texts, ids, _ = prompt_format.encode(asked)
    for group, tokens in zip(groups, ids, strict=True):
        if not len(tokens):
            raise DataError(f"{group[0].where}: the prompt has no tokens")
    return Prompts(
        tuple(map(str, range(len(groups)))),
        tuple(texts),
        *padded(ids, max(1, *map(len, ids))),
        tuple(asked),
    )


def _rollouts(groups, tokenizer) -> Rollouts:
    flat = [row for group in groups for row in group]
    ids = [tokenizer.encode(r.response) + [tokenizer.end_id] * r.ended for r in flat]
    return Rollouts(*padded(ids, max(1, *map(len, ids))), np.array([r.ended for r in flat]), {})


def _resized(engine: Engine, rollouts: Rollouts, group: int, prompts: int) -> Engine:
    """The engine for groups and responses of this size, a few prompts a call."""
    c = engine.c.copy_and_resolve_references()
    width = rollouts.tokens.shape[1]
    c.rollout.group = group
    c.rollout.train_group = 0
    c.rollout.max_new_tokens = max(width, c.rollout.max_new_tokens)
    c.rollout.response_buckets = tuple(sorted({width, c.rollout.max_new_tokens}))
    c.data.prompts_per_step = min(prompts, max(1, ROWS_AT_ONCE // group))
    c.optim.minibatch_prompts = 0
    return Engine(c, engine.model_config, engine.stop_ids)


def _widened(rollouts: Rollouts, width: int) -> Rollouts:
    """With token columns up to `width`."""
    tokens = np.pad(rollouts.tokens, ((0, 0), (0, width - rollouts.tokens.shape[1])))
    return Rollouts(tokens, rollouts.lengths, rollouts.ended, {})


def _statistics(engine: Engine, params, prompts: Prompts, rollouts: Rollouts) -> dict[str, np.ndarray]:
    """Teacher-forced statistics `[B, T]`, some prompts at a time; the last call is filled up with no rows."""
    count, group = engine.c.data.prompts_per_step, engine.c.rollout.group
    parts = []
    for start in range(0, len(prompts.ids), count):
        chosen = np.arange(start, start + count)
        real = chosen < len(prompts.ids)
        chosen = chosen % len(prompts.ids)
        rows = (chosen[:, None] * group + np.arange(group)).reshape(-1)
        some = Prompts((), (), prompts.tokens[chosen], prompts.lengths[chosen])
        lengths = np.where(np.repeat(real, group), rollouts.lengths[rows], 0).astype(np.int32)
        part = engine.score(
            params, some, Rollouts(rollouts.tokens[rows], lengths, rollouts.ended[rows], {})
        )
        parts.append({name: x[: real.sum() * group] for name, x in part.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in STATISTICS}
