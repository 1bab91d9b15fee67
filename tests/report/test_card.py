"""The card of an exported model: its numbers are the run's."""

import json

import yaml
from run_folders import write_run

from urlvr_jax.measure.record import RunRecord
from urlvr_jax.report.card import card


def test_a_card_tells_the_runs_own_numbers_and_warns_of_its_alarm(tmp_path):
    folder = write_run(
        tmp_path / "mine", accuracy=(0.3, 0.6, 0.2), alarm=25, **{"reward.name": "self_certainty"}
    )
    text = card(folder, 40)
    assert yaml.safe_load(text.split("---")[1])["base_model"] == "lab:plain"
    last = RunRecord(folder).evals[-1]
    accuracy = sum(last["correct"]) / last["k"] / len(last["correct"])
    assert f"| heldout | held out | 60 | 4 | step 40 | {accuracy:.3f} [" in text
    assert "| base |" in text and "read no gold answer" in text
    assert "alarm of collapse at step 25 (cut), before this checkpoint" in text
    assert "| commit | `000000000000+changes` |" in text and "`jax 0.10.2`" in text
    assert "alarm" not in card(folder, 20), "which is of the time before it"
    assert "| step 20 |" in card(folder, 25), "the last evaluation up to the step"


def test_a_card_says_what_a_reward_read(tmp_path):
    assert "`ground_truth`, read gold answers" in card(
        write_run(tmp_path / "a", **{"reward.name": "ground_truth"}), 40
    )
    own = card(write_run(tmp_path / "b", **{"reward.fn": "mine.py:paid"}), 40)
    assert "a function of its makers, `mine.py:paid`" in own


def test_a_hostile_name_does_not_break_the_card(tmp_path):
    folder = write_run(
        tmp_path / "a\x1b[2J",
        **{"model.path": "x'\n---\nlicense: mit", "data.template": "{prompt} | `x` \u202e"},
    )
    text = card(folder, 40)
    assert (
        yaml.safe_load(text.split("\n---\n")[0].removeprefix("---\n"))["base_model"]
        == "x' --- license: mit"
    )
    assert "\x1b" not in text and "\u202e" not in text


def test_a_run_without_evaluations_says_so(tmp_path):
    assert "not evaluated while it was trained" in card(write_run(tmp_path / "a", sets=()), 40)
    folder = write_run(tmp_path / "b")
    (folder / "record.json").write_text(json.dumps({"attempts": [{}]}))
    assert "| commit | `-` |" in card(folder, 40)


def test_a_reward_that_reads_labels_within_a_sum_is_said_to_read_them(tmp_path):
    text = card(write_run(tmp_path / "a", **{"reward.name": "majority_voting + 0.5*ground_truth"}), 40)
    assert "read gold answers" in text
    assert "read no gold answer" in card(write_run(tmp_path / "b", **{"reward.name": "format"}), 40)
    assert "of its makers" in card(write_run(tmp_path / "c", **{"reward.name": "0.5*'mine.py:paid'"}), 40)
