"""Metrics and findings against numbers worked out by hand or by enumeration."""

import dataclasses
import json

import helpers
import numpy as np
import pytest

from urlvr_jax.answers import classes
from urlvr_jax.checks.grading import Graded
from urlvr_jax.measure import collapse, evaluate, metrics, summary
from urlvr_jax.measure.record import RunRecord
from urlvr_jax.rewards.compute import Rewards
from urlvr_jax.types import Rollouts

ENSEMBLE = "train/ensemble/"
UNKNOWN = Graded(None, None, why="a gold answer is missing")


def rollouts(tokens, lengths, ended):
    return Rollouts(np.array(tokens, np.int32), np.array(lengths, np.int32), np.array(ended), {})


def test_the_repetition_rate_is_the_share_of_n_grams_seen_before():
    rows = [
        [1, 2, 1, 2, 1, 2],  # bigrams 12 21 12 21 12: 3 of 5 seen before
        [1, 2, 3, 4, 5, 6],  # none
        [7, 7, 7, 0, 0, 0],  # length 3: 77 77, 1 of 2; the zeros are not part of it
        [7, 7, 0, 0, 0, 0],  # length 2: one bigram cannot repeat
        [0, 0, 0, 0, 0, 0],  # empty
    ]
    lengths = np.array([6, 6, 3, 2, 0])
    tokens = np.array(rows, np.int32)
    each = [metrics.repetition_rate(tokens[i : i + 1], lengths[i : i + 1], 2) for i in range(5)]
    np.testing.assert_allclose(each, [3 / 5, 0, 1 / 2, 0, 0], atol=1e-12)
    np.testing.assert_allclose(metrics.repetition_rate(tokens, lengths, 2), np.mean(each))
    np.testing.assert_allclose(metrics.repetition_rate(tokens[:1], lengths[:1], 1), 4 / 6)
    np.testing.assert_allclose(metrics.repetition_rate(tokens[:1], lengths[:1], 4), 1 / 3)


def test_rollout_metrics_by_hand():
    line = metrics.of_rollouts(rollouts([[1, 2, 3, 4], [5, 0, 0, 0]], [4, 1], [False, True]), 2)
    assert line == {
        "response_length/mean": 2.5,
        "response_length/max": 4.0,
        "response_length/clip_ratio": 0.5,
        "repetition_rate": 0.0,
        "perf/rollout_tokens": 5.0,
    }


def test_reward_metrics_by_hand():
    values = np.array([[1, 0, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 1]], np.float32)
    line = metrics.of_rewards(values)
    np.testing.assert_allclose(line["reward/mean"], 7 / 16)
    np.testing.assert_allclose(line["reward/std"], values.astype(np.float64).std(), rtol=1e-6)
    assert line["frac_reward_zero_std"] == 0.5


def test_the_trained_rewards_agreement_with_the_truth_by_hand():
    correct = np.array([[True, False, True, False]])
    of = lambda *values: metrics.of_rewards_against_labels(np.array([values], np.float32), correct)
    assert of(1, 0, 0, 0) == {
        "reward/rank_correlation": pytest.approx(1 / 3**0.5),  # of 1 0 0 0 with 1 0 1 0
        "reward/accuracy": 3 / 4,
    }
    assert of(4.0, 1.0, 3.0, 2.0) == {"reward/rank_correlation": pytest.approx(0.8944, abs=1e-4)}
    assert of(1, 4, 2, 3)["reward/rank_correlation"] < 0
    assert of(1, 1, 1, 1) == {"reward/accuracy": 1 / 2}  # a constant has no ranks
    assert of(0, 0, 0, 0) == of(0.5, 0.5, 0.5, 0.5) == {}  # nobody was paid; no rate of 0 instead
    nobody = np.zeros((1, 4), bool)
    assert metrics.of_rewards_against_labels(np.array([[1, 0, 1, 0]], np.float32), nobody) == {
        "reward/accuracy": 1 / 2
    }


