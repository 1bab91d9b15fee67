"""Every reward, from random logits, against a float64 NumPy version of its own.

The references below know nothing of the package: they start from logits, temperature, sampled tokens
and answers, one rollout at a time.
"""

import math

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from urlvr_jax.rewards import expression, unified
from urlvr_jax.rewards.interface import RewardError
from urlvr_jax.scoring import token_statistics
from urlvr_jax.types import STATISTICS, Reference

V, PADDED, T, LIMIT = 29, 3, 7, 10  # PADDED rows of the head that no token of the tokenizer has
ANSWERS = {
    # A clear majority; a tie of two; nobody answers; all differ, one silent; all agree; a tie with 'none'.
    4: [[1, 0, 1, 1], [0, 1, 1, 0], [-1] * 4, [-1, 2, 0, 1], [0] * 4, [-1, 0, -1, 0]],
    1: [[0], [-1], [0]],  # singletons
}


class Case:
    """Random logits, and what a step makes of them: statistics in float32 by `score.statistics_of`."""

    def __init__(self, temperature, group, seed):
        rng = np.random.default_rng(seed)
        self.answers = np.array(ANSWERS[group], np.int32)
        rows = self.answers.size
        z = 3 * rng.standard_normal((rows, T, V + PADDED))
        z[..., V:] -= 30  # never sampled, but part of the softmax and of the vocabulary's mean
        z[0, 0, :2] = z[0, 0].max() + 1  # two likeliest tokens
        self.logits, self.temperature = z.astype(np.float32), temperature
        self.tokens = rng.integers(0, V, (rows, T)).astype(np.int32)
        self.lengths = rng.integers(1, T + 1, rows).astype(np.int32)
        self.lengths[:3] = (1, 0, T)[: min(3, rows)]
        self.ended = rng.random(rows) < 0.5
        self.ended[2] = False  # cut at the limit
        self.span = np.zeros((rows, T), bool)
        for b, n in enumerate(self.lengths):
            if self.answers.flat[b] >= 0 and n:
                start = rng.integers(0, n)
                self.span[b, start : rng.integers(start, n) + 1] = True
        z32 = jnp.asarray(self.logits).reshape(-1, V + PADDED) / temperature
        stats = jax.jit(token_statistics.statistics_of)(z32, self.tokens.reshape(-1))
        mask = np.arange(T) < self.lengths[:, None]
        self.stats = {n: np.where(mask, np.asarray(stats[n]).reshape(rows, T), 0) for n in STATISTICS}

    def computed(self, name, options=None, reference=None):
        fn = expression.load(f"{name}({options})" if options else name)
        given = helpers.reward_inputs(
            fn, stats=self.stats, answers=self.answers, span=self.span, lengths=self.lengths,
            group=self.answers.shape[1], ended=jnp.asarray(self.ended), max_new_tokens=LIMIT,
        )  # fmt: skip
        out = np.asarray(expression.compute(fn, given, reference))
        assert out.dtype == np.float32
        return out

    def by_row(self, of_row):
        """float64 `[P, G]` of a function of one rollout's log p_t `[n, V]`, tokens `[n]` and span `[n]`."""
        out = []
        for b, n in enumerate(self.lengths):
            z = self.logits[b, :n].astype(np.float64) / self.temperature
            log_p = z - z.max(axis=-1, keepdims=True)
            log_p -= np.log(np.exp(log_p).sum(axis=-1, keepdims=True))
            out.append(of_row(log_p, self.tokens[b, :n], self.span[b, :n]))
        return np.array(out, np.float64).reshape(self.answers.shape)

    def by_group(self, of_group):
        return np.array([of_group(list(map(int, row))) for row in self.answers], np.float64)


CASES = [
    Case(temperature, group, i) for i, (temperature, group) in enumerate([(0.7, 4), (1.3, 4), (1.6, 1)])
]
mean = lambda x: sum(x) / len(x) if len(x) else 0.0
sampled = lambda log_p, y: [row[i] for row, i in zip(log_p, y, strict=True)]
entropies = lambda log_p: [-(np.exp(row) * row).sum() for row in log_p]


