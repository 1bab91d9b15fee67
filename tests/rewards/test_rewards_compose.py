"""Sums, options, files of one's own, shadows and the table: what is read and what is refused."""

import dataclasses
import pathlib

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from urlvr_jax import config, validation
from urlvr_jax.answers.classes import read_answers
from urlvr_jax.measure import intervals, metrics
from urlvr_jax.rewards import expression, interface, printed
from urlvr_jax.rewards.compute import reward_inputs, step_rewards
from urlvr_jax.rewards.derived import Facts
from urlvr_jax.types import STATISTICS, Prompts, Reference, RewardInputs, Rollouts, UndeclaredError

ROOT = pathlib.Path(__file__).resolve().parents[2]
P, G, T = 3, 4, 5
RNG = np.random.default_rng(8)
STATS = {n: RNG.uniform(0.1, 2, (P * G, T)).astype(np.float32) for n in STATISTICS}
LENGTHS = RNG.integers(1, T + 1, P * G).astype(np.int32)
ANSWERS = np.array([[0, 0, 1, -1], [0, 1, 2, 2], [-1, -1, -1, -1]], np.int32)
RIGHT = np.array([[1], [0], [-2]]) == ANSWERS
REFERENCE = Reference(jnp.asarray(RIGHT))
MINE = """
import jax.numpy as jnp
from urlvr_jax.rewards import needs


@needs("top2_gap")
def gap(inputs, *, scale=1.0):
    return scale * inputs.per_group(inputs.stats["top2_gap"][:, 0])


def greedy(inputs):
    return inputs.per_group(inputs.stats["top2_gap"][:, 0])


@needs("answers")
def control(inputs, reference):
    return reference.correct.astype(jnp.float32)


def three(inputs, a, b):
    return inputs


def required(inputs, *, scale):
    return inputs


VALUE = 3
"""


def given(fn):
    span = np.zeros((P * G, T), bool)
    return helpers.reward_inputs(fn, stats=STATS, answers=ANSWERS, span=span, lengths=LENGTHS, group=G)


def computed(text, reference=None):
    fn = expression.load(text)
    return np.asarray(expression.compute(fn, given(fn), reference), np.float64)


