"""How near each answer of a group is to every state of its responses: the passes of the scorer that `covo` compares.

A state is the prompt with the first steps of a response, up to its answer. Each of the group's answers is put after each
state, and the policy says how likely it finds it there.
"""

from __future__ import annotations

import dataclasses
import re
from typing import NamedTuple

import numpy as np

from urlvr_jax import config as config_lib
from urlvr_jax.answers.classes import Answers
from urlvr_jax.answers.tokens import tokens_within
from urlvr_jax.data.padding import bucket, padded
from urlvr_jax.types import Prompts, Rollouts

ANSWER = "{answer}"


class Candidate(NamedTuple):
    """An answer of a group, as it is put after a state."""

    answer: int  # its class
    tokens: np.ndarray  # int32 [N], `states.template` and the end token
    first: int  # the first of them that spells the answer


def cut_after(c) -> str:
    """What a step ends with: `states.cut`, or what steps of this answer style end with."""
    return c.states.cut or (";" if c.answers.style.startswith("lab") else "\n")


def template(c) -> str:
    """How an answer follows a state: `states.template`, or as this answer style writes it."""
    if c.states.template:
        return c.states.template
    if c.answers.style.startswith("lab"):
        return "A" + ANSWER
    return "The answer is: " + ("\\boxed{" + ANSWER + "}" if c.answers.style == "boxed" else ANSWER)


def ends(reasoning: str, cut: str, most: int) -> list[int]:
    """Where the states of a reasoning end, in characters: at 0, the prompt alone, and after each step that is not blank.

    Of more than `most` the first, the last, and those evenly between.
    """
    found, begin = [0], 0
    for match in re.finditer(re.escape(cut), reasoning):
        if reasoning[begin : match.start()].strip():
            found.append(match.end())
        begin = match.end()
    if len(found) <= most:
        return found
    return [found[int(i)] for i in np.linspace(0, len(found) - 1, most).round()]


def steps(c, tokenizer, rollouts: Rollouts, texts: list[str]) -> np.ndarray:
    """int32 `[B, T]`: which step each token of a response belongs to, from 0; -1 past its end. texts `[B]`: the responses."""
    out = np.full(rollouts.tokens.shape, -1, np.int32)
    for line, row, text in zip(out, rollouts.rows(), texts, strict=True):
        line[: len(row)] = 0
        for end in ends(text, cut_after(c), c.states.most)[1:]:
            if text[end:].strip():
                line[tokens_within(tokenizer, row, end) : len(row)] += 1
    return out


def distances(engine, params, tokenizer, prompts: Prompts, rollouts: Rollouts, answers: Answers):
    """Mean negative log-probability of a token of each answer after each state, at logits / temperature: float32 `[B, S, G]`.

    S is `states.most`; column k is the answer of class k, with the end token after it. Of a group at most `states.answers`
    are compared, those with most votes. inf where there is no such state or answer: none of a response without an answer,
    or of a group with a single one; and no state where an answer would not fit the widest response.
    """
    c, (P, G) = engine.c, answers.classes.shape
    widest = config_lib.response_buckets(c)[-1]
    spelled: dict[str, Candidate] = {}  # what is put after a state, kept for other groups
    rows: list[list[np.ndarray]] = [[] for _ in range(P)]
    first_of: dict[tuple[int, bytes], int] = {}  # a state that comes again in its group is scored once
    asked = []
    for p in range(P):
        candidates = _candidates(c, tokenizer, answers.of(slice(p, p + 1)), spelled)
        longest = max((len(x.tokens) for x in candidates), default=0)
        for b in range(p * G, (p + 1) * G) if len(candidates) > 1 else ():
            for s, state in enumerate(_states(c, tokenizer, rollouts, answers, b)):
                if len(state) + longest > widest:
                    continue
                key = p, state.tobytes()
                if key not in first_of:
                    first_of[key] = len(rows[p])
                    rows[p] += [np.concatenate([state, x.tokens]) for x in candidates]
                asked.append((p, b, s, len(state), first_of[key], candidates))
    scored = log_probabilities(engine, params, prompts, rows)
    out = np.full((P * G, c.states.most, G), np.inf, np.float32)
    for p, b, s, length, first, candidates in asked:
        for i, x in enumerate(candidates):
            out[b, s, x.answer] = -scored[p][first + i][length + x.first :].mean()
    return out


def _candidates(c, tokenizer, answers: Answers, spelled: dict[str, Candidate]) -> list[Candidate]:
    """The answers of one group that are compared, as its first rollout with each wrote them."""
    classes = answers.classes[0]
    votes = np.bincount(classes[classes >= 0])
    out = []
    for answer in np.argsort(-votes, kind="stable")[: c.states.answers]:
        text = answers.found[int(np.argmax(classes == answer))].text
        if text not in spelled:
            written = template(c).replace(ANSWER, text)
            ids = tokenizer.encode_plain(written)
            first = tokens_within(tokenizer, ids, template(c).index(ANSWER))
            spelled[text] = Candidate(-1, np.array([*ids, tokenizer.end_id], np.int32), first)
        out.append(spelled[text]._replace(answer=int(answer)))
    return out


def _states(c, tokenizer, rollouts: Rollouts, answers: Answers, b: int):
    """Token ids of each state of a response, without those of the prompt; none without an answer."""
    found = answers.found[b]
    if found is None:
        return
    row = rollouts.tokens[b, : rollouts.lengths[b]]
    for end in ends(answers.texts[b][: found.start], cut_after(c), c.states.most):
        yield row[: tokens_within(tokenizer, row, end) if end else 0]


def log_probabilities(engine, params, prompts: Prompts, rows: list[list[np.ndarray]]):
    """Log-probabilities float32 `[n]` of the tokens of any number of rows int32 `[n]` after each prompt: `[P]` lists of both.

    By as many calls of a step's scorer as they need. A call has P places for G rows of one prompt, and a prompt takes
    several where it has more; short rows share calls, so that these are of a narrow width.
    """
    group, widths = engine.c.rollout.group, config_lib.response_buckets(engine.c)
    out = [[None] * len(of_prompt) for of_prompt in rows]
    parts = []
    for p, of_prompt in enumerate(rows):
        order = sorted(range(len(of_prompt)), key=lambda i: len(of_prompt[i]))
        parts += [(p, order[i : i + group]) for i in range(0, len(order), group)]
    parts.sort(key=lambda part: len(rows[part[0]][part[1][-1]]))
    for at in range(0, len(parts), len(rows)):
        call = parts[at : at + len(rows)]
        asked = np.array([p for p, _ in call] + [0] * (len(rows) - len(call)))
        these = dataclasses.replace(prompts, tokens=prompts.tokens[asked], lengths=prompts.lengths[asked])
        given = [np.zeros(0, np.int32)] * (len(rows) * group)
        for place, (p, members) in enumerate(call):
            given[place * group : place * group + len(members)] = [rows[p][i] for i in members]
        tokens, lengths = padded(given, bucket(max(map(len, given)), widths))
        logp = engine.score_rows(params, these, tokens, lengths)["logp"]
        for place, (p, members) in enumerate(call):
            for j, i in enumerate(members):
                out[p][i] = logp[
                    place * group + j, : len(rows[p][i])
                ].copy()  # not a view of the whole call
    return out