def gap(row):
    second, first = np.sort(np.exp(row))[-2:]
    return first - second


REFERENCES = {
    "self_certainty": lambda log_p, y, s: mean([-row.mean() for row in log_p]),
    "token_level_entropy": lambda log_p, y, s: -mean(entropies(log_p)),
    "token_level_entropy_sum": lambda log_p, y, s: -sum(entropies(log_p)),
    "trajectory_level_entropy": lambda log_p, y, s: mean(sampled(log_p, y)),
    "trajectory_level_entropy_sum": lambda log_p, y, s: sum(sampled(log_p, y)),
    "probability_geometric": lambda log_p, y, s: math.exp(mean(sampled(log_p, y))),
    "probability_disparity": lambda log_p, y, s: mean(
        [gap(r) for r, inside in zip(log_p, s, strict=True) if inside]
    ),
}


@pytest.mark.parametrize("case", CASES, ids=["T0.7", "T1.3", "singletons"])
@pytest.mark.parametrize("name", REFERENCES)
def test_a_certainty_equals_float64(name, case):
    want = case.by_row(REFERENCES[name])
    assert want.std() > 1e-3
    helpers.assert_close(case.computed(name), want)


@pytest.mark.parametrize("case", CASES, ids=["T0.7", "T1.3", "singletons"])
def test_the_probability_equals_float64_in_the_log_domain(case):
    logs = case.by_row(lambda log_p, y, s: sum(sampled(log_p, y)))
    assert logs.min() > -100  # where float32 still holds the product
    helpers.assert_close(np.log(case.computed("probability").astype(np.float64)), logs)
    shifted = logs - logs.max(axis=1, keepdims=True)
    helpers.assert_close(np.log(case.computed("probability_relative").astype(np.float64)), shifted)


def test_the_relative_probability_has_a_signal_where_the_product_is_zero():
    lengths = np.full(4, 300, np.int32)
    logp = np.full((4, 300), -0.5, np.float32)
    logp[1, 0], logp[2, 0] = -1.0, -0.75
    compute = lambda name: np.asarray(
        expression.compute(
            expression.REWARDS[name],
            helpers.reward_inputs(expression.REWARDS[name], stats={"logp": logp}, lengths=lengths, group=4),
        )
    )
    assert (compute("probability") == 0).all()
    np.testing.assert_allclose(compute("probability_relative")[0], np.exp([0, -0.5, -0.25, 0]), rtol=1e-4)


# ---- votes ------------------------------------------------------------------------------------


def winner(answers):
    """The class with most votes, ties to the smallest; None where nobody answered."""
    valid = [a for a in answers if a >= 0]
    return min(valid, key=lambda a: (-valid.count(a), a)) if valid else None


def first_seen(answers):
    counts = {}
    for a in answers:  # the silent vote too; dicts keep the order of insertion
        counts[a] = counts.get(a, 0) + 1
    return max(counts, key=counts.get)


def clusters(low, high):
    def of_group(answers):
        n = len(answers)
        sizes = [answers.count(a) for a in sorted(set(answers)) if a >= 0] + [1] * answers.count(-1)
        entropy = -sum(s / n * math.log(s / n) for s in sizes)
        share = entropy / math.log(n) if n > 1 else 0.0
        if not low - 1e-12 <= share <= high + 1e-12:
            return [0] * n
        return [answers.count(a) / n if a >= 0 else 0 for a in answers]

    return of_group


VOTES = [
    ("majority_voting", "", lambda answers: [a == winner(answers) for a in answers]),
    ("ttrl", "", lambda answers: [a == first_seen(answers) for a in answers]),
    ("format", "", lambda answers: [a >= 0 for a in answers]),
    ("empo", "", clusters(0, 1)),
    ("empo", "high=0.999", clusters(0, 0.999)),
    ("empo", "low=0.2", clusters(0.2, 1)),
    ("empo", "low=0.45, high=0.55", clusters(0.45, 0.55)),
]