def test_vote_metrics_by_hand():
    answers = np.array(
        [
            [0, 0, 0, 1],  # majority 0 is right: pseudo = true everywhere
            [0, 0, 1, -1],  # majority 0, truth 1: three rollouts disagree, the silent one agrees
            [-1, -1, -1, -1],  # nobody answers: every rollout disagrees
            [0, 1, -1, -1],  # tie, 0 wins; nobody gave the gold answer: one disagrees
        ],
        np.int32,
    )
    correct = answers == np.array([[0], [1], [-2], [-2]])
    majority = classes.majority_class(answers)
    line = metrics.of_votes(answers, majority)
    assert set(line) == {ENSEMBLE + n for n in ("majority_ratio", "majority_voting_reward", "no_answer")}
    line |= metrics.of_votes_against_labels(answers, majority, correct)
    want = {
        "majority_ratio": (3 + 2 + 0 + 1) / 16,
        "majority_voting_reward": (3 + 2 + 0 + 1) / 16,
        "no_answer": 7 / 16,
        "label_accuracy": 1 / 4,
        "reward_accuracy": (4 + 1 + 0 + 3) / 16,
        "ground_truth_reward": 4 / 16,
        "pass@4": 2 / 4,
    }
    assert set(line) == {ENSEMBLE + n for n in want}
    for name, value in want.items():
        np.testing.assert_allclose(line[ENSEMBLE + name], value, err_msg=name)


def test_a_policy_that_never_answers_has_no_reward_accuracy():
    nobody = np.full((3, 5), -1, np.int32), np.full(3, -1)
    line = metrics.of_votes(*nobody) | metrics.of_votes_against_labels(*nobody, np.zeros((3, 5), bool))
    for name in ("reward_accuracy", "label_accuracy", "ground_truth_reward", "majority_ratio"):
        assert line[ENSEMBLE + name] == 0, name


def test_a_line_tells_what_needs_labels_from_what_does_not():
    c = helpers.experiment(rollout__group=2)
    step = rollouts([[1, 2, 0], [1, 0, 0]], [2, 1], [True, True])
    answers = classes.read_answers(["A5", "A7"], 2, "lab")
    values, verdicts = np.array([[0.0, 1.0]], np.float32), np.array([[1, 0]])
    rewards = Rewards(values, {"a": values}, {"b": values}, verdicts, labelled=False)
    line = metrics.of_step(c, 3, step, answers, rewards, UNKNOWN, {}, None)
    assert line.labelled == {} and line.whole() == {"step": 3, **line.free}
    graded = Graded(np.array([[True, False]]), np.array([[1.0, 0.0]], np.float32), {"late": 1})
    known = metrics.of_step(c, 3, step, answers, rewards, graded, {}, None)
    assert known.free == line.free
    assert set(known.labelled) == {
        *(ENSEMBLE + n for n in ("label_accuracy", "reward_accuracy", "ground_truth_reward", "pass@2")),
        *(
            f"train/self_verify/{n}"
            for n in ("reward_accuracy", "true_positive_rate", "false_positive_rate")
        ),
        "shadow/b/rank_correlation",
        "check/late",
        "reward/rank_correlation",
        "reward/accuracy",
    }
    control = dataclasses.replace(rewards, labelled=True)  # a reward made from labels is one itself
    line = metrics.of_step(c, 3, step, answers, control, UNKNOWN, {}, None)
    assert {"reward/mean", "reward/std", "frac_reward_zero_std", "reward/a/mean"} <= set(line.labelled)
    assert not {n for n in line.free if n.startswith("reward/")}


def test_update_metrics_are_means_but_for_the_sampler_and_the_skipped():
    names = ("actor/entropy", "actor/loss", "actor/sampler_logp_diff", "actor/sampler_logp_diff_max")
    names = (*names, "actor/skipped_updates")
    updates = [dict(zip(names, row, strict=True)) for row in ([1, 1, 2, 3, 1], [5, 3, 8, 9, 1])]
    c = helpers.experiment()
    means = dict(zip(names, (3.0, 2.0, 2.0, 3.0, 2.0), strict=True)) | {"actor/idle_updates": 0.0}
    line = metrics.Line(1)
    metrics.add_updates(c, line, updates, False, None, None)
    assert line.free == means and not line.labelled
    line = metrics.Line(1)
    metrics.add_updates(c, line, updates, True, None, None)
    assert line.labelled == {"actor/loss": 2.0}, "made of advantages that were made of labels"
    assert line.free == {name: x for name, x in means.items() if name != "actor/loss"}
    c.mode = "supervised"
    line = metrics.Line(1)
    metrics.add_updates(c, line, updates, False, None, None)
    assert set(line.free) == {
        "actor/entropy", "actor/loss", "actor/skipped_updates", "actor/idle_updates",
    }, "nobody sampled"  # fmt: skip


