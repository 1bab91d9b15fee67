"""The probe: which questions it holds, its bounds on votes, and how often its stop rule is wrong."""

import json

import numpy as np
import pytest
from scipy.stats import binom

from urlvr_jax import config, validation
from urlvr_jax.data import stream
from urlvr_jax.data.prompt_formats import PromptFormat
from urlvr_jax.data.tokenizer import Tokenizer
from urlvr_jax.errors import DataError
from urlvr_jax.lab import shipped
from urlvr_jax.measure import probe
from urlvr_jax.runtime import opening

TOKENIZER = Tokenizer(shipped.base("lab:plain"))
PLAIN = PromptFormat(TOKENIZER)


def configured(**labels):
    c = config.default()
    c.labels.update(labels)
    c.mesh.data = 8
    return c


# ---- its questions --------------------------------------------------------------------------------


def test_probe_questions_are_drawn_by_the_seed_and_never_trained_on():
    seen = {}
    for seed in (0, 1):
        c = configured(probe=40)
        c.seed = seed
        trained, labels = opening.open_questions(c, PLAIN)
        asked, gold = opening.open_probe(c, PLAIN)
        assert len(asked) == 40 == len(gold.gold) and len(trained) == 2048 - 40
        assert not set(asked.texts) & set(trained.texts) and not set(gold.gold) & set(labels.gold)
        seen[seed] = asked.texts
    assert len(set(seen[0]) & set(seen[1])) < 10
    c.labels.train_on_probe = True
    trained, _ = opening.open_questions(c, PLAIN)
    assert len(trained) == 2048 and set(opening.open_probe(c, PLAIN)[0].texts) <= set(trained.texts)


def test_only_labelled_questions_are_drawn_and_other_wordings_go_with_them(tmp_path):
    rows = [
        {"prompt": f"Q{n}+1?", "rephrased": f"Q1+{n}?"} | ({"answer": n + 1} if n % 3 else {})
        for n in range(2, 32)
    ]
    file = tmp_path / "some.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    c = configured(probe=10)
    c.data.train, c.data.rephrase = str(file), "column"
    asked, gold = opening.open_probe(c, PLAIN)
    assert len(asked) == 10 == len(gold.gold) and not asked.paired
    trained, _ = opening.open_questions(c, PLAIN)
    assert len(trained) == 2 * 20
    others = {row["rephrased"] for row in rows if row["prompt"] in asked.texts}
    assert not (set(asked.texts) | others) & set(trained.texts)
    c.labels.probe = 21
    with pytest.raises(DataError, match=r"labels.probe = 21.*30 questions to train on, 20 of them"):
        opening.open_probe(c, PLAIN)


def test_all_questions_may_be_drawn_where_the_check_needs_no_gold():
    rows = [{"id": str(i), "prompt": f"Q{i}?"} for i in range(20)]
    held = stream.Probe(5, 0, False, True).of(rows, "file")
    rest = stream.Probe(5, 0, False, False).of(rows, "file")
    assert len(held) == 5 and sorted(r["id"] for r in held + rest) == sorted(r["id"] for r in rows)
    with pytest.raises(DataError, match="some have to be left"):
        stream.Probe(20, 0, False, True).of(rows, "file")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"labels.probe": 32, "eval.every": 0}, "labels.probe = 32 eval.every"),
        ({"labels.probe": 1}, "labels.probe = 1 2"),
        ({"labels.stop": True}, "labels.stop = True labels.probe"),
        ({"labels.train_on_probe": True}, "labels.train_on_probe = True labels.probe"),
        ({"labels.probe": 8, "labels.false_alarm": 0.9}, "labels.false_alarm = 0.9"),
    ],
)
def test_a_probe_that_cannot_work_is_refused(keys, words):
    c = configured()
    c.update_from_flattened_dict(keys)
    with pytest.raises(config.ConfigError) as refused:
        validation.validate(c, 8)
    assert all(word in str(refused.value) for word in words.split())


# ---- bounds ---------------------------------------------------------------------------------------


