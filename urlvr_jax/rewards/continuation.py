"""The corpus as its own verifier: what a text goes on with is compared with what the policy thinks it goes on with.

A response is a thought and a prediction, parted by `continuation.thought_end`. The continuation is the corpus's,
whether it is right or not.
"""

from __future__ import annotations

import itertools

import jax.numpy as jnp

from urlvr_jax.rewards.interface import RewardError, about, needs, paid_where
from urlvr_jax.types import RewardInputs

BASELINES = {"policy": "continuation_logp_alone", "base": "continuation_logp_base"}


def _baseline(options: dict) -> str:
    if options["baseline"] not in BASELINES:
        raise RewardError(f"rlp(baseline={options['baseline']!r}): choose one of {list(BASELINES)}")
    return BASELINES[options["baseline"]]


@about(
    family="corpus",
    formula="1/|c| (log pi(c | x, thought of y) - log pi_0(c | x)), c what follows x in the corpus",
    norm="none: by tokens of the continuation",
    range="(-inf, inf), 0 for no thought (baseline='policy')",
    papers="RLP (2510.01265)",
    failure="a thought that recites the continuation is worth most, whether or not it is a reason; wrong text is learned as right",
    differs="there every position of a document is rewarded and pi_0 is an average of past policies; here one segment a "
    "prompt, and pi_0 is the policy itself or the frozen base. There only the thought is trained; here what is sampled "
    "after it is too",
)
@needs(lambda **options: ("continuation_logp", _baseline(options)))
def rlp(inputs: RewardInputs, *, baseline="policy"):
    """Information gain of the thought in nats a token. 0 where thought and continuation do not fit `continuation.buckets`."""
    return _gain(inputs.continuation_logp, inputs.derived[BASELINES[baseline]])


def _gain(after, alone):
    """What thoughts `[P, G]` add to no thought `[P]`; 0 where one of them was not scored."""
    alone = alone[:, None]
    scored = jnp.isfinite(after) & jnp.isfinite(alone)
    return jnp.where(scored, after, 0.0) - jnp.where(scored, alone, 0.0)


@about(
    family="corpus",
    formula="clip(1/|c| sum_j pi(c_j | x, thought of y, c_<j) - 1/|c| sum_j pi(c_j | x, c_<j), 0, 1)",
    norm="none: by tokens of the continuation",
    range="[0, 1], 0 for no thought",
    papers="RLPR (2506.18254)",
    failure="a thought that recites the continuation is worth most, as for `rlp`; likely tokens of a long continuation, which any "
    "thought predicts, drown those that tell",
    differs="there c is the gold answer, put in the place of the response's own: so it is a control that is trained on labels, as it "
    "is here wherever the corpus's continuations are gold answers. Groups whose rewards hardly differ are left out there, below a running mean "
    "of their deviation; not here",
)
@needs("continuation_p", "continuation_p_alone")
def rlpr(inputs: RewardInputs):
    """Gain of the thought in mean probability a token. 0 where thought and continuation do not fit `continuation.buckets`."""
    return jnp.clip(_gain(inputs.continuation_p, inputs.continuation_p_alone), 0.0, 1.0)


@about(
    family="corpus",
    formula="1[prediction of y is one or more whole tokens that c begins with]",
    norm="none",
    range="{0, 1}",
    papers="RPT (2506.08007)",
    failure="a prediction of one token is the easiest to get right: the shortest beginning wins",
    differs="bytes there, characters here; there the prediction stands in a box, here after `continuation.thought_end`, "
    "or with read='answer' where `answers.style` finds it; `least` asks for more tokens, or for all where there are fewer",
)
@needs(lambda **options: ("continuation", "answer_text" if options["read"] == "answer" else "prediction"))
def rpt(inputs: RewardInputs, *, read="prediction", least=1):
    """1 where the prediction is a prefix of the continuation and ends where a token ends."""
    if read not in ("prediction", "answer"):
        raise RewardError(f"rpt(read={read!r}): choose one of ['prediction', 'answer']")
    said = inputs.answer_text if read == "answer" else inputs.prediction
    group = inputs.shape[1]
    beginnings = [
        set(list(itertools.accumulate(c))[min(int(least), len(c)) - 1 :]) for c in inputs.continuation
    ]
    return paid_where(inputs, lambda: [text in beginnings[b // group] for b, text in enumerate(said)])


@about(
    family="corpus",
    formula="1[prediction of y = c, but for spaces and capitals]",
    norm="none",
    range="{0, 1}",
    papers="RLPT, its next-segment task (2509.19249)",
    failure="what can be said in several ways is seldom paid",
    differs="there a generative reward model judges whether the two agree in meaning, and pays a prediction that the "
    "segment begins with; here they are compared as text",
)
@needs("continuation", "prediction")
def rlpt(inputs: RewardInputs):
    """1 where the prediction is the next segment."""
    plain = lambda text: " ".join(text.casefold().split())
    segments = [plain("".join(c)) for c in inputs.continuation]
    group = inputs.shape[1]
    same = lambda: [plain(text) == segments[b // group] for b, text in enumerate(inputs.prediction)]
    return paid_where(inputs, same)


METHODS = (rlp, rlpr, rpt, rlpt)
