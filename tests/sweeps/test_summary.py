"""What a sweep's folders say together: numbers over seeds, tables, the figure, and lines while they are made."""

import csv
import io
import json
import types

import pytest

from urlvr_jax.errors import UserError
from urlvr_jax.measure.intervals import over_seeds
from urlvr_jax.runtime.progress import Console
from urlvr_jax.sweeps import axes, summary, watch
from urlvr_jax.sweeps.run import Run

METRIC = "eval/heldout/avg@2"
OVER = axes.parse(["optim.lr=1e-5,3e-5", "seed=0:3"], {})
CURVES = {
    (1e-5, 0): [0.5, 0.6, 0.55],
    (1e-5, 1): [0.5, 0.7, 0.8],
    (1e-5, 2): [0.4, 0.6, 0.75],
    (3e-5, 0): [0.5, 0.9],
}


def written(run, curve, finished=True):
    """A run's folder with a metric at steps 0, 10, 20."""
    run.folder.mkdir()
    lines = [
        {"step": 10 * i, METRIC: x, f"{METRIC}/low": 0.0, "reward/mean": 1.0} for i, x in enumerate(curve)
    ]
    (run.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    attempt = {"finished": "now"} if finished else {}
    (run.folder / "record.json").write_text(json.dumps({"config_hash": run.hash, "attempts": [attempt]}))


@pytest.fixture(name="runs")
def runs_fixture(tmp_path):
    """Three seeds of one rate are done; of the other rate one is done, one failed, one has not begun."""
    found = {Run("", {"steps": 20, **values}, tmp_path): values for values in axes.product(OVER)}
    for run, values in found.items():
        if curve := CURVES.get((values["optim.lr"], values["seed"])):
            written(run, curve)
    list(found)[4].keep_failure("exit status 2: error: no such model")
    return found


def told(runs):
    return [summary.told(run, values, METRIC) for run, values in runs.items()]


def test_numbers_over_seeds_are_the_intervals_of_student(runs):
    first, second = summary.settings(told(runs))
    assert first.values == {"optim.lr": 1e-5} and len(first.runs) == 3 and len(second.runs) == 1
    assert first.over_seeds("last") == over_seeds([0.55, 0.8, 0.75])
    assert first.over_seeds("best") == over_seeds([0.6, 0.8, 0.75])
    steps, band = first.band()
    assert steps == [0, 10, 20] and band[1] == over_seeds([0.6, 0.7, 0.6])
    interval = over_seeds([0.55, 0.8, 0.75])
    assert first.text("last") == f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
    assert second.text("last") == "0.900"


def test_the_summary_is_a_page_a_table_lines_and_a_figure(runs, tmp_path):
    shown = summary.write(tmp_path, told(runs), OVER, METRIC)
    assert "| 1e-5 | 3 | 0.467 [" in shown and "| 3e-5 | 1 | 0.500 | 0.900 | 0.900 |" in shown
    assert "2 of 6 runs" in shown
    page = (tmp_path / "summary.md").read_text()
    assert (
        page.startswith(shown[:40]) and "optim.lr=3e-5 seed=1: exit status 2: error: no such model" in page
    )
    lines = [json.loads(line) for line in (tmp_path / "summary.jsonl").read_text().splitlines()]
    assert [line["state"] for line in lines] == ["done"] * 4 + ["failed", "not finished"]
    assert (
        lines[0] | {"best": 0.6, "best_step": 10, "last": 0.55, "last_step": 20, "optim.lr": 1e-5}
        == lines[0]
    )
    rows = list(csv.DictReader(io.StringIO((tmp_path / "summary.csv").read_text())))
    assert [row["name"] for row in rows] == [run.hash for run in runs] and rows[1]["last"] == "0.8"
    assert (tmp_path / "summary.png").read_bytes()[:4] == b"\x89PNG"


def test_a_metric_that_no_run_has_is_answered_with_one_that_is_there(runs):
    assert summary.metric_of(list(runs), "") == METRIC
    assert summary.metric_of(list(runs), "reward/mean") == "reward/mean"
    with pytest.raises(UserError, match="give for example eval/heldout/avg@2"):
        summary.metric_of(list(runs), "eval/heldout/avg@4")


def test_a_sweep_without_any_line_has_a_table_without_numbers(tmp_path):
    run = Run("", {"seed": 0}, tmp_path)
    over = axes.parse(["seed=0"], {})
    assert summary.metric_of([run], "") == "reward/mean"
    assert "| 0 | - | - | - |" in summary.write(
        tmp_path, [summary.told(run, {"seed": 0}, "reward/mean")], over, "reward/mean"
    )
    assert not (tmp_path / "summary.png").exists()


def test_the_table_says_how_each_run_stands_and_what_is_left(runs, capsys, monkeypatch):
    running = list(runs)[5]
    engine = types.SimpleNamespace(running=[running])
    shown = watch.Watch([watch.Course(run, values) for run, values in runs.items()], engine, "")
    assert shown.head() == "6 runs: 4 done  1 running  1 failed  0 waiting"  # nothing made yet: no time
    written(running, [0.5, 0.7], finished=False)
    shown.courses[5].look()
    shown._began -= 30
    assert shown.seconds_left(["done"] * 4 + ["failed", "running"]) == pytest.approx(30, rel=0.1)
    assert shown.head().endswith("30 s left")
    block = shown.block()
    assert block[1] == f"  optim.lr=3e-5 seed=2  running  step 10/20  {METRIC} 0.700"
    assert block[2].startswith("  optim.lr=3e-5 seed=1  failed") and len(block) == 7
    monkeypatch.setenv("LINES", "7")
    assert shown.block()[-1] == "  and 2 more"
    shown.ended(list(runs)[4], 2)
    assert (
        capsys.readouterr()
        .out.strip()
        .endswith("optim.lr=3e-5 seed=1  exit status 2: error: no such model")
    )


def test_a_run_that_goes_on_takes_lines_back(runs):
    run, values = next(iter(runs.items()))
    course = watch.Course(run, values)
    course.look()
    assert course.step == 20
    text = (run.folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run.folder / "metrics.jsonl").write_text(text[0] + text[1][:9])  # torn
    course.look()
    assert course.step == 0
    (run.folder / "metrics.jsonl").write_text("".join(text[:2]))
    course.look()
    assert course.step == 10


def test_elsewhere_than_on_a_terminal_one_line_is_said_now_and_then(runs, capsys):
    shown = watch.Watch(
        [watch.Course(*item) for item in runs.items()], types.SimpleNamespace(running=[]), "", Console()
    )
    for _ in range(3):
        shown.look()
    assert capsys.readouterr().out == "6 runs: 4 done  0 running  1 failed  1 waiting\n"