def test_a_second_generation_within_the_reward_is_no_idle_time():
    clocks = {
        "timing_s/step": 10.0,
        "timing_s/reward": 5.0,
        "timing_s/pack": 1.0,
        "perf/rollout_tokens": 20.0,
    }
    assert metrics.of_speed(clocks) == {"perf/tokens_per_s": 2.0, "perf/device_idle": 0.6}
    assert metrics.of_speed(clocks | {"timing_s/verify": 4.0})["perf/device_idle"] == 0.2


def test_an_evaluation_reports_its_means_within_their_intervals():
    rng = np.random.default_rng(0)
    correct = rng.integers(0, 5, 50)
    e = evaluate.Evaluation(correct, correct > 2, 4, 7.5, 0.9, 0.2, {}, {})
    line = e.metrics()
    np.testing.assert_allclose(line["avg@4"], correct.mean() / 4)
    np.testing.assert_allclose(line["maj@4"], (correct > 2).mean())
    np.testing.assert_allclose(line["pass@4"], (correct > 0).mean())
    for name in ("avg@4", "maj@4", "pass@4"):
        assert line[f"{name}/low"] < line[name] < line[f"{name}/high"]
    assert line["response_length/mean"] == 7.5 and line["ended"] == 0.9 and line["no_answer"] == 0.2


def test_the_collapse_step_is_the_first_below_one_per_cent():
    name = ENSEMBLE + "reward_accuracy"
    lines = [{"step": s, name: v} for s, v in ((1, 0.8), (2, 0.01), (3, 0.0099), (4, 0.5), (5, 0.0))]
    assert collapse.mcs(lines) == 3
    assert collapse.mcs(lines[:2]) is None
    assert collapse.mcs([{"step": 0}, *lines]) == 3  # a line without the metric is passed over
    assert collapse.mcs([]) is None


def test_the_steady_form_asks_for_five_steps_and_is_met_by_none_too_few():
    fall = np.array([0.9, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.9])
    assert collapse.steady_step(fall) == 7  # the first whose last five average to 0, not 0.1
    assert collapse.steady_step(np.array([0.5, 0, 0, 0, 0, 0, 0.0])) == 6
    assert collapse.steady_step(np.zeros(4)) is None and collapse.steady_step(np.full(50, 0.1)) is None
    assert collapse.steady_step(np.zeros(5)) == 5 and collapse.steady_step(np.zeros(0)) is None


def test_a_collapse_lasts_five_steps_below_half_the_base():
    def lines(values):
        return [{"step": 10 + i, collapse.TRUTH: v} for i, v in enumerate(values)]

    assert collapse.collapse_step(lines([0.8] + [0.39] * 5)) == 11
    assert collapse.collapse_step(lines([0.8] + [0.39] * 4)) is None
    assert collapse.collapse_step(lines([0.8] + [0.4] * 9)) is None  # half is not below half
    assert collapse.collapse_step(lines([0.8, 0.1, 0.1, 0.1, 0.1, 0.8] + [0.3] * 5)) == 16
    assert collapse.collapse_step([]) is None


def test_five_steps_in_a_row_are_neighbours_of_the_run():
    def lines(steps, low=0.1):
        return [{"step": 1, collapse.TRUTH: 0.8}, *({"step": s, collapse.TRUTH: low} for s in steps)]

    assert collapse.collapse_step(lines([2, 3, 4, 90, 91])) is None
    assert collapse.collapse_step(lines([2, 3, 4, 6, 7, 8, 9, 10])) == 6
    assert collapse.collapse_step(lines([6, 4, 3, 5, 2])) == 2  # the order of the file says nothing
    assert collapse.collapse_step(lines([2, 3, 4, 4, 4, 4])) is None  # four times one step
    assert (
        collapse.collapse_step(lines([2, 3, 4, 5, 6]) + lines([4], 0.7)[1:]) is None
    )  # the last line of a step
    for unknown in (None, float("nan"), float("inf")):
        with_gap = lines([2, 3, 4, 5, 6]) + [{"step": 4, collapse.TRUTH: unknown}]
        assert collapse.collapse_step(with_gap) == 2  # says nothing against what is known
        with_gap = lines([2, 3, 5, 6]) + [{"step": 4, collapse.TRUTH: unknown}]
        assert collapse.collapse_step(with_gap) is None
    assert collapse.collapse_step([{"step": 1, collapse.TRUTH: None}, *lines([2, 3, 4, 5, 6])]) == 2


