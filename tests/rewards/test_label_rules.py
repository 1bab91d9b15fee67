"""Rules that say which vote is a label, against a float64 version of each that knows nothing of the package.

SCRL, the SNR reward, the no-majority mask, Self-Harmony, and the filter that knows what is right.
"""

from collections import Counter

import helpers
import jax.numpy as jnp
import numpy as np
import pytest

from urlvr_jax.answers import classes
from urlvr_jax.rewards import RewardError, expression, printed
from urlvr_jax.types import Reference

G, T = 8, 5
PLAIN = [
    [0, 0, 0, 0, 0, 1, 2, -1],  # clear
    [0, 0, 0, 0, 1, 1, 1, 1],  # a tie of two
    [0, 0, 0, 0, 1, 1, 1, 2],  # half, and a lead of one vote: 0.125
    [-1] * 8,
    [5, 6, 7, 0, 1, 2, 3, 4],  # all differ
    [3] * 8,
    [-1, -1, -1, -1, -1, -1, -1, 2],  # one answers
    [0, 0, 0, 1, 1, 2, 2, 3],  # a plurality, two behind it
]


def groups(seed: int = 0) -> np.ndarray:
    """int32 `[P, G]`: the plain ones, and random ones of few and of many answers."""
    rng = np.random.default_rng(seed)
    drawn = [rng.integers(-1, 1 + n % 6, G) for n in range(60)]
    return np.array(PLAIN + [list(x) for x in drawn], np.int32)


ANSWERS = groups()
RNG = np.random.default_rng(3)
LENGTHS = RNG.integers(1, T + 1, ANSWERS.size).astype(np.int32)
ENTROPY = RNG.uniform(0.1, 2, (ANSWERS.size, T)).astype(np.float32)
ENTROPY[4 * G : 5 * G] = 0.7  # a group whose rollouts are all as sure as each other
ENTROPY[np.arange(T) >= LENGTHS[:, None]] = np.nan  # nobody may read these


def computed(text, reference=None, **derived) -> np.ndarray:
    fn = expression.load(text)
    given = helpers.reward_inputs(
        fn, stats={"entropy": ENTROPY}, answers=ANSWERS, lengths=LENGTHS, group=G, **derived
    )
    out = np.asarray(expression.compute(fn, given, reference))
    assert out.dtype == np.float32
    return out


def leaders(answers):
    """[(answer, votes), ...] of those who answered, the most votes first, ties to the smallest."""
    return sorted(Counter(a for a in answers if a >= 0).items(), key=lambda item: (-item[1], item[0]))


# ---- the no-majority mask -----------------------------------------------------------------------


@pytest.mark.parametrize("above", [0.0, 0.5, 0.6])
def test_a_group_without_enough_of_a_majority_gives_no_signal(above):
    want = [
        [bool(x := leaders(row)) and a == x[0][0] and x[0][1] / G > above for a in row] for row in ANSWERS
    ]
    helpers.assert_close(computed(f"majority_voting(above={above})"), np.array(want))


def test_half_of_the_votes_is_no_strict_majority():
    masked, plain = computed("majority_voting(above=0.5)"), computed("majority_voting")
    assert plain[1].sum() == plain[2].sum() == 4 and not masked[1].any() and not masked[2].any()
    np.testing.assert_array_equal(masked[0], plain[0])


# ---- SCRL ---------------------------------------------------------------------------------------


def scrl(answers, entropies, least=0.5, lead=0.15, rare=0.15, no_answer=-1.0):
    first, second = [*leaders(answers), (None, 0), (None, 0)][:2]
    clear = first[1] / G >= least and (first[1] - second[1]) / G > lead
    out = []
    for a in answers:
        own = [h for h, b in zip(entropies, answers, strict=True) if b == a]
        doubtful = sum(own) / len(own) >= sum(entropies) / G - 1e-12
        if a < 0:
            out.append(no_answer)
        elif clear and a == first[0]:
            out.append(1.0)
        else:
            out.append(-1.0 if len(own) / G < rare and doubtful else 0.0)
    return out


@pytest.mark.parametrize(
    "options",
    [{}, {"least": 0.3, "lead": 0.0}, {"lead": 0.1, "rare": 0.3}, {"rare": 1.0, "no_answer": 0.0}],
)
def test_scrl_equals_float64(options):
    text = "scrl" + (f"({', '.join(f'{k}={v}' for k, v in options.items())})" if options else "")
    entropy = np.array(
        [np.mean(row[:n], dtype=np.float64) for row, n in zip(ENTROPY, LENGTHS, strict=True)]
    )
    want = np.array(
        [
            scrl(list(a), list(h), **options)
            for a, h in zip(ANSWERS, entropy.reshape(ANSWERS.shape), strict=True)
        ]
    )
    assert {-1.0, 0.0, 1.0} <= set(want.flat)
    helpers.assert_close(computed(text), want)


def test_scrl_takes_no_tie_and_no_narrow_lead_for_a_label_and_punishes_rare_doubtful_answers():
    out = computed("scrl")
    np.testing.assert_array_equal(out[0, :5], np.ones(5))
    assert out[0, 7] == -1, "silence"
    assert (out[1:3] <= 0).all() and (out[3] == -1).all()
    assert (out[4] == -1).all(), "all differ, and none is surer than the others"


