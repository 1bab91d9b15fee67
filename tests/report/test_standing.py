"""Where runs stand, by their folders alone."""

import json

import pytest
from run_folders import write_run

from urlvr_jax.errors import UserError
from urlvr_jax.measure.sparkline import BLOCKS, sparkline
from urlvr_jax.report import standing
from urlvr_jax.runtime.lock import Lock
from urlvr_jax.runtime.progress import step_text


def test_a_sparkline_goes_from_the_least_to_the_greatest():
    assert sparkline(range(8)) == BLOCKS
    assert sparkline([1.0, float("nan"), 2.0]) == "▁ █"
    assert sparkline([5.0] * 40, width=3) == "▄▄▄" and sparkline([]) == ""
    assert sparkline([0.5], low=0, high=1) == "▅" and len(sparkline(range(1000), width=16)) == 16


def test_the_small_curve_is_the_first_to_go_where_a_line_is_short():
    metrics = {"reward/mean": 0.5, "timing_s/step": 1.0, "actor/entropy": 0.1}
    assert step_text(3, 9, metrics, 200, BLOCKS).endswith(BLOCKS)
    assert BLOCKS not in step_text(3, 9, metrics, 50, BLOCKS) and "entropy" in step_text(
        3, 9, metrics, 50, BLOCKS
    )


def test_what_is_running_done_failed_stopped_and_broken_is_told(tmp_path):
    for name in ("running", "done", "failed", "stopped", "broken"):
        write_run(tmp_path / "deep" / name, until=20, alarm=15 if name == "stopped" else None)
    lock = Lock(tmp_path / "deep" / "running")
    assert not lock.taken
    record = tmp_path / "deep" / "done" / "record.json"
    record.write_text(json.dumps({"attempts": [{"finished": "2026-01-01"}]}))
    (tmp_path / "deep" / "failed" / "failed.json").write_text(
        '{"error": "exit status 1: \\u001b[2Jno memory"}'
    )
    (tmp_path / "deep" / "broken" / "metrics.jsonl").write_text("no json\n")
    found = {s.folder.name: s for s in standing.of(tmp_path)}
    lock.release()
    assert {name: s.state for name, s in found.items()} == {name: name for name in found}
    text = standing.text(tmp_path, list(found.values()))
    assert text.splitlines()[0].endswith("5 runs: 1 running  1 failed  1 broken  1 stopped  1 done")
    assert "alarm at step 15 (cut)" in text and "exit status 1: \\x1b[2Jno memory" in text
    assert "step 20/40" in text and "heldout/avg@4" in text and "no JSON object" in text
    assert json.dumps(standing.as_json(list(found.values())))


@pytest.mark.parametrize(
    "text", ["", '{"att', '{"attempts": []}', '{"attempts": [null]}', '{"attempts": 3}']
)
def test_a_broken_record_is_one_broken_run_among_others(tmp_path, text):
    for name in ("a", "b"):
        write_run(tmp_path / name)
    (tmp_path / "b" / "record.json").write_text(text)
    found = {s.folder.name: s.state for s in standing.of(tmp_path)}
    assert found == {"a": "done", "b": "broken"}


def test_a_folder_without_runs_is_refused(tmp_path, launcher):
    with pytest.raises(UserError, match="has no run in it"):
        standing.of(tmp_path)
    write_run(tmp_path / "a")
    call = launcher.run(["status", str(tmp_path)])
    assert call.status == 0 and "1 run: 1 done" in call.out
    assert json.loads(launcher.run(["status", str(tmp_path), "--json"]).out)[0]["steps"] == 40
    for words, said in (
        (["/nowhere"], "/nowhere is no folder"),
        (["a", "b"], "status takes one folder, has 2"),
    ):
        call = launcher.run(["status", *words])
        assert call.status == 2 and said in call.err