def test_the_collapse_step_passes_over_what_is_no_number_and_heeds_steps_not_lines():
    name = ENSEMBLE + "reward_accuracy"
    lines = [
        {"step": s, name: v} for s, v in ((9, 0.0), (1, None), (2, float("nan")), (7, 0.001), (3, 0.5))
    ]
    assert collapse.mcs(lines) == 7
    assert collapse.mcs([*lines, {"step": 7, name: 0.5}]) == 9


@pytest.mark.parametrize(
    "silent, votes, truth, want",
    [
        ([0, 0, 0], [0.5, 0.2, 0.005], [0.5, 0.2, 0.0], ("at step 3", "never")),
        ([0, 0], [0.5, 0.5], [0.5, 0.5], ("never", "never")),
        ([0, 0], None, None, ("not defined: no labels",) * 2),
        ([1, 1], [0, 0], [0, 0], ("not defined: no answer was found in any response",) * 2),
        ([1, 1], None, None, ("not defined: no answer was found in any response",) * 2),
        ([0.2, 1], [0.5, 0], [0.5, 0], ("at step 2", "never")),  # answers were found, and lost
        ([0.99, 0.9], [0.005, 0.4], [0.005, 0.4], ("not reported: the base itself is below 1 %", "never")),
        ([0, 0], [0.9, 0.9], [0, 0], ("never", "not reported: the base itself is never right")),
    ],
)
def test_a_collapse_is_reported_only_of_a_base_that_can_collapse(tmp_path, silent, votes, truth, want):
    columns = {collapse.NO_ANSWER: silent, collapse.VOTES: votes, collapse.TRUTH: truth}
    lines = [
        {"step": i + 1, **{name: float(x[i]) for name, x in columns.items() if x}}
        for i in range(len(silent))
    ]
    found = collapse.collapse_of(lines)
    assert tuple(map(str, found)) == want
    assert all(x.step is None for x in found if x.why), "a step without meaning is drawn nowhere"
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    (tmp_path / "evals.jsonl").write_text("")
    said = summary.summary(tmp_path).splitlines()
    assert [line.split("  ")[-1].strip() for line in said if "collapse" in line.lower()] == list(want)


