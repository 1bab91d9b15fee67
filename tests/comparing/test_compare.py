"""The verb compare: arms from folders, the step compared, what is left out and said, what is refused."""

import json

import numpy as np
import pytest
from run_folders import write_run

from urlvr_jax.comparing import arms, comparison, text
from urlvr_jax.errors import UserError


def compare(*folders, at="last", metrics=()):
    return comparison.compared(
        arms.arms_of(map(arms.opened, arms.folders_of(map(str, folders)))), at, metrics
    )


@pytest.fixture
def two_arms(tmp_path):
    """Three seeds of votes, which rise to 0.6, and of self-certainty, which rise and fall to 0.1."""
    for seed in range(3):
        write_run(tmp_path / f"votes{seed}", seed, **{"reward.name": "majority_voting"})
        write_run(
            tmp_path / f"sure{seed}", seed, accuracy=(0.3, 0.5, 0.1), **{"reward.name": "self_certainty"}
        )
    return tmp_path


def test_runs_of_one_configuration_are_an_arm_and_the_first_is_compared_with(two_arms):
    found = compare(two_arms)
    assert [(arm.name, arm.seeds) for arm in found.arms] == [
        ("self_certainty", [0, 1, 2]),
        ("majority_voting", [0, 1, 2]),
    ]
    rows = {(r.arm, r.against, r.metric): r.found for r in found.rows}
    assert rows["majority_voting", "self_certainty", "eval/heldout/avg@4"].verdict == "better"
    assert rows["self_certainty", "base", "eval/heldout/avg@4"].verdict == "worse"
    assert rows["majority_voting", "base", "eval/heldout/pass@4"].verdict == "better"
    assert (
        rows["majority_voting", "self_certainty", "response_length/mean"].verdict == "no difference shown"
    )
    assert compare(two_arms / "votes1", two_arms).arms[0].name == "majority_voting", (
        "the first that is given"
    )


def test_a_peak_is_told_of_questions_that_did_not_choose_it(two_arms):
    found = compare(two_arms, at="peak")
    assert found.scores["self_certainty", "heldout"].avg.shape == (3, 30)
    assert found.scores["self_certainty", "heldout"].steps == [20, 20, 20]
    rows = {(r.arm, r.against, r.metric): r.found for r in found.rows}
    assert rows["self_certainty", "base", "eval/heldout/avg@4"].verdict == "better"


def test_a_run_that_was_cut_short_is_left_out_and_named(two_arms):
    write_run(two_arms / "votes7", 7, until=15, **{"reward.name": "majority_voting"})
    found = compare(two_arms)
    assert found.arms[1].seeds == [0, 1, 2] and found.steps == {"heldout": 40}
    assert any("votes7 is left out: step 15 of 40" in note for note in found.notes)
    alone = compare(two_arms / "votes7", two_arms / "sure0")
    assert alone.steps == {"heldout": 10} and "votes7 is not done: step 15 of 40" in alone.notes[0]


def test_a_step_without_an_evaluation_is_refused_with_those_there_are(two_arms):
    with pytest.raises(UserError, match="has no evaluation of heldout at step 7: it has 0, 10, 20, 30, 40"):
        compare(two_arms, at=7)
    assert compare(two_arms, at=20).steps == {"heldout": 20}


def test_a_set_that_not_every_run_was_asked_is_compared_where_it_can_be_and_said(tmp_path):
    write_run(tmp_path / "a", sets=("one", "two", "three"))
    write_run(tmp_path / "b", sets=("one", "two"), **{"optim.lr": 3e-4})
    found = compare(tmp_path)
    assert list(found.steps) == ["one", "two", "three"] and "b has not evaluated three" in found.notes[0]
    assert [(r.arm, r.against) for r in found.rows if r.metric == "eval/three/avg@4"] == [
        (found.arms[0].name, "base")
    ]
    assert found.arms[0].name.startswith("optim.lr=") and len(found.together) == 3


def test_what_a_gain_is_made_of_adds_up(tmp_path):
    for reward, reaches in (
        ("random", 0.35),
        ("majority_voting", 0.5),
        ("ground_truth", 0.7),
        ("self_certainty", 0.45),
    ):
        for seed in range(2):
            write_run(
                tmp_path / f"{reward}{seed}", seed, accuracy=(0.3, reaches), **{"reward.name": reward}
            )
    found = compare(tmp_path)
    parts = {row.arm: row.found.difference.mean for row in found.parts}
    assert set(parts) == {
        "null",
        "elicitation",
        "reward design of ground_truth",
        "reward design of self_certainty",
    }
    averages = {arm.name: found.scores[arm.name, "heldout"].avg.mean() for arm in found.arms}
    base = found.scores["base random", "heldout"].avg.mean()
    total = parts["null"] + parts["elicitation"] + parts["reward design of ground_truth"]
    assert total == pytest.approx(averages["ground_truth"] - base)


