"""Rewards from a file of one's own: they train, are watched, or are refused by name; numbers that are not finite."""

import json

import numpy as np
import pytest
from launcher import ROOT, tiny
from runs import ALWAYS, LABELLED, QUICK, final_state, metrics_of, without_clocks

MINE = """
import sys

import jax.numpy as jnp
from urlvr_jax.rewards import needs


@needs("entropy", "top2_gap")
def my_reward(inputs):
    return inputs.per_group(inputs.stats["top2_gap"].sum(axis=1) - inputs.stats["entropy"].sum(axis=1))


@needs("answers")
def control(inputs, reference):
    return reference.correct * 1.0


def second(inputs):
    # the first step is as usual
    usual = inputs.per_group(inputs.lengths.astype(jnp.float32))
    return None if inputs.prompts[0] == SECOND else usual


def leaves(inputs):
    sys.exit(0)
"""


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """A reward file."""
    second = json.loads((ROOT / "urlvr_jax/lab/questions/train.jsonl").read_text().splitlines()[4])
    file = tmp_path_factory.mktemp("rewards") / "mine.py"
    file.write_text(MINE.replace("SECOND", repr(second["prompt"])))
    return file


def test_a_reward_in_a_file_of_ones_own_trains(launcher, tmp_path, mine):
    call = launcher.run(tiny(tmp_path / "run", QUICK | {"reward.fn": f"{mine}:my_reward"}))
    assert call.status == 0, call.err
    lines = metrics_of(tmp_path / "run")
    assert all(set(line) >= ALWAYS | LABELLED for line in lines)
    assert lines[0]["reward/std"] > 0
    assert len({line["perf/compilations"] for line in lines}) == 1
    # Completions scored with the run: by its own reward, or by the one that was typed.
    file = tmp_path / "saved.jsonl"
    file.write_text('{"prompt": "Q1+2?", "response": "1"}\n' * 2)
    verb = ["score", "--model", str(tmp_path / "run"), "--data", str(file)]
    for typed, want in (([], None), (["--config.reward.name=format"], 0.0)):
        call = launcher.run([*verb, *typed])
        assert call.status == 0, call.err
        scores = [json.loads(line)["reward"] for line in call.out.splitlines()]
        assert len(set(scores)) == 1 and (scores[0] == want) == (want is not None)


@pytest.mark.parametrize(
    "fn, expected",
    [
        ("{folder}/nowhere.py:my_reward", "nowhere.py"),
        ("{folder}/mine.py", "my.py:my_reward"),
        ("{folder}/mine.py:other", "no function 'other'"),
    ],
)
def test_a_reward_that_cannot_be_loaded_is_refused_before_anything_starts(
    launcher, tmp_path, mine, fn, expected
):
    fn = fn.format(folder=mine.parent)
    call = launcher.run(tiny(tmp_path / "run", QUICK | {"reward.fn": fn}))
    assert call.status == 2
    assert "reward.fn" in call.err and expected in call.err and "Traceback" not in call.err
    assert not (tmp_path / "run").exists()


def test_a_reward_that_leaves_stops_the_run_and_is_named(launcher, tmp_path, mine):
    call = launcher.run(tiny(tmp_path / "run", QUICK | {"reward.fn": f"{mine}:leaves"}))
    assert call.status == 2 and "Traceback" not in call.err, call.err
    assert f"step 1: reward 'leaves' raised SystemExit: 0 ({mine}, line " in call.err.splitlines()[-1]


def test_what_was_learnt_before_a_reward_failed_is_saved(launcher, tmp_path, mine):
    run = tmp_path / "run"
    call = launcher.run(tiny(run, QUICK | {"reward.fn": f"{mine}:second", "checkpoint.every": 0}))
    assert call.status == 2 and "step 2: reward 'second' returned" in call.err
    assert f"the state after step 1 is saved: --workdir {run} goes on from there" in call.err
    assert final_state(run)[0] == 1 and len(metrics_of(run)) == 1


def test_a_sum_trains_and_logs_its_terms_and_shadows_are_watched(launcher, tmp_path, mine):
    shadow = ("probability_disparity", "empo(low=0.1)", f"'{mine}:my_reward'", "majority_voting")
    name = f"0.5*group_z(self_certainty) + 0.1*majority_voting - 0.01*'{mine}:my_reward'"
    options = {"reward.name": name, "reward.shadow": shadow}
    call = launcher.run(tiny(tmp_path / "run", QUICK | options))
    assert call.status == 0, call.err
    lines = metrics_of(tmp_path / "run")
    for line in lines:
        for term in ("self_certainty", "majority_voting", "my_reward"):
            assert {f"reward/{term}/mean", f"reward/{term}/std"} <= set(line)
        for name in ("probability_disparity", "empo(low=0.1)", "my_reward", "majority_voting"):
            assert f"shadow/{name}/mean" in line
        vote = line["train/ensemble/majority_voting_reward"]
        assert line["shadow/majority_voting/mean"] == pytest.approx(vote)
        assert line["reward/majority_voting/mean"] == pytest.approx(vote)
    assert len({line["perf/compilations"] for line in lines}) == 1


def test_shadows_change_nothing_that_is_trained(launcher, tmp_path):
    one = launcher.run(tiny(tmp_path / "one", QUICK))
    two = launcher.run(tiny(tmp_path / "two", QUICK | {"reward.shadow": "('random', 'probability')"}))
    assert one.status == two.status == 0
    for a, b in zip(
        *map(without_clocks, map(metrics_of, (tmp_path / "one", tmp_path / "two"))), strict=True
    ):
        assert a == {k: v for k, v in b.items() if not k.startswith("shadow/")} and a != b
    assert final_state(tmp_path / "one") == final_state(tmp_path / "two")


