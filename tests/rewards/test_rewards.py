"""What a reward can and cannot see, and the rules of the vote."""

import dataclasses
import signal
import subprocess
import sys

import helpers
import jax.numpy as jnp
import numpy as np
import pytest

from urlvr_jax.answers import classes
from urlvr_jax.rewards import expression, interface
from urlvr_jax.rewards.interface import NEEDS
from urlvr_jax.types import STATISTICS, Declared, Reference, RewardInputs, UndeclaredError

P, G, T = 4, 4, 6
RNG = np.random.default_rng(1)
LENGTHS = RNG.integers(2, T + 1, P * G).astype(np.int32)
LENGTHS[:5] = 1, 0, T, T, 3
ENDED = RNG.random(P * G) < 0.5
ENDED[2], ENDED[3] = False, True  # cut at the limit; ended at the limit
STATS = {n: RNG.uniform(0.1, 2, (P * G, T)).astype(np.float32) for n in STATISTICS}
STATS["logp"] = -STATS["logp"]
# A clear majority; a tie; nobody answers; ties among answers with abstentions.
ANSWERS = np.array([[1, 0, 1, 1], [0, 1, 1, 0], [-1, -1, -1, -1], [-1, 2, 0, 1]], np.int32)
LABEL_FREE = sorted(name for name, fn in expression.REWARDS.items() if not expression.needs_labels(fn))
SPAN = (np.arange(T) < LENGTHS[:, None]) & (np.arange(T) > 0) & (ANSWERS.reshape(-1, 1) >= 0)


def inputs(fn=None, **changes) -> RewardInputs:
    """What `fn` would be given."""
    given = dict(
        stats=STATS, answers=ANSWERS, span=SPAN, lengths=LENGTHS, group=G, ended=jnp.asarray(ENDED)
    )
    return helpers.reward_inputs(fn, **(given | changes))


def computed(name, reference=None, **changes) -> np.ndarray:
    fn = expression.REWARDS[name]
    return np.asarray(expression.compute(fn, inputs(fn, **changes), reference))


@pytest.mark.parametrize("name", LABEL_FREE)
def test_columns_past_the_length_do_not_matter(name):
    dirty = {n: np.where(np.arange(T) < LENGTHS[:, None], x, np.nan) for n, x in STATS.items()}
    np.testing.assert_array_equal(computed(name, stats=dirty), computed(name))


def test_the_control_rewards_what_is_right_and_nothing_else():
    right = RNG.random((P, G)) < 0.5
    np.testing.assert_array_equal(computed("ground_truth", Reference(jnp.asarray(right))), right)


def test_the_coin_is_fair_and_follows_its_key():
    wide = np.ones(200 * 50, np.int32)
    one, two, again = (computed("random", stats=None, lengths=wide, group=50, key=k) for k in (0, 1, 0))
    assert set(np.unique(one)) == {0, 1}
    assert abs(one.mean() - 0.5) < 5 * 0.5 / np.sqrt(one.size)
    np.testing.assert_array_equal(one, again)
    assert 0.4 < (one != two).mean() < 0.6


def test_the_majority_is_minus_one_where_nobody_answered():
    assert classes.majority_class(jnp.asarray(ANSWERS)).tolist() == [1, 0, -1, 0]
    # Abstentions are not a class, however many there are.
    assert classes.majority_class(jnp.array([[-1, -1, -1, 3]])).tolist() == [3]


def test_the_majority_does_not_depend_on_the_order_of_rollouts():
    rng = np.random.default_rng(2)
    words = ["5", "7", "12", "x + 1", None, "0"]
    tied = 0
    for _ in range(100):
        keys = [words[i] for i in rng.integers(0, len(words), 8)]
        counts = sorted((keys.count(k) for k in set(keys) - {None}), reverse=True)
        tied += len(counts) > 1 and counts[0] == counts[1]
        winners = set()
        for _ in range(4):
            shuffled = [keys[i] for i in rng.permutation(8)]
            ids, (names,) = classes.group_classes(shuffled, 8)
            winner = int(classes.majority_class(jnp.asarray(ids))[0])
            winners.add({i: k for k, i in names.items()}.get(winner))
        assert len(winners) == 1
        assert keys.count(winners.pop()) == (counts[0] if counts else keys.count(None))
    assert tied > 10


def test_only_a_reward_that_asks_for_the_reference_receives_it():
    seen = []

    def without(given):
        seen.append(given)
        return jnp.zeros(given.shape)

    def control(given, reference):
        seen.append(reference)
        return jnp.zeros(given.shape)

    reference = Reference(jnp.zeros((P, G), bool))
    assert not expression.needs_labels(without) and expression.needs_labels(control)
    expression.compute(without, inputs(), reference)
    expression.compute(control, inputs(), reference)
    assert isinstance(seen[0], RewardInputs) and seen[1] is reference
    controls = {name for name, fn in expression.REWARDS.items() if expression.needs_labels(fn)}
    assert controls == {"ground_truth", "verifier", "noisy_verifier", "zero_wrong_majority"}
    assert set(LABEL_FREE) | controls == set(expression.REWARDS)