def test_the_same_seed_twice_is_refused(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b")
    with pytest.raises(UserError, match="one configuration and seed 0: leave one out"):
        compare(tmp_path)


def test_a_run_that_is_not_evaluated_has_its_curves_compared(tmp_path):
    for seed in range(2):
        for name, lr in (("a", 1e-3), ("b", 1e-4)):
            (write_run(tmp_path / f"{name}{seed}", seed, **{"optim.lr": lr}) / "evals.jsonl").write_text("")
    found = compare(tmp_path, metrics=["reward/mean"])
    assert not found.steps and {r.metric for r in found.rows} >= {"reward/mean", "response_length/mean"}
    assert "reward/mean" in text.text(found)


def test_the_verb_prints_tables_and_json_with_the_same_numbers(launcher, two_arms):
    call = launcher.run(["compare", str(two_arms)])
    assert call.status == 0, call.err
    assert "| eval/heldout/avg@4 | majority_voting |" in call.out and "| better |" in call.out
    assert "| reward.name | self_certainty | majority_voting |" in call.out
    found = launcher.run(["compare", str(two_arms), "--json", "--at", "end"])
    rows = {(r["arm"], r["against"], r["metric"]): r for r in json.loads(found.out)["rows"]}
    row = rows["majority_voting", "self_certainty", "eval/heldout/avg@4"]
    np.testing.assert_allclose(row["difference"][0], row["values"][0] - row["values"][1])
    assert row["verdict"] == "better" and f"{row['difference'][0]:+.3f}" in call.out


@pytest.mark.parametrize(
    "words, said",
    [
        ([], "compare needs run folders"),
        (["--at", "best", "x"], "--at=best is not possible: give last, end, peak or a step"),
        (["/nowhere"], "/nowhere is no folder"),
        (["urlvr_jax"], "urlvr_jax is no run's folder and has none in it"),
    ],
)
def test_what_cannot_be_compared_is_refused(launcher, words, said):
    call = launcher.run(["compare", *words])
    assert call.status == 2 and said in call.err


def edited(folder, change, file="metrics"):
    """A run's file with each line changed in place."""
    lines = [json.loads(line) for line in (folder / f"{file}.jsonl").read_text().splitlines()]
    for line in lines:
        change(line)
    (folder / f"{file}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize("value", [None, float("nan"), "a string", [1], 1e400])
def test_values_that_are_no_numbers_count_as_missing(two_arms, value):
    names = ("perf/rollout_tokens", "timing_s/step", "response_length/mean", "collapse/cut", "reward/mean")
    edited(
        two_arms / "votes0",
        lambda line: line.update(dict.fromkeys(names, value) if line["step"] % 2 else {}),
    )
    found = compare(two_arms, metrics=["reward/mean"])
    assert all(np.isfinite([r.found.a, r.found.b]).all() for r in found.rows)
    assert "1.5e+05" not in text.text(found)


def test_runs_that_were_not_evaluated_before_training_are_compared_with_each_other(two_arms):
    for seed in range(3):
        folder = two_arms / f"votes{seed}"
        kept = [
            line for line in (folder / "evals.jsonl").read_text().splitlines() if json.loads(line)["step"]
        ]
        (folder / "evals.jsonl").write_text("\n".join(kept) + "\n")
    found = compare(two_arms)
    pairs = {(r.arm, r.against) for r in found.rows if r.metric == "eval/heldout/avg@4"}
    assert pairs == {("self_certainty", "base"), ("majority_voting", "self_certainty")}
    assert any(
        "majority_voting has no evaluation of heldout before training" in note for note in found.notes
    )
    assert "| - |" in text.text(found)


def test_arms_whose_names_are_cut_alike_stay_apart(tmp_path):
    for i in range(3):
        write_run(tmp_path / str(i), accuracy=(0.3, 0.3 + i / 5), **{"data.system": "x" * 90, "reward.name": f"0.25*majority_voting + 0.25*self_certainty + 0.{i + 1}*probability"})  # fmt: skip
    found = compare(tmp_path)
    names = [arm.name for arm in found.arms]
    assert len(set(names)) == 3
    last = [found.scores[name, "heldout"].avg.mean() for name in names]
    assert last == sorted(last) and last[2] - last[0] > 0.2


def test_a_gain_is_split_among_arms_that_differ_in_their_reward_alone(tmp_path):
    for lr in (1e-4, 9e-4):
        write_run(tmp_path / f"r{lr}", **{"reward.name": "random", "optim.lr": lr})
    write_run(tmp_path / "v", **{"reward.name": "majority_voting", "optim.lr": 1e-4})
    write_run(tmp_path / "s", **{"reward.name": "self_certainty", "optim.lr": 5e-4})
    found = compare(tmp_path)
    (null,) = [row for row in found.parts if row.arm == "null"]
    assert [row.arm for row in found.parts] == ["null", "elicitation"]
    assert null.found.a == found.scores[next(arm.name for arm in found.arms if arm.config["reward.name"] == "random" and arm.config["optim.lr"] == 1e-4), "heldout"].avg.mean()  # fmt: skip


def test_arms_with_other_numbers_of_responses_are_told_by_their_own(tmp_path):
    write_run(tmp_path / "a", k=4, **{"reward.name": "majority_voting"})
    write_run(tmp_path / "b", k=8, **{"reward.name": "self_certainty"})
    said = text.text(compare(tmp_path))
    assert (
        "avg@4 0." in said
        and "avg@8 0." in said
        and "eval/heldout/avg " in said
        and "eval/heldout/pass@4" in said
    )


def test_a_curve_that_no_run_has_is_refused_and_one_that_some_have_is_said(two_arms):
    with pytest.raises(UserError, match="--metric reward/maen is in no run's lines"):
        compare(two_arms, metrics=["reward/maen"])
    edited(two_arms / "votes0", lambda line: line.pop("actor/entropy", None))
    assert (
        "actor/entropy is not in the lines of every run"
        in compare(two_arms, metrics=["actor/entropy"]).notes
    )


def test_questions_from_other_files_are_said_and_a_peak_needs_two(tmp_path):
    for name, file in (("a", "x/heldout.jsonl"), ("b", "y/heldout.jsonl")):
        write_run(
            tmp_path / name,
            questions=1,
            **{"eval.sets": (file,), "reward.name": "random" if name == "a" else "format"},
        )
    assert any("taken to be the same questions" in note for note in compare(tmp_path).notes)
    found = compare(tmp_path, at="peak")
    assert not found.steps and any(
        "left out: evaluations have [1] questions" in note for note in found.notes
    )


def test_curves_at_a_peak_are_those_of_the_peak(two_arms):
    rows = {r.metric: r.found for r in compare(two_arms, at="peak").rows}
    assert rows["train/ensemble/ground_truth_reward"].b > 0.35, (
        "of self-certainty at step 20, not at its end"
    )


def test_seeds_that_are_all_alike_say_nothing_of_the_next(two_arms):
    for folder in two_arms.iterdir():
        value = 0.01 if folder.name.startswith("votes") else 0.0
        edited(folder, lambda line, value=value: line.update({"response_length/clip_ratio": value}))
    rows = {r.metric: r.found for r in compare(two_arms).rows}
    assert rows["response_length/clip_ratio"].verdict == "no difference shown"


def test_a_torn_last_line_is_survived_and_a_file_that_is_broken_is_named(two_arms):
    for name, torn in (("metrics", '{"step": 41, "rew'), ("evals", '{"step": 41, "se')):
        with open(two_arms / "votes0" / f"{name}.jsonl", "a") as file:
            file.write(torn)
    assert compare(two_arms).steps == {"heldout": 40}
    edited(two_arms / "votes2", lambda line: line.pop("k", None), "evals")
    with pytest.raises(UserError, match="votes2/evals.jsonl: a line is no evaluation"):
        compare(two_arms)
    (two_arms / "votes1" / "record.json").write_text("{}")
    with pytest.raises(UserError, match="votes1/record.json has no list of attempts"):
        compare(two_arms / "votes1")


def test_a_folder_of_another_tool_is_named(tmp_path):
    write_run(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "config.json").write_text('{"model_type": "qwen3"}')
    (tmp_path / "b" / "record.json").write_text("{}")
    with pytest.raises(UserError, match="is of a model, not of a run"):
        compare(tmp_path)


def test_texts_of_a_hostile_folder_are_shown_not_obeyed(tmp_path):
    write_run(tmp_path / "a\x1b[2J", **{"reward.name": "majority_voting"}, until=5)
    write_run(tmp_path / "b", **{"reward.name": "self_certainty"})
    assert "\x1b" not in text.text(compare(tmp_path))