@pytest.fixture
def mine(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    return file


# ---- sums and options -------------------------------------------------------------------------


def test_a_sum_is_the_weighted_sum_of_its_normalised_terms():
    a, b, c = (computed(n) for n in ("self_certainty", "majority_voting", "length"))
    z = (a - a.mean(axis=1, keepdims=True)) / (a.std(axis=1, ddof=1, keepdims=True) + 1e-6)
    got = computed("group_z(self_certainty) + 0.5*majority_voting - length*2")
    helpers.assert_close(got, z + 0.5 * b - 2 * c)
    helpers.assert_close(computed("-(length - majority_voting)*0.5"), 0.5 * b - 0.5 * c)
    z = (a - a.mean()) / (a.std(ddof=1) + 1e-6)
    helpers.assert_close(computed("0.1*batch_z(self_certainty)"), 0.1 * z)


def test_the_terms_of_a_sum_are_told_apart_before_normaliser_and_weight():
    fn = expression.load("0.5*group_z(self_certainty) + empo(low=0.1)")
    _, terms = expression.compute_terms(fn, given(fn), None)
    assert list(terms) == ["self_certainty", "empo(low=0.1)"]
    np.testing.assert_array_equal(terms["self_certainty"], np.float32(computed("self_certainty")))
    line = metrics.of_terms({n: np.asarray(x) for n, x in terms.items()})
    assert set(line) == {f"reward/{n}/{m}" for n in terms for m in ("mean", "std")}
    # With nothing around it a reward is itself, and has no terms to tell apart.
    assert expression.load("self_certainty") is expression.REWARDS["self_certainty"]
    for text in ("self_certainty", "empo(low=0.1)"):
        fn = expression.load(text)
        assert expression.compute_terms(fn, given(fn), None)[1] == {}


def test_a_sum_declares_the_needs_of_its_terms_and_each_sees_only_its_own(mine):
    fn = expression.load("self_certainty + 2*majority_voting")
    assert interface.needs_of(fn) == ("self_certainty", "answers")
    stealing = expression.load(f"'{mine}:gap' + '{mine}:greedy'")
    with pytest.raises(UndeclaredError, match="'top2_gap' without declaring it"):
        expression.compute(stealing, given(stealing))


def test_a_sum_asks_for_labels_if_a_term_does_and_only_that_term_receives_them(mine):
    for text in ("0.1*self_certainty + ground_truth", "-ground_truth"):
        assert expression.needs_labels(expression.load(text))
    helpers.assert_close(computed(f"format + '{mine}:control'", REFERENCE), (ANSWERS >= 0) * 1.0 + RIGHT)
    assert not expression.needs_labels(expression.load("self_certainty + format"))
    got = computed("0.1*self_certainty + ground_truth", REFERENCE)
    helpers.assert_close(got, 0.1 * computed("self_certainty") + RIGHT)


@pytest.mark.parametrize("text, message", [
    ("", "cannot be read"),
    ("format*", "cannot be read"),
    ("3", "cannot be read"),
    ("format*length", "cannot be read"),
    ("format/2", "cannot be read"),
    ("[format]", "cannot be read"),
    ("__import__('os')", "'__import__' is unknown"),
    ("format.real(1)", "is no reward"),
    ("entropi", r"'entropi' is unknown.*available.*majority_voting"),
    ("majority", "unknown; did you mean 'majority_voting'"),
    ("intuitor", r"unknown; papers call \['self_certainty'\] so"),
    ("em_rl", r"papers call \['token_level_entropy', 'token_level_entropy_sum', 'trajectory"),
    ("self_verification", "'self_verification' is unknown; papers call \\['self_verify'\\] so"),
    ("format + format", r"\['format'\] more than once"),
    ("group_z(2*format)", "weights go before"),
    ("group_z(format, length)", "takes one reward"),
    ("1e999*format", "weight inf of 'format' is not finite"),
    ("format(1)", "options are given by name"),
    ("empo(**x)", "options are given by name"),
    ("empo(low=x)", "an option's value is"),
    ("empo(lo=0.1)", r"'empo' has no option 'lo'; it has \['high', 'low'\]"),
    ("empo(low='a')", "low='a' must be like its default, 0.0"),
    ("empo(low=True)", "low=True must be like its default"),
    ("empo(low=0.5, high=0.2)", "need 0 <= low <= high <= 1"),
    ("empo(high=2)", "need 0 <= low <= high <= 1"),
    ("unified(q='gold')", "q='gold'.*uniform.*majority"),
    ("unified(sigma=2)", r"sigma=2.*\[-1, 1\]"),
    ("unified(q='majority')", "use over='vote'"),
    ("unified(q='policy', over='vote', sigma=-1, psi='exp')", "the same for a whole group"),
    ("unified(q='sampled', over='vote', sigma=1, psi='exp')", "use sigma=-1"),
    ("format + empo(high=2)", "need 0 <= low"),
])  # fmt: skip
def test_what_is_no_reward_is_refused_at_start_up(text, message):
    """By `check`, which opens nothing, so by the configuration; shadows are written alike."""
    with pytest.raises(interface.RewardError, match=message):
        expression.check(text)
    with pytest.raises(interface.RewardError, match=message):
        expression.load(text)
    for key, value in (("reward.name", text), ("reward.shadow", (text,))):
        c = config.default()
        c.update_from_flattened_dict({key: value})
        with pytest.raises(config.ConfigError, match=f"{key} = .*{message}"):
            validation.validate(c, 1)


# ---- files of one's own -----------------------------------------------------------------------


def test_a_reward_of_ones_own_is_loaded_from_its_file(mine, tmp_path):
    first = STATS["top2_gap"][:, 0].reshape(P, G)
    fn = expression.load("majority_voting", f"{mine}:gap")
    np.testing.assert_array_equal(expression.compute(fn, given(fn)), first)
    helpers.assert_close(
        computed(f"'{mine}:gap'(scale=2.0) + 0.5*format"), 2 * first + 0.5 * (ANSWERS >= 0)
    )
    expression.check("'not/read/yet.py:gap'(scale=2.0) + format")
    for where, message in (
        (f"{tmp_path}/other.py:gap", "give an existing file"),
        ("gap", "give an existing file"),
        ("a" * 300 + ".py:gap", "give an existing file"),
        (f"{mine}:gab", "no function 'gab'; it has.*gap"),
        (f"{mine}:VALUE", "no function 'VALUE'"),
        (f"{mine}:three", r"'three' has the parameters \(inputs, a, b\).*keyword-only"),
        (f"{mine}:required", "'required' has the parameters.*with defaults"),
    ):
        with pytest.raises(interface.RewardError, match=f"reward.fn = .*{message}"):
            expression.load("", where)
        with pytest.raises(interface.RewardError, match=message):
            expression.load(f"format + '{where}'")
    with pytest.raises(interface.RewardError, match="no option 'size'"):
        expression.load(f"'{mine}:gap'(size=2)")


@pytest.mark.parametrize("text, message", [
    ("import jax\n\ndef f(inputs:\n", "line 3: SyntaxError"),
    ("import nothing_of_this_name\n", "line 1: ModuleNotFoundError"),
    ("x = 1\ny = x / 0\n", "line 2: ZeroDivisionError"),
    ("from urlvr_jax.rewards import needs\n\n@needs('logits')\ndef f(i):\n    pass\n", "unknown.*logits"),
])  # fmt: skip
def test_an_error_in_a_file_of_ones_own_names_the_file_and_the_line(text, message, tmp_path):
    file = tmp_path / "broken.py"
    file.write_text(text)
    with pytest.raises(interface.RewardError, match=f"broken.py.*{message}"):
        expression.load("", f"{file}:f")


# ---- shadows ----------------------------------------------------------------------------------


def test_shadows_ask_for_no_labels_and_are_named_once(mine):
    assert [fn.__name__ for fn in expression.load_shadows(("empo(low=0.1)", "format"))] == [
        "empo(low=0.1)",
        "format",
    ]
    for names, message in (
        (("ground_truth",), "asks for labels; shadows receive none"),
        (("format + ground_truth",), "asks for labels"),
        ((f"'{mine}:control'",), "asks for labels"),
        (("format", "format"), "more than once"),
    ):
        with pytest.raises(interface.RewardError, match=message):
            expression.load_shadows(names)


def naive_ranks(values):
    return [sum(w < v for w in values) + (sum(w == v for w in values) + 1) / 2 for v in values]


def test_the_rank_correlation_equals_spearmans_with_average_ranks():
    rng = np.random.default_rng(4)
    for n in (2, 3, 10, 40):
        for levels in (2, 3, 1000):
            a, b = rng.integers(0, levels, n) / 7, rng.integers(0, 2, n) == 1
            got = intervals.rank_correlation(a.astype(np.float32), b)
            if a.min() == a.max() or b.min() == b.max():
                assert got is None
            else:
                np.testing.assert_allclose(
                    got, np.corrcoef(naive_ranks(a), naive_ranks(b))[0, 1], atol=1e-12
                )
    assert intervals.rank_correlation(np.array([0.1, 5, 7]), np.array([1, 2, 30])) == 1
    assert intervals.rank_correlation(np.array([0.1, 5, 7]), np.array([3, 2, 1])) == -1


def test_the_correlation_of_a_shadow_is_absent_where_it_is_undefined():
    shadows = {"format": (ANSWERS >= 0).astype(np.float32), "flat": np.ones((P, G), np.float32)}
    assert set(metrics.of_shadows(shadows)) == {"shadow/format/mean", "shadow/flat/mean"}
    np.testing.assert_allclose(metrics.of_shadows(shadows)["shadow/format/mean"], 7 / 12, rtol=1e-6)
    line = metrics.of_shadows_against_labels(shadows, RIGHT)
    want = np.corrcoef(naive_ranks(shadows["format"].reshape(-1)), naive_ranks(RIGHT.reshape(-1)))[0, 1]
    assert set(line) == {"shadow/format/rank_correlation"}
    np.testing.assert_allclose(line["shadow/format/rank_correlation"], want)
    assert metrics.of_shadows_against_labels(shadows, np.zeros((P, G), bool)) == {}


def test_a_shadow_in_the_configuration_is_a_tuple_and_not_for_supervised_mode():
    c = config.default()
    c.reward.shadow = ("majority_voting", "empo(low=0.1)")
    validation.validate(c, 1)
    c.update_from_flattened_dict(
        {"mode": "supervised", "rollout.group": 1, "advantage.name": "none", "data.documents": "lab:plain"}
    )
    with pytest.raises(config.ConfigError, match="reward.shadow = .*supervised.*has no rewards"):
        validation.validate(c, 1)


# ---- in a step --------------------------------------------------------------------------------


MISBEHAVING = """
import jax.numpy as jnp


def undeclared(inputs):
    return inputs.per_group(inputs.stats["logp"].sum(axis=1))


def undeclared_answers(inputs):
    return jnp.where(inputs.answers >= 0, 1.0, 0.0)


def wrong_shape(inputs):
    return jnp.zeros(inputs.lengths.shape)


def not_a_number(inputs):
    return jnp.full(inputs.shape, jnp.nan)


def huge(inputs):
    return jnp.full(inputs.shape, 3e38).at[0, 0].set(0.0)


def raises(inputs):
    return usual_name_misspelt


def nothing(inputs):
    return None


def text(inputs):
    return "reward"


def ragged(inputs):
    return [[1.0], [1.0, 2.0]]


def integers(inputs):
    return [[10**400] * inputs.shape[1]] * inputs.shape[0]


def lazily(inputs):
    yield 1.0


def complex_numbers(inputs):
    return jnp.ones(inputs.shape) * 1j


def writes(inputs):
    inputs.tokens[0] = 1
"""


class Words:
    """A tokenizer of one letter a token."""

    def decode(self, rows):
        return ["".join(chr(64 + int(t)) if t < 40 else chr(int(t)) for t in row) for row in rows]


def stepped(fn, shadows=(), correct=None):
    """Rewards of a step of two groups of two by `fn`: answers 5, 7 and 5, none."""
    texts = ["A5", "BA7", "CCA5", "B"]
    tokens = np.zeros((4, 6), np.int32)
    for row, text in zip(tokens, texts, strict=True):
        row[: len(text)] = [ord(c) if c.isdigit() else ord(c) - 64 for c in text]
    lengths = np.array([len(t) for t in texts], np.int32)
    prompts = Prompts(("a", "b"), ("Qa", "Qb"), np.ones((2, 2), np.int32), np.full(2, 2, np.int32))
    rollouts = Rollouts(tokens, lengths, np.ones(4, bool), {})
    stats = {n: np.arange(24, dtype=np.float32).reshape(4, 6) / 24 for n in STATISTICS}
    c, reward = helpers.experiment(rollout__group=2), expression.Configured(fn, tuple(shadows))
    facts = Facts(read_answers(Words().decode(rollouts.rows()), 2, "lab"), rollouts, Words(), verify=None)
    inputs = reward_inputs(c, reward.needs, facts, prompts, stats, 3)
    return step_rewards(reward, inputs, lambda: Reference(jnp.asarray(correct)), 3)


def test_a_step_hands_over_answers_spans_and_shadows_of_its_own_rollouts():
    shadows = expression.load_shadows(("probability_disparity", "majority_voting"))
    step = stepped(expression.load("length + 0.5*format"), shadows)
    np.testing.assert_allclose(step.terms["length"], [[2 / 6, 3 / 6], [4 / 6, 1 / 6]], rtol=1e-6)
    assert step.terms["format"].tolist() == [[1, 1], [1, 0]]
    helpers.assert_close(step.values, step.terms["length"] + 0.5 * step.terms["format"])
    # The digit's column: 1, 2 and 3 of rows 0, 1 and 2.
    helpers.assert_close(step.shadows["probability_disparity"], np.array([[1, 6 + 2], [12 + 3, 0]]) / 24)
    assert step.shadows["majority_voting"].sum() == 2


def test_labels_reach_the_control_that_asks_and_neither_other_terms_nor_shadows():
    seen = []

    @interface.needs("answers")
    def spying(inputs):
        seen.append({f.name for f in dataclasses.fields(inputs)} | set(inputs.derived) | set(inputs.stats))
        return jnp.zeros(inputs.shape)

    step = stepped(
        expression.load("ground_truth"), [spying], correct=np.array([[False, True], [True, False]])
    )
    assert step.values.tolist() == [[0, 1], [1, 0]]
    fields = {f.name for f in dataclasses.fields(RewardInputs)}
    assert seen == [fields | {"answers"}]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_stops_the_step_and_is_named(value):
    def broken(inputs):
        return jnp.zeros(inputs.shape).at[1, 0].set(value)

    fn = expression.load("format")
    for arguments in ((broken,), (fn, [broken])):
        with pytest.raises(
            interface.RewardError, match=r"step 3: reward 'broken' is not finite in \[\[1, 0\]\]"
        ):
            stepped(*arguments)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("undeclared", "@needs('logp')"),
        ("undeclared_answers", "@needs('answers')"),
        ("wrong_shape", "'wrong_shape' returned shape (4,), expected [P, G] = (2, 2)"),
        ("not_a_number", "step 3: reward 'not_a_number' is not finite in [[0, 0]"),
        ("huge", "step 3: reward 'huge' is up to 3e+38: beyond 1e+15"),
        ("raises", "step 3: reward 'raises' raised NameError: name 'usual_name_misspelt'"),
        ("nothing", "step 3: reward 'nothing' returned NoneType 'None', which are no real numbers"),
        ("text", "step 3: reward 'text' returned str 'reward'"),
        ("ragged", "step 3: reward 'ragged' returned list '[[1.0], [1.0, 2.0]]', which is no array"),
        ("integers", "step 3: reward 'integers' returned list"),
        ("lazily", "step 3: reward 'lazily' returned generator"),
        ("complex_numbers", "which are no real numbers"),
        ("writes", "step 3: reward 'writes' raised TypeError"),
    ],
)
def test_a_reward_that_misbehaves_stops_the_step_and_is_named(tmp_path, name, expected):
    (tmp_path / "mine.py").write_text(MISBEHAVING)
    refused = pytest.raises((interface.RewardError, UndeclaredError))
    with jax.numpy_dtype_promotion("standard"), refused as error:  # as in a user's process
        stepped(expression.load(f"'{tmp_path / 'mine.py'}:{name}'"))
    assert expected in str(error.value)