@pytest.mark.parametrize("case", CASES, ids=["T0.7", "T1.3", "singletons"])
@pytest.mark.parametrize("name, options, of_group", VOTES, ids=[f"{n}({o})" for n, o, _ in VOTES])
def test_a_vote_equals_float64(name, options, of_group, case):
    helpers.assert_close(case.computed(name, options), case.by_group(of_group))


def test_the_thresholds_of_empo_keep_some_groups_and_drop_others():
    kept = [(CASES[0].computed("empo", o) > 0).any(axis=1).tolist() for o in ("high=0.999", "low=0.2")]
    # a, b, a, a | a, b, b, a | none | all differ | all agree | two agree, two silent
    assert kept == [[True, True, False, False, True, True], [True, True, False, True, False, True]]


@pytest.mark.parametrize("case", CASES, ids=["T0.7", "T1.3", "singletons"])
def test_a_weighted_vote_equals_float64(case):
    weights = case.by_row(REFERENCES["probability_geometric"])
    want = np.zeros(weights.shape)
    for p, answers in enumerate(case.answers):
        totals = {
            a: sum(w for w, b in zip(weights[p], answers, strict=True) if b == a) for a in set(answers)
        }
        totals.pop(-1, None)
        if totals:
            want[p] = answers == max(totals, key=totals.get)
    helpers.assert_close(case.computed("weighted_voting"), want)
    if case.answers.shape[1] > 1:  # ties are broken by certainty
        assert (want != case.computed("majority_voting")).any()


def test_one_model_alone_makes_the_vote_of_rlccf_a_majority_vote():
    """Equal weights, which is what one model's self-consistency is to all its votes on a question."""
    case = CASES[0]
    equal = {"logp": np.full(case.stats["logp"].shape, -0.3, np.float32)}
    fn = expression.REWARDS["weighted_voting"]
    lengths = np.full(case.lengths.shape, 2, np.int32)
    given = helpers.reward_inputs(fn, stats=equal, answers=case.answers, lengths=lengths, group=4)
    np.testing.assert_array_equal(expression.compute(fn, given), case.computed("majority_voting"))


def test_the_released_vote_differs_where_it_is_said_to():
    """Ties go to the first seen, and an empty answer votes and earns."""
    released, ours = (CASES[0].computed(n) for n in ("ttrl", "majority_voting"))
    np.testing.assert_array_equal(released[2], np.ones(4))  # nobody answered
    np.testing.assert_array_equal(ours[2], np.zeros(4))
    np.testing.assert_array_equal(released[5], [1, 0, 1, 0])  # 'none' was seen first
    np.testing.assert_array_equal(ours[5], [0, 1, 0, 1])


# ---- controls ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=["T0.7", "T1.3", "singletons"])
def test_a_control_equals_float64(case):
    helpers.assert_close(case.computed("length"), case.lengths.reshape(case.answers.shape) / LIMIT)
    want = case.answers % 2 == 0
    helpers.assert_close(case.computed("ground_truth", reference=Reference(jnp.asarray(want))), want)
    scores = np.linspace(-1, 2, want.size).reshape(want.shape)
    reference = Reference(jnp.asarray(want), jnp.asarray(scores, jnp.float32))
    helpers.assert_close(case.computed("verifier", reference=reference), scores)
    assert set(np.unique(case.computed("random"))) <= {0, 1}
    certain = case.computed(
        "noisy_verifier", "yes_if_right=1.0, yes_if_wrong=0.0", reference=Reference(jnp.asarray(want))
    )
    helpers.assert_close(certain, want)


def test_a_noisy_verifier_has_the_rates_it_is_given():
    right = np.arange(4000).reshape(500, 8) % 2 == 0
    fn = expression.load("noisy_verifier(yes_if_right=0.9, yes_if_wrong=0.2)")
    given = helpers.reward_inputs(fn, lengths=np.ones(4000, np.int32), group=8)
    said = np.asarray(expression.compute(fn, given, Reference(jnp.asarray(right))))
    assert set(np.unique(said)) == {0, 1}
    assert abs(said[right].mean() - 0.9) < 0.03 and abs(said[~right].mean() - 0.2) < 0.03