def test_reward_inputs_have_no_field_that_could_hold_a_label():
    assert [f.name for f in dataclasses.fields(RewardInputs)] == [
        "stats", "derived", "tokens", "lengths", "ended", "texts", "prompts", "questions",
        "max_new_tokens", "key",
    ]  # fmt: skip
    assert set(NEEDS) == {
        "logp", "entropy", "self_certainty", "top2_gap", "answers", "answer_span", "answer_text",
        "verification", "reconstruction", "rephrased", "rephrased_votes", "collective", "tests_passed", "task_solved",
        "base_logp", "base_entropy", "base_self_certainty", "continuation",
        "prediction", "continuation_logp", "continuation_logp_alone", "continuation_logp_base",
        "continuation_p", "continuation_p_alone", "answer_distance", "step_of",
    }  # fmt: skip


def test_what_was_not_declared_is_an_error_that_names_it_and_the_remedy():
    @interface.needs("logp")
    def one(given):
        return given.per_group(given.stats["entropy"][:, 0])

    def two(given):
        return jnp.where(given.answers >= 0, 1.0, 0.0)

    @interface.needs("answers")
    def three(given):
        return given.per_group(jnp.any(given.answer_span, axis=1))

    for fn, name in ((one, "entropy"), (two, "answers"), (three, "answer_span")):
        with pytest.raises(UndeclaredError, match=rf"'{name}' without declaring it.*@needs\('{name}'\)"):
            expression.compute(fn, inputs(fn))


def test_a_reward_is_handed_nothing_that_it_did_not_declare():
    everything = dataclasses.replace(
        inputs(),
        stats=Declared({n: jnp.asarray(x) for n, x in STATS.items()}),
        derived=Declared({"answers": jnp.asarray(ANSWERS), "answer_span": jnp.asarray(SPAN)}),
    )
    seen = []

    @interface.needs("entropy", "answers")
    def reads(given):
        seen.append((set(given.stats), set(given.derived)))
        return jnp.zeros(given.shape)

    expression.compute(reads, everything)
    assert seen == [({"entropy"}, {"answers"})]


def test_a_need_that_is_unknown_is_refused_where_it_is_declared():
    with pytest.raises(interface.RewardError, match="unknown.*perplexity.*available.*logp.*answer_span"):
        interface.needs("logp", "perplexity")


def test_every_reward_declares_what_it_needs_and_describes_itself():
    assert {n: interface.needs_of(f) for n, f in expression.REWARDS.items()} == {
        "self_certainty": ("self_certainty",),
        "token_level_entropy": ("entropy",),
        "token_level_entropy_sum": ("entropy",),
        "trajectory_level_entropy": ("logp",),
        "trajectory_level_entropy_sum": ("logp",),
        "probability": ("logp",),
        "probability_relative": ("logp",),
        "probability_geometric": ("logp",),
        "probability_disparity": ("top2_gap", "answer_span"),
        "majority_voting": ("answers",),
        "ttrl": ("answers",),
        "empo": ("answers",),
        "weighted_voting": ("answers", "logp"),
        "scrl": ("answers", "entropy"),
        "snr": ("answers",),
        "unified": ("self_certainty",),
        "covo": ("answers", "answer_distance"),
        "curiosity": ("logp", "answers", "step_of"),
        "self_verify": ("verification",),
        "coverrl": ("answers", "verification"),
        "dupo": ("reconstruction",),
        "co_reward": ("answers", "rephrased"),
        "rlccf": ("answers", "collective"),
        "self_harmony": ("answers", "rephrased_votes"),
        "countdown": ("answer_text",),
        "programs": ("answer_text",),
        "unit_tests": ("tests_passed",),
        "python_tasks": ("task_solved",),
        "integration": ("answer_text",),
        "rlp": ("continuation_logp", "continuation_logp_alone"),
        "rlpr": ("continuation_p", "continuation_p_alone"),
        "rpt": ("continuation", "prediction"),
        "rlpt": ("continuation", "prediction"),
        "ground_truth": (),
        "verifier": (),
        "noisy_verifier": (),
        "zero_wrong_majority": ("answers",),
        "random": (),
        "format": ("answers",),
        "length": (),
    }
    unified = expression.REWARDS["unified"]
    assert interface.needs_of(unified, {"q": "sampled", "over": "answer"}) == ("logp", "answer_span")
    assert interface.needs_of(unified, {"q": "majority", "over": "vote"}) == ("answers",)
    for fn in expression.REWARDS.values():
        described = dataclasses.asdict(fn.about)
        assert all(text for name, text in described.items() if name != "differs"), fn.__name__


def test_a_wrong_shape_is_an_error_that_names_the_reward_and_both_shapes():
    def by_row(given):
        return given.lengths

    def transposed(given):
        return given.lengths[: P * G - P].reshape(P, G - 1)

    for fn, shape in ((by_row, r"\(16,\)"), (transposed, r"\(4, 3\)")):
        with pytest.raises(interface.RewardError, match=rf"{fn.__name__}.*{shape}.*\(4, 4\)"):
            expression.compute(fn, inputs(), None)


def test_a_reader_that_has_seen_enough_ends_a_verb_quietly():
    words = [sys.executable, "-m", "urlvr_jax.main", "rewards"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()  # as `| head` does
    assert process.stderr.read() == b"" and process.wait() == 128 + signal.SIGPIPE
    process.stderr.close()