# ---- the table --------------------------------------------------------------------------------


def test_the_table_in_the_documents_is_what_the_code_says():
    document = (ROOT / "docs" / "rewards.md").read_text()
    assert printed.replaced(document) == document, (
        "run: python -m urlvr_jax.main rewards --out docs/rewards.md"
    )


def test_the_text_and_the_table_have_every_reward_and_all_it_says_of_itself():
    text, markdown = printed.text(), printed.markdown()
    for name, fn in expression.REWARDS.items():
        assert f"\n{name}" in "\n" + text and f"\n**`{name}" in markdown
        for said in (fn.about.formula, fn.about.norm, fn.about.range, fn.about.papers, fn.about.failure):
            assert said in text and said in markdown
    with pytest.raises(interface.RewardError, match="lacks the lines"):
        printed.replaced("# A document without a table\n")


def test_a_long_sum_rehearses_each_of_its_rewards_once(monkeypatch):
    from urlvr_jax.rewards import interface

    traced = []
    monkeypatch.setattr(interface, "_REHEARSED", set())
    monkeypatch.setattr(interface.jax, "eval_shape", lambda fn, *a: traced.append(fn))
    with pytest.raises(interface.RewardError, match="more than once"):
        expression.load(" + ".join(["empo(low=0.1)", "self_certainty"] * 20))
    expression.load("empo(low=0.2)")
    assert sum(getattr(fn, "__name__", "") == "run" for fn in traced) == 3