@pytest.mark.parametrize("option", ["yes_if_right=1.1", "yes_if_wrong=-0.1"])
def test_a_noisy_verifier_refuses_what_is_no_chance(option):
    with pytest.raises(RewardError, match="give a chance from 0 to 1"):
        expression.load(f"noisy_verifier({option})")


def test_no_reward_goes_without_a_reference_here():
    compared = {*REFERENCES, *(n for n, _, _ in VOTES)}
    compared |= {
        "probability",
        "probability_relative",
        "weighted_voting",
        "length",
        "ground_truth",
        "verifier",
        "noisy_verifier",
        "random",
    }
    elsewhere = {"self_verify", "coverrl", "co_reward", "countdown", "integration"}  # in files of their own
    elsewhere |= {"scrl", "snr", "self_harmony", "zero_wrong_majority"}  # test_label_rules.py
    elsewhere |= {"programs", "unit_tests", "python_tasks"}  # tests/checks
    elsewhere |= {"dupo", "rlccf"}  # test_dual.py, test_elsewhere.py
    elsewhere |= {"rlp", "rlpr", "rpt", "rlpt"}  # test_continuation.py
    elsewhere |= {"covo", "curiosity"}  # test_covo.py
    assert compared | elsewhere | {"unified"} == set(expression.REWARDS)


# ---- the unified form -------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=["T0.7", "T1.3", "singletons"])
@pytest.mark.parametrize("name", unified.INSTANCES)
def test_an_instance_of_the_unified_form_equals_its_method(name, case):
    options = unified.INSTANCES[name].keywords
    text = ", ".join(f"{k}={v!r}" for k, v in options.items())
    got, want = case.computed("unified", text), case.computed(name)
    if name == "probability":
        got, want = np.log(got.astype(np.float64)), np.log(want.astype(np.float64))
    helpers.assert_close(got, want)
    assert want.std() > 0


@pytest.mark.parametrize("q, of_row", [
    ("uniform", lambda row, i: -row.mean()),
    ("policy", lambda row, i: -(np.exp(row) * row).sum()),
    ("sampled", lambda row, i: -row[i]),
])  # fmt: skip
@pytest.mark.parametrize("over", ["tokens", "answer", "sequence"])
@pytest.mark.parametrize("psi", ["identity", "exp", "indicator"])
def test_the_unified_form_equals_float64(q, of_row, over, psi):
    case = CASES[1]

    def signed(log_p, y, s):
        terms = [
            of_row(r, i) for r, i, inside in zip(log_p, y, s, strict=True) if inside or over != "answer"
        ]
        return -sum(terms) / (max(1, len(terms)) if over != "sequence" else 1)

    want = case.by_row(signed)
    got = case.computed("unified", f"q={q!r}, over={over!r}, sigma=-1, psi={psi!r}").astype(np.float64)
    if psi == "exp":
        assert want.min() > -600
        held = want > -100
        helpers.assert_close(np.log(got[held]), want[held])
    else:
        want = want == want.max(axis=1, keepdims=True) if psi == "indicator" else want
        helpers.assert_close(got, want)


# ---- normalisation ----------------------------------------------------------------------------


@pytest.mark.parametrize("group", [1, 4])
def test_normalised_terms_equal_float64(group):
    rng = np.random.default_rng(5)
    lengths = rng.integers(1, 9, 6 * group).astype(np.int32)
    lengths[:group] = 3  # a group of equal scores
    x = lengths.reshape(-1, group) / 10
    compute = lambda text: np.asarray(
        expression.compute(expression.load(text), helpers.reward_inputs(lengths=lengths, group=group))
    )
    std = x.std(axis=1, ddof=1, keepdims=True) if group > 1 else np.ones((6, 1))
    within = (x - x.mean(axis=1, keepdims=True)) / (std + 1e-6)
    assert (compute("group_z(length)")[0] == 0).all()
    helpers.assert_close(compute("group_z(length)"), within)
    helpers.assert_close(compute("batch_z(length)"), (x - x.mean()) / (x.std(ddof=1) + 1e-6))
