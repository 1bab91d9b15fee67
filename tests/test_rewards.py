"""Rewards against float64 NumPy, and what a reward can and cannot see."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from urlvr_jax import answers, rewards
from urlvr_jax.types import STATISTICS, Declared, Reference, RewardInputs

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
LABEL_FREE = ("self_certainty", "token_level_entropy", "trajectory_level_entropy", "probability",
              "majority_voting", "random", "format", "length")  # fmt: skip


def inputs(fn=None, key=0, **changes) -> RewardInputs:
    """What `fn` would be given: the statistics it declared and nothing else of them."""
    values = dict(
        stats=Declared({n: jnp.asarray(STATS[n]) for n in getattr(fn, "needs", ())}),
        tokens=jnp.zeros((P * G, T), jnp.int32),
        lengths=jnp.asarray(LENGTHS),
        ended=jnp.asarray(ENDED),
        answers=jnp.asarray(ANSWERS),
        texts=("",) * (P * G),
        prompts=("",) * P,
        max_new_tokens=10,
        key=jax.random.key(key),
    )
    return RewardInputs(**(values | changes))


def computed(name, reference=None, **changes) -> np.ndarray:
    fn = rewards.REWARDS[name]
    return np.asarray(rewards.compute(fn, inputs(fn, **changes), reference))


def rows(name):
    return [STATS[name][b, :n].astype(np.float64) for b, n in enumerate(LENGTHS)]


@pytest.mark.parametrize(
    "name, of_row",
    [
        ("self_certainty", lambda b: rows("self_certainty")[b].mean() if LENGTHS[b] else 0),
        ("token_level_entropy", lambda b: -rows("entropy")[b].mean() if LENGTHS[b] else 0),
        ("trajectory_level_entropy", lambda b: rows("logp")[b].mean() if LENGTHS[b] else 0),
        ("probability", lambda b: np.exp(rows("logp")[b].sum())),
        ("majority_voting", lambda b: [1, 0, 1, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0][b]),
        ("format", lambda b: ANSWERS.flat[b] >= 0),
        ("length", lambda b: LENGTHS[b] / 10),
    ],
)
def test_a_reward_equals_float64(name, of_row):
    want = np.array([of_row(b) for b in range(P * G)], np.float64).reshape(P, G)
    got = computed(name)
    assert got.dtype == np.float32 and got.shape == (P, G)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    assert want.std() > 0


@pytest.mark.parametrize("name", LABEL_FREE)
def test_columns_past_the_length_do_not_matter(name):
    fn = rewards.REWARDS[name]
    dirty = {n: np.where(np.arange(T) < LENGTHS[:, None], x, np.nan) for n, x in STATS.items()}
    stats = Declared({n: jnp.asarray(dirty[n]) for n in getattr(fn, "needs", ())})
    np.testing.assert_array_equal(computed(name, stats=stats), computed(name))


def test_a_verifier_rewards_the_gold_answer_and_nothing_else():
    reference = Reference(jnp.array([0, -2, -2, 2], jnp.int32))
    want = [[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]]
    np.testing.assert_array_equal(computed("ground_truth", reference), want)


def test_the_coin_is_fair_and_follows_its_key():
    wide = jnp.zeros((200, 50), jnp.int32)
    one, two, again = (computed("random", answers=wide, key=k) for k in (0, 1, 0))
    assert set(np.unique(one)) == {0, 1}
    assert abs(one.mean() - 0.5) < 5 * 0.5 / np.sqrt(one.size)
    np.testing.assert_array_equal(one, again)
    assert 0.4 < (one != two).mean() < 0.6


def test_the_majority_is_minus_one_where_nobody_answered():
    assert rewards.majority_answer(jnp.asarray(ANSWERS)).tolist() == [1, 0, -1, 0]
    # Abstentions are not a class, however many there are.
    assert rewards.majority_answer(jnp.array([[-1, -1, -1, 3]])).tolist() == [3]


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
            ids, (names,) = answers.classes(shuffled, 8)
            winner = int(rewards.majority_answer(jnp.asarray(ids))[0])
            winners.add({i: k for k, i in names.items()}.get(winner))
        assert len(winners) == 1
        assert keys.count(winners.pop()) == (counts[0] if counts else keys.count(None))
    assert tied > 10


def test_only_a_reward_that_asks_for_the_reference_receives_it():
    seen = []

    def without(given):
        seen.append(given)
        return given.answers * 0.0

    def verifier(given, reference):
        seen.append(reference)
        return given.answers * 0.0

    reference = Reference(jnp.zeros(P, jnp.int32))
    assert not rewards.is_verifier(without) and rewards.is_verifier(verifier)
    rewards.compute(without, inputs(), reference)
    rewards.compute(verifier, inputs(), reference)
    assert isinstance(seen[0], RewardInputs) and seen[1] is reference
    verifiers = {name for name, fn in rewards.REWARDS.items() if rewards.is_verifier(fn)}
    assert verifiers == {"ground_truth"} and set(LABEL_FREE) | verifiers == set(rewards.REWARDS)


def test_reward_inputs_have_no_field_that_could_hold_a_label():
    assert [f.name for f in dataclasses.fields(RewardInputs)] == [
        "stats", "tokens", "lengths", "ended", "answers", "texts", "prompts", "max_new_tokens", "key",
    ]  # fmt: skip


def test_a_statistic_that_was_not_declared_is_an_error_that_names_it():
    @rewards.needs("logp")
    def reads_more(given):
        return given.per_group(given.stats["entropy"][:, 0])

    with pytest.raises(KeyError, match="'entropy' without declaring it"):
        rewards.compute(reads_more, inputs(reads_more), None)
    with pytest.raises(ValueError, match="perplexity"):
        rewards.needs("logp", "perplexity")
    assert {n: getattr(f, "needs", ()) for n, f in rewards.REWARDS.items()} == {
        "self_certainty": ("self_certainty",),
        "token_level_entropy": ("entropy",),
        "trajectory_level_entropy": ("logp",),
        "probability": ("logp",),
        "majority_voting": (),
        "ground_truth": (),
        "random": (),
        "format": (),
        "length": (),
    }


def test_a_wrong_shape_is_an_error_that_names_the_reward_and_both_shapes():
    def by_row(given):
        return given.lengths

    def transposed(given):
        return given.answers.reshape(-1)[: P * G - P].reshape(P, G - 1)

    for fn, shape in ((by_row, r"\(16,\)"), (transposed, r"\(4, 3\)")):
        with pytest.raises(ValueError, match=rf"{fn.__name__}.*{shape}.*\(4, 4\)"):
            rewards.compute(fn, inputs(), None)


def test_a_reward_of_ones_own_is_loaded_from_its_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from urlvr_jax.rewards import needs\n\n"
        "@needs('top2_gap')\ndef gap(inputs):\n"
        "    return inputs.per_group(inputs.stats['top2_gap'][:, 0])\n\nVALUE = 3\n"
    )
    fn = rewards.load("majority_voting", f"{file}:gap")
    got = rewards.compute(fn, inputs(fn), None)
    np.testing.assert_array_equal(got, STATS["top2_gap"][:, 0].reshape(P, G))
    assert rewards.load("format", "") is rewards.REWARDS["format"]
    for name, given, message in (
        ("nothing", "", "'nothing' is unknown"),
        ("", f"{tmp_path}/other.py:gap", "existing file"),
        ("", "gap", "existing file"),
        ("", f"{file}:gab", "no function 'gab'.*gap"),
        ("", f"{file}:VALUE", "no function 'VALUE'"),
    ):
        with pytest.raises(ValueError, match=message):
            rewards.load(name, given)