def test_a_control_makes_its_sum_ask_for_labels_and_is_no_shadow(launcher, tmp_path, mine):
    file = tmp_path / "unlabelled.jsonl"
    file.write_text('{"prompt": "Q1+2?"}\n')
    options = QUICK | {"data.train": str(file), "reward.name": "0.1*self_certainty + ground_truth"}
    call = launcher.run(tiny(tmp_path / "run", options))
    assert call.status == 2 and "needs a gold answer" in call.err and "0 for 1" in call.err
    for shadow in ("ground_truth", f"'{mine}:control'"):
        call = launcher.run(tiny(tmp_path / "run", QUICK | {"reward.shadow": f"({shadow!r},)"}))
        assert call.status == 2 and "asks for labels; shadows receive none" in call.err
        assert not (tmp_path / "run").exists()


def test_questions_without_answers_train_and_log_no_label_metrics(launcher, tmp_path, mine):
    file = tmp_path / "unlabelled.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"Q{i}+{i}?"}) + "\n" for i in range(10)))
    options = QUICK | {"data.train": str(file)}
    call = launcher.run(tiny(tmp_path / "run", options))
    assert call.status == 0, call.err
    for line in metrics_of(tmp_path / "run"):
        assert set(line) >= ALWAYS
        assert not set(line) & LABELLED
        assert not any("pass@" in name for name in line)
    for reward in ({"reward.name": "ground_truth"}, {"reward.fn": f"{mine}:control"}):
        call = launcher.run(tiny(tmp_path / "refused", options | reward))
        assert call.status == 2
        assert "needs a gold answer" in call.err and str(file) in call.err and "0 for 10" in call.err
        assert not (tmp_path / "refused").exists()


def test_held_out_questions_without_answers_are_refused(launcher, tmp_path):
    file = tmp_path / "unlabelled.jsonl"
    file.write_text('{"prompt": "Q1+2?"}\n')
    call = launcher.run(tiny(tmp_path / "run", {"eval.sets": f"('{file}',)"}))
    assert call.status == 2 and str(file) in call.err and "answer" in call.err


# ---- numbers that are not finite -------------------------------------------------------------------


def test_updates_that_stay_not_finite_stop_the_run_with_the_batch_saved(launcher, tmp_path):
    run = tmp_path / "run"
    beyond = {
        "kl.coef": 1e38,
        "kl.place": "reward",
        "advantage.name": "dr_grpo",
        "optim.lr": 1e-2,
    }  # 0 at step 1, for the policy is its reference
    options = QUICK | beyond | {"steps": 9, "checkpoint.every": 2}
    call = launcher.run(tiny(run, options))
    assert call.status not in (0, None)
    assert "not finite in 3 steps in a row" in call.err.splitlines()[-1]
    lines = metrics_of(run)
    assert [line["actor/skipped_updates"] for line in lines] == [0, 1, 1, 1]
    with np.load(run / "bad_batch_00004.npz") as batch:
        assert batch["tokens"].shape == (8, 8) and np.abs(batch["advantages"]).max() > 1e30
    step, state = final_state(run)
    assert step == 2 and np.frombuffer(state[("updates",)], np.int32).tolist() == [1]
    assert all(
        np.isfinite(np.frombuffer(x, np.float32)).all() for p, x in state.items() if p[0] == "params"
    )


# ---- a check of one's own ---------------------------------------------------------------------------

CHECK = """
def right(response, gold):
    return response.startswith("A" + gold)


def lenient(response, row):
    return 0.75 if "A" in response and row["answer"] else 0.25


def never(response):
    raise OSError("the service is away")
"""


@pytest.fixture(scope="module")
def check(tmp_path_factory):
    """A file of checks."""
    file = tmp_path_factory.mktemp("checks") / "check.py"
    file.write_text(CHECK)
    return file


def test_a_check_of_ones_own_is_trained_on_measured_and_evaluated(launcher, tmp_path, check):
    options = {"answers.check": f"{check}:lenient", "reward.name": "verifier", "answers.workers": 1}
    call = launcher.run(tiny(tmp_path / "run", QUICK | options | {"eval.every": 4}))
    assert call.status == 0, call.err
    for line in metrics_of(tmp_path / "run")[1:]:
        assert set(line) >= ALWAYS | LABELLED and line["check/late"] == line["check/failed"] == 0
        right = line["train/ensemble/ground_truth_reward"]
        assert line["reward/mean"] == pytest.approx(0.25 + 0.5 * right), "0.75 is right, 0.25 is not"
        assert line["timing_s/check"] > 0
    assert "eval/heldout/avg@2" in metrics_of(tmp_path / "run")[-1]


def test_a_check_that_judges_nothing_stops_what_trains_on_it_and_nothing_else(launcher, tmp_path, check):
    options = QUICK | {"answers.check": f"{check}:never"}
    call = launcher.run(tiny(tmp_path / "one", options | {"reward.name": "ground_truth"}))
    assert call.status == 2 and "Traceback" not in call.err
    assert "none of 8 responses" in call.err and "OSError: the service is away" in call.err
    call = launcher.run(tiny(tmp_path / "two", options | {"eval.every": 4}))
    assert call.status == 0, call.err
    assert call.err.count("no evaluation of heldout at step ") == 2 and "held-out" not in call.out
    base, *lines = metrics_of(tmp_path / "two")
    assert base == {"step": 0}
    for line in lines:
        assert set(line) >= ALWAYS and not set(line) & LABELLED and line["check/failed"] > 0
        assert not any(name.startswith("eval/") for name in line)
    assert call.err.count("none of 8 responses") == 1