def test_more_than_half_is_the_tail_of_a_binomial():
    p = np.linspace(0, 1, 11)
    for votes in (1, 2, 5, 64):
        np.testing.assert_allclose(
            probe.more_than_half(p, votes), binom.sf(votes // 2, votes, p), atol=1e-12
        )
    assert probe.more_than_half(np.array([0.5, 0.51]), 0).tolist() == [0, 1]


def test_the_moments_are_unbiased():
    rng = np.random.default_rng(0)
    p = rng.beta(0.7, 0.5, 400_000)
    first, second = probe.moments(rng.binomial(8, p), 8)
    assert abs(first.mean() - p.mean()) < 3e-3 and abs(second.mean() - (p**2).mean()) < 3e-3


@pytest.mark.parametrize("votes", [1, 9, 64, 0])
@pytest.mark.parametrize("shape", [(0.5, 0.5), (2.0, 1.0), (0.2, 0.9)])
def test_the_bounds_hold_what_a_vote_would_get(shape, votes):
    rng = np.random.default_rng(4)
    inside = 0
    widths = []
    for _ in range(40):
        p = rng.beta(*shape, 100)
        low, high = probe.vote_bounds(rng.binomial(8, p), 8, votes)
        truth = probe.more_than_half(rng.beta(*shape, 100_000), votes).mean()
        inside += low <= truth <= high
        widths.append(high - low)
    assert inside >= 38 and 0 < np.mean(widths) < 0.95


def test_the_bounds_of_questions_that_are_all_alike_are_those_of_one():
    """p is 3/4 for all: E[p^2] = E[p]^2 leaves no other distribution. Sampled without error, by hand."""
    correct = np.full(100_000, 0)
    rng = np.random.default_rng(1)
    correct = rng.binomial(8, 0.75, 100_000)
    low, high = probe.vote_bounds(correct, 8, 9)
    truth = float(probe.more_than_half(np.array([0.75]), 9)[0])
    assert low <= truth <= high and high - low < 0.1


# ---- the stop rule ----------------------------------------------------------------------------------


def rate(accuracy_at, trials, questions, k, count, false_alarm=0.05, seed=0):
    """How often a run of `count` evaluations is stopped; accuracy_at(rng) -> accuracies [count, questions]."""
    rng = np.random.default_rng(seed)
    limit = probe.threshold(count, false_alarm)
    stopped = 0
    for _ in range(trials):
        seen = rng.binomial(k, accuracy_at(rng)) / k
        stopped += any(probe.largest_fall(seen[: t + 1])[0] > limit for t in range(1, count))
    return stopped / trials


@pytest.mark.parametrize(
    ("questions", "k", "shape"), [(32, 8, (0.5, 0.5)), (64, 8, (2, 2)), (64, 2, (0.3, 3)), (200, 1, (1, 1))]
)
def test_a_run_whose_accuracy_never_changes_is_stopped_no_more_often_than_it_says(questions, k, shape):
    flat = lambda rng: np.broadcast_to(rng.beta(*shape, questions), (16, questions))
    false = rate(flat, 1500, questions, k, 16)
    assert false <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 1500), false
    if k == 8:  # and the promise is not kept by never stopping
        assert rate(flat, 600, questions, k, 16, false_alarm=0.5) > 0.1


def test_a_run_that_rises_is_hardly_ever_stopped_and_one_that_falls_is():
    def moved(by):
        return lambda rng: np.clip(rng.beta(2, 2, 64)[None] + by[:, None], 0, 1)

    rises, falls = np.linspace(0, 0.3, 16), np.r_[np.linspace(0, 0.2, 8), np.linspace(0.2, -0.1, 8)]
    assert rate(moved(rises), 500, 64, 8, 16) < 0.01
    assert rate(moved(falls), 200, 64, 8, 16) > 0.95


def test_what_a_resumed_run_knows_is_what_was_seen_before():
    c = configured(probe=3, stop=True)
    c.steps, c.eval.every = 20, 10
    lines = [
        {"step": s, "set": "probe", "k": 8, "correct": x, "majority": [1, 0, 1]}
        for s, x in ((0, [4, 4, 4]), (10, [8, 8, 8]), (20, [0, 0, 0]))
    ]
    lines.insert(1, {"step": 0, "set": "heldout", "k": 2, "correct": [1], "majority": [1]})
    whole, resumed = probe.Probe(c, []), probe.Probe(c, lines[:3])
    out = [whole.see(line) for line in lines if line["set"] == "probe"]
    again = resumed.see(lines[-1])
    assert again == out[-1] and out[0]["probe/fall"] == 0 and out[0]["probe/alarm"] == 0
    assert out[0]["probe/label_accuracy"] == pytest.approx(2 / 3)
    assert out[-1]["probe/fall"] == pytest.approx(np.sqrt(3) / probe.threshold(3, 0.05))
    assert whole.stops == (np.sqrt(3) > probe.threshold(3, 0.05)) and resumed.stops == whole.stops


def test_an_alarm_stays_and_names_both_evaluations():
    c = configured(probe=40, stop=True)
    seen = probe.Probe(c, [])
    for step, right in ((0, 5), (10, 8), (20, 1), (30, 8)):
        told = seen.see(
            {"step": step, "set": "probe", "k": 8, "correct": [right] * 40, "majority": [1] * 40}
        )
    assert seen.alarm == (20, 10) and seen.stops and told["probe/alarm"] == 1
    assert "step 20" in seen.notices()["probe"] and "step 10" in seen.notices()["probe"]
    assert not probe.Probe(configured(probe=40), []).stops