def test_thresholds_that_are_no_shares_are_refused():
    for text in ("scrl(least=2.0)", "scrl(no_answer=-3.0)", "majority_voting(above=1.0)"):
        with pytest.raises(RewardError, match="need|shares"):
            expression.load(text)


# ---- the SNR reward -----------------------------------------------------------------------------


def ratio(n1, n2, n):
    return (n1 - n2) ** 2 / (n * (n1 + n2)) if n * (n1 + n2) else 0.0


def snr(answers):
    first, second = [*leaders(answers), (None, 0), (None, 0)][:2]
    (top, n1), (next_, n2) = first, second
    out = []
    for a in answers:
        fewer = (n1 - 1, n2) if a == top else (n1, n2 - 1) if a == next_ else (n1, n2)
        out.append(ratio(n1, n2, G) - ratio(*fewer, G - 1))
    return out


def test_the_snr_reward_equals_float64():
    want = np.array([snr(row) for row in ANSWERS.tolist()])
    helpers.assert_close(computed("snr"), want)


def test_the_snr_reward_pays_the_majority_fines_the_runner_up_and_silence_a_little():
    out = computed("snr")
    majority, runner_up, third, silent = out[0, 0], out[0, 5], out[0, 6], out[0, 7]
    assert majority > 0 > third == silent > runner_up
    assert np.ptp(out[3]) == np.ptp(out[5]) == 0, "nobody answers, all agree: no advantage"


def test_of_two_answers_the_snr_reward_has_the_advantages_of_majority_voting():
    rows = (ANSWERS >= 0).all(axis=1) & (np.array([len(set(r)) for r in ANSWERS.tolist()]) == 2)
    clear = rows & np.array([len(x := leaders(r)) > 1 and x[0][1] > x[1][1] for r in ANSWERS.tolist()])
    assert clear.any()
    helpers.assert_close(
        computed("group_z(snr)")[clear], computed("group_z(majority_voting)")[clear], tolerance=2e-5
    )


# ---- two views ----------------------------------------------------------------------------------


def harmonic(own: list, other: list):
    """The label of one wording, by text: the largest harmonic mean of shares; None where they share no answer."""
    best = {}
    for answer in set(own) & set(other) - {None}:
        p0, p1 = own.count(answer) / len(own), other.count(answer) / len(other)
        best[answer] = round(2 * p0 * p1 / (p0 + p1), 12)
    return min(best, key=lambda a: (-best[a], classes.tie_order(a))) if best else None


def test_self_harmony_equals_float64_and_labels_both_wordings_alike():
    rng = np.random.default_rng(7)
    words = ["5", "7", "12", "0", None]
    texts = [[words[i] for i in rng.integers(0, 2 + p % 4, G)] for p in range(80)]
    texts[0], texts[1] = ["5"] * 8, ["7"] * 8  # they share nothing
    texts[2], texts[3] = [None] * 8, ["7"] * 8
    # The majority of the first wording is rare in the second: another answer is common to both.
    texts[4], texts[5] = ["5"] * 5 + ["7"] * 3, ["5"] + ["7"] * 4 + ["0"] * 3
    keys = [k for row in texts for k in row]
    ids, names = classes.group_classes(keys, G)
    votes = classes.partner_votes(ids, names)
    fn = expression.load("self_harmony")
    given = helpers.reward_inputs(
        fn, answers=ids, rephrased_votes=votes, lengths=np.ones(len(keys), np.int32), group=G
    )
    labels = [harmonic(texts[p], texts[p ^ 1]) for p in range(len(texts))]
    want = [[k is not None and k == label for k in row] for row, label in zip(texts, labels, strict=True)]
    helpers.assert_close(np.asarray(expression.compute(fn, given)), np.array(want))
    assert labels[0::2] == labels[1::2] and labels[0] is labels[2] is None and labels[4] == "7"


def test_the_votes_of_the_other_wording_are_those_for_this_answer():
    keys = ["5", "5", "7", None, "7", "7", "5", "9", None, None, None, None, "1", "1", "1", "2"]
    ids, names = classes.group_classes(keys, 4)
    votes = classes.partner_votes(ids, names)
    np.testing.assert_array_equal(votes, [[1, 1, 2, 0], [1, 1, 2, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


# ---- GDPO, and the filter that knows ---------------------------------------------------------------


def test_gdpo_is_found_by_its_name():
    for name in ("GDPO", "gdpo"):
        with pytest.raises(RewardError, match=r"papers call a sum of terms in group_z so: 'group_z\("):
            expression.load(name)
    for name, reward in (("Self_Harmony", "self_harmony"), ("DCRL", "self_harmony"), ("Condorcet", "snr")):
        with pytest.raises(RewardError, match=rf"papers call \['{reward}'\] so"):
            expression.load(name)
    assert "\ngroup_z\n" in printed.text() and "2601.05242" in printed.markdown()


def test_the_filter_that_knows_keeps_the_groups_whose_majority_is_right():
    gold = RNG.integers(0, 3, (len(ANSWERS), 1))
    correct = gold == ANSWERS
    want = [
        [bool(x := leaders(row)) and x[0][0] == g and a == g for a in row]
        for row, (g,) in zip(ANSWERS, gold, strict=True)
    ]
    out = computed("zero_wrong_majority", Reference(jnp.asarray(correct)))
    helpers.assert_close(out, np.array(want))
    assert out.any(axis=1).sum() < computed("majority_voting").any(axis=1).sum()