def test_the_summary_says_how_each_reward_ranked_the_responses(tmp_path):
    sum_ = "shadow/majority_voting - 0.1*length"
    lines = [
        {
            "step": i,
            "reward/mean": 9.0 + i,
            "reward/rank_correlation": 0.5 - i / 4,
            f"{sum_}/mean": -0.1 * i,
        }
        for i in (1, 2)
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    (tmp_path / "evals.jsonl").write_text("")
    assert summary.shadows_of(lines) == [sum_]
    assert summary.summary(tmp_path).splitlines() == [
        "reward 10.000 -> 11.000   rank correlation with truth +0.25 -> +0.00",
        "shadow majority_voting - 0.1*length -0.100 -> -0.200",  # of a step without labels the mean alone
    ]


def test_the_peak_is_chosen_on_even_questions_and_reported_on_odd_ones():
    def line(step, even, odd):
        correct = np.ravel(np.column_stack([even, odd]))
        return {"step": step, "k": 4, "correct": correct.tolist()}

    evals = [
        line(20, [3, 3, 3], [2, 1, 0]),  # the best on even questions: the peak
        line(0, [1, 1, 1], [1, 1, 1]),
        line(10, [2, 2, 2], [4, 4, 4]),  # the best on odd ones: must not be chosen
        line(30, [3, 3, 3], [4, 4, 4]),  # ties with step 20: the earlier counts
        line(40, [0, 0, 0], [0, 0, 2]),
    ]
    r = collapse.rise_and_fall_of(evals)
    assert (r.peak_step, r.final_step) == (20, 40)
    np.testing.assert_allclose((r.base, r.peak, r.final), (0.25, 3 / 12, 2 / 12))
    np.testing.assert_allclose(r.rise.mean, 0)
    np.testing.assert_allclose(r.fall.mean, 2 / 12 - 3 / 12)
    np.testing.assert_allclose(r.final_minus_base.mean, 2 / 12 - 0.25)
    assert r.rise.low < 0 < r.rise.high  # differences by question: +1/4, 0, -1/4
    for bad in ([], evals[:1], [evals[0], evals[2]]):
        with pytest.raises(ValueError, match="step 0"):
            collapse.rise_and_fall_of(bad)
    with pytest.raises(ValueError, match="has 1"):  # one question cannot choose a peak and report it
        collapse.rise_and_fall_of([{"step": s, "k": 4, "correct": [s]} for s in (0, 1)])


def test_a_runs_folder_is_read_when_asked_and_without_its_torn_last_line(tmp_path):
    run = RunRecord(tmp_path)  # nothing is there yet
    lines = [{"step": 0, "eval/a/avg@2": 0.5}, {"step": 1, "reward/mean": 1.0}, {"step": 2}]
    (tmp_path / "metrics.jsonl").write_text(
        "".join(json.dumps(x) + "\n" for x in lines) + '{"step": 3, "rew'
    )
    (tmp_path / "evals.jsonl").write_text("")
    assert run.curve("reward/mean") == ([1], [1.0])
    assert run.last_value("eval/a/avg@2") == 0.5 and run.last_value("eval/b/avg@2") is None
    assert run.first_set() == [] and run.trained_on() == {}
    sets = [{"step": step, "set": name} for step in (0, 10) for name in ("a", "b")]
    (tmp_path / "evals.jsonl").write_text("".join(json.dumps(x) + "\n" for x in sets))
    attempts = [{}, {"test_time_training": {"a": [1, 2]}}]
    (tmp_path / "record.json").write_text(json.dumps({"attempts": attempts}))
    run = RunRecord(tmp_path)
    assert [e["step"] for e in run.first_set()] == [0, 10] and run.trained_on() == {"a": [1, 2]}


def test_a_null_or_a_missing_number_stops_no_summary(tmp_path):
    truth, length = collapse.TRUTH, "response_length/mean"
    lines = [{"step": 2, truth: None, length: 3.0}, {"step": 1, truth: 0.5, length: None}]
    lines += [{"step": 5, truth: 0.5, length: 7.0}, {"step": 4, truth: 0.5, length: 4.0}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    (tmp_path / "evals.jsonl").write_text("")
    assert RunRecord(tmp_path).curve(length) == ([2, 4, 5], [3.0, 4.0, 7.0])
    text = summary.summary(tmp_path)
    assert "response_length/mean 3.00 -> 7.00" in text


def test_the_completions_table_lines_up_rows_and_groups():
    class Settings:
        class log:
            completions_rows = 5

        class rollout:
            group = 2

    r = Rollouts(
        np.zeros((6, 3), np.int32),
        np.array([1, 2, 3, 1, 2, 3]),
        np.array([True] * 5 + [False]),
        {"logp": -np.arange(18, dtype=np.float32).reshape(6, 3)},
    )
    r.stats["logp"][~r.mask] = 0

    class prompts:
        texts = ("p", "q", "r")

    class asked:
        gold = ("x", "y", "z")

    reward = np.arange(6.0).reshape(3, 2)
    same = np.array([[0, 0], [1, -1], [0, 1]])
    answers = classes.Answers(list("abcdef"), [], list("123456"), same, [], None)
    rewards = Rewards(reward, {}, {}, None, labelled=False)
    table = metrics.completions_table(
        Settings, prompts, r, answers, rewards, asked, Graded(same == 0, None, {})
    )
    assert table["right"] == [True, True, False, False, True] and table["votes"] == [2, 2, 1, 0, 1]
    assert {len(column) for column in table.values()} == {5}
    assert table["prompt"] == list("ppqqr") and table["gold"] == list("xxyyz")
    assert table["reward"] == [0, 1, 2, 3, 4] and table["completion"] == list("abcde")
    assert table["answer"] == list("12345") and table["length"] == [1, 2, 3, 1, 2]
    np.testing.assert_allclose(table["mean_logp"], [0, -3.5, -7, -9, -12.5])
