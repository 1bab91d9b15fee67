"""What a reward may ask for beyond token statistics, each declared once: how it is made, and what it looks like.

To add one: an entry in DERIVED. Rewards name it in `@needs` and read it as `inputs.NAME`; the rehearsal at
start-up, the tests' inputs and the table of docs/rewards.md follow from the entry.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from urlvr_jax.answers.classes import Answers, partner_classes, partner_votes
from urlvr_jax.answers.tokens import answer_mask
from urlvr_jax.rewards.self_verification import Verification
from urlvr_jax.types import Rollouts


class Facts(NamedTuple):
    """What the host knows of a step when rewards are computed. No label is in here."""

    answers: Answers
    rollouts: Rollouts
    tokenizer: object
    verify: Callable[[], Verification]  # the second generation, made when it is first asked for
    supplied: Callable[[str, Answers], object] | None = None  # `Supplied.of`
    # a check's name -> its scores of the questions alone, float32 [P, G]; `reward_inputs` knows how
    outside: Callable[[str], np.ndarray] | None = None
    # class of the answer of all models together, int32 [P]; `reward_inputs` knows how
    collective: Callable[[], np.ndarray] | None = None
    steps: Callable[[], np.ndarray] | None = None  # of the tokens, int32 [B, T]; likewise


class Derived(NamedTuple):
    """One derived input."""

    provide: Callable[[Facts], object]
    example: Callable[[int, int, int], object]  # (P, G, T) -> zeros of its shape, for a rehearsal
    about: str  # shape, meaning, and the value where there is nothing


def _answer_span(facts: Facts):
    rows = facts.rollouts.rows()
    spans = [f and f[1:] for f in facts.answers.found]
    width = facts.rollouts.tokens.shape[1]
    return jnp.asarray(answer_mask(facts.tokenizer, rows, facts.answers.texts, spans, width))


def _verification(facts: Facts):
    return jnp.asarray(facts.verify().verdicts.reshape(facts.answers.classes.shape))


def _supplied(name: str, example: Callable[[int, int, int], object], about: str) -> Derived:
    """An input that `Supplied` makes."""

    def provide(facts: Facts):
        value = facts.supplied(name, facts.answers)
        return value if isinstance(value, tuple) else jnp.asarray(value)

    return Derived(provide, example, about)


_BY_TOKEN = lambda P, G, T: np.zeros((P * G, T), np.float32)
_BY_ROLLOUT = lambda P, G, T: np.zeros((P, G), np.float32)
_BY_PROMPT = lambda P, G, T: np.zeros(P, np.float32)

DERIVED = {
    "answers": Derived(
        lambda facts: jnp.asarray(facts.answers.classes),
        lambda P, G, T: np.zeros((P, G), np.int32),
        "int32 `[P, G]`, class of each answer within its group; -1 = no answer",
    ),
    "answer_span": Derived(
        _answer_span,
        lambda P, G, T: np.zeros((P * G, T), bool),
        "bool `[B, T]`, the tokens that spell the extracted answer; none without one",
    ),
    "answer_text": Derived(
        lambda facts: tuple(f and f.text for f in facts.answers.found),
        lambda P, G, T: (None,) * (P * G),
        "`[B]`, each answer as it stands in its text; None without one",
    ),
    "verification": Derived(
        _verification,
        lambda P, G, T: np.zeros((P, G), np.int32),
        "int32 `[P, G]`, the policy's own verdict: 1 yes, 0 no, -1 neither",
    ),
    "reconstruction": Derived(
        _verification,
        lambda P, G, T: np.zeros((P, G), np.int32),
        "int32 `[P, G]`, whether the hidden part of the question was found again: 1 yes, 0 no, -1 neither",
    ),
    "tests_passed": Derived(
        lambda facts: jnp.asarray(facts.outside("unit_tests")),
        lambda P, G, T: np.zeros((P, G), np.float32),
        "float32 `[P, G]`, share of the assert lines of the question that hold in the answer's program; 0 without one",
    ),
    "task_solved": Derived(
        lambda facts: jnp.asarray(facts.outside("python_tasks")),
        lambda P, G, T: np.zeros((P, G), np.float32),
        "float32 `[P, G]`, 1 where the question's program turns the input to the output, one of them being the answer",
    ),
    "rephrased": Derived(
        lambda facts: jnp.asarray(partner_classes(facts.answers.majority, facts.answers.names)),
        lambda P, G, T: np.zeros(P, np.int32),
        "int32 `[P]`, class of the majority answer to the question in other words; -1 where that group has "
        "none, -2 where nobody here gave it",
    ),
    "rephrased_votes": Derived(
        lambda facts: jnp.asarray(partner_votes(facts.answers.classes, facts.answers.names)),
        lambda P, G, T: np.zeros((P, G), np.int32),
        "int32 `[P, G]`, how many of the G rollouts of the question in other words give this rollout's answer; 0 "
        "without an answer",
    ),
    "collective": Derived(
        lambda facts: jnp.asarray(facts.collective()),
        lambda P, G, T: np.zeros(P, np.int32),
        "int32 `[P]`, class of the answer that the group and the models of `data.votes` give together, each weighted by its "
        "self-consistency; -1 where nobody answered, -2 where nobody here gave it",
    ),
    "base_logp": _supplied("base_logp", _BY_TOKEN, "float32 `[B, T]`, log-probability by the frozen base"),
    "base_entropy": _supplied("base_entropy", _BY_TOKEN, "float32 `[B, T]`, of the base's distribution"),
    "base_self_certainty": _supplied(
        "base_self_certainty", _BY_TOKEN, "float32 `[B, T]`, of the base's distribution"
    ),
    "continuation": _supplied(
        "continuation",
        lambda P, G, T: (("",),) * P,
        "`[P]`, what follows each prompt in `continuation.corpus`: a tuple of its tokens' texts",
    ),
    "prediction": _supplied(
        "prediction",
        lambda P, G, T: ("",) * (P * G),
        "`[B]`, each response after the last `continuation.thought_end`",
    ),
    "continuation_logp": _supplied(
        "continuation_logp",
        _BY_ROLLOUT,
        "float32 `[P, G]`, the policy's mean log-probability of a token of the continuation after the thought; "
        "-inf where it does not fit `continuation.buckets`",
    ),
    "continuation_logp_alone": _supplied(
        "continuation_logp_alone", _BY_PROMPT, "float32 `[P]`, the same without a thought"
    ),
    "continuation_logp_base": _supplied(
        "continuation_logp_base",
        _BY_PROMPT,
        "float32 `[P]`, the same without a thought, by the frozen base",
    ),
    "continuation_p": _supplied(
        "continuation_p",
        _BY_ROLLOUT,
        "float32 `[P, G]`, the policy's mean probability of a token of the continuation after the thought; -inf where it "
        "does not fit `continuation.buckets`",
    ),
    "continuation_p_alone": _supplied(
        "continuation_p_alone", _BY_PROMPT, "float32 `[P]`, the same without a thought"
    ),
    "step_of": Derived(
        lambda facts: jnp.asarray(facts.steps()),
        lambda P, G, T: np.zeros((P * G, T), np.int32),
        "int32 `[B, T]`, which step of its response each token belongs to, from 0; steps end as `states.cut` says, of more than "
        "`states.most` several are one; -1 past the end",
    ),
    "answer_distance": _supplied(
        "answer_distance",
        lambda P, G, T: np.zeros((P * G, 1, G), np.float32),
        "float32 `[B, S, G]`, the policy's mean negative log-probability of a token of the group's answer of class k, and of what "
        "`states.template` and the end token put after it, after the first s steps of each response, S of them at most (`states.most`); inf where there is no such state or answer",
    ),
}
SECOND_GENERATION = frozenset({"verification", "reconstruction"})  # the latter by `verify.dual`
TWO_WORDINGS = frozenset({"rephrased", "rephrased_votes"})  # those that need `data.rephrase`
OF_OTHERS = frozenset({"collective"})  # those that need `data.votes`
RUN_PROGRAMS = {
    "tests_passed": "unit_tests",
    "task_solved": "python_tasks",
}  # inputs that a check in a sandbox makes


def derive(names, facts: Facts) -> dict[str, object]:
    """{name: value} of those of DERIVED that are among `names`."""
    return {name: made.provide(facts) for name, made in DERIVED.items() if name in names}
