"""Studies: which lines are fresh, what rules say of them, what is run, and the pages made from them."""

import dataclasses
import json
import sys
import types

import numpy as np
import pytest
from matplotlib import pyplot

from urlvr_jax.errors import UserError
from urlvr_jax.measure.record import RunRecord
from urlvr_jax.studies import cell as cell_lib
from urlvr_jax.studies import countdown, experiments, experiments_figure, grid, judges, page, rule
from urlvr_jax.studies import run as run_lib
from urlvr_jax.studies.cell import Cell
from urlvr_jax.studies.rule import Need, Rule
from urlvr_jax.sweeps.run import Run
from urlvr_jax.verbs import study


@pytest.mark.parametrize("study", [grid, countdown])
def test_every_line_on_file_is_a_cells_and_every_cell_has_one(study):
    lines = cell_lib.read_runs(study.folder() / "runs.jsonl")
    assert len(lines) == len(study.cells())
    assert not cell_lib.missing(study.cells(), lines) and not cell_lib.stale(study.cells(), lines)


@pytest.mark.parametrize("study", [grid, countdown])
def test_a_studys_page_has_its_tables_of_today(study):
    text = (study.folder() / "README.md").read_text()
    lines = cell_lib.read_runs(study.folder() / "runs.jsonl")
    assert study.table(lines) in text and rule.verdict_table(study.RULES, lines) in text
    assert page.on_file(study.cells(), lines) in text


def test_the_grid_tunes_no_reward_apart():
    cells = grid.cells()
    assert {tuple(cell.overrides) for cell in cells} == {("reward.name", "optim.lr")}
    assert len({cell.hash for cell in cells}) == len(cells) == 9 * 3 * 3


def test_a_cell_is_its_file_its_keys_and_its_seed():
    cell = Cell("experiments/grid.py", 3, {"reward.name": "random", "optim.lr": 3e-5}, {"reward": "random"})
    c = cell.config
    assert (c.reward.name, c.optim.lr, c.seed, c.steps) == ("random", 3e-5, 3, 150)
    assert cell.place == ("random", 3)
    assert cell.run.flags == [
        "--config",
        "experiments/grid.py",
        "--config.reward.name=random",
        "--config.optim.lr=3e-05",
        "--config.seed=3",
    ]
    line = {"config_hash": cell.hash, "base_sha256": cell.base_sha256}
    assert cell.base_sha256 and cell.has(line)
    assert not cell.has(line | {"base_sha256": "another"}) and not cell.has({"config_hash": cell.hash})
    assert not cell.has(line | {"config_hash": "another"}) and not cell.has(None)


def test_a_page_is_drawn_of_fresh_runs_alone(capsys):
    cells = [Cell("experiments/grid.py", seed, {}, {"reward": "random"}) for seed in (0, 1)]
    lines = [
        {"reward": "random", "seed": c.seed, "config_hash": c.hash, "base_sha256": c.base_sha256}
        for c in cells
    ]
    old = lines[1] | {"base_sha256": "another"}
    assert cell_lib.fresh(cells, [lines[0], old]) == [lines[0]]
    assert cell_lib.check(cells, [lines[0], old]) == 1
    said = capsys.readouterr().out
    assert "missing: random seed 1" in said and "stale: reward random seed 1" in said
    with pytest.raises(UserError, match="no fresh run"):
        cell_lib.fresh(cells, [old])


def test_a_study_is_run_from_a_checkout(tmp_path, monkeypatch):
    checkout = cell_lib.root()
    monkeypatch.chdir(checkout / "docs" / "grid")
    assert cell_lib.root() == checkout
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="run `study` from a checkout"):
        cell_lib.root()


@pytest.mark.parametrize(
    "words", [(), ("grid",), ("grid", "write"), ("grids", "run"), ("grid", "run", "now")]
)
def test_an_action_that_a_study_does_not_have_is_refused(words):
    with pytest.raises(UserError, match=r"give one of study grid run\|draw\|check; study countdown"):
        study.run(types.SimpleNamespace(jobs=1), *words)


# ---- rules ----------------------------------------------------------------------------------


def line(arm, seed, final, fall=0.0, collapse=None):
    interval = {"mean": fall, "low": fall - 0.1, "high": fall + 0.1}
    held = {"final": final, "fall": interval}
    return {"arm": arm, "seed": seed, "held_out": held, "collapse_step": collapse, "length": [4.0, 9.0]}


LINES = [
    line("a", 0, 0.5, fall=-0.2),
    line("a", 1, 0.6, collapse=7),
    line("a", 2, 0.7),
    line("b", 2, 0.4),
    line("b", 0, 0.4),
    line("b", 1, 0.4),
]


def verdict_of(*needs, against=None):
    return rule.verdict(
        Rule("text", {"arm": "a"}, tuple(Need(*n) for n in needs), "1234567", against), LINES
    )


def test_a_rule_counts_the_seeds_that_meet_all_of_its_needs():
    stands = ("held_out.fall.mean", ">", -0.1), ("collapse_step", "is", None)
    verdict = verdict_of(*stands)
    assert verdict.holds == "1 of 3 seeds"
    assert verdict.measured == "-0.20 [-0.30, -0.10]; +0.00 [-0.10, +0.10]; +0.00 [-0.10, +0.10]"
    assert verdict_of(("held_out.final", ">=", 0.6)) == ("0.60 (0.50–0.70)", "2 of 3 seeds")
    assert verdict_of(("length.1", ">=", 2.0, "length.0")).holds == "3 of 3 seeds"
    assert verdict_of(("length.1", ">", 2.25, "length.0")).holds == "0 of 3 seeds"


def test_a_rule_about_a_difference_pairs_seeds_and_uses_students_t():
    # differences 0.1, 0.2, 0.3: mean 0.2, standard deviation 0.1, t(0.975, 2) = 4.302653
    verdict = verdict_of(("held_out.final", ">=", 0.2 - 1e-9), against={"arm": "b"})
    reach = 4.302653 * 0.1 / 3**0.5
    assert verdict == (f"+0.200 [{0.2 - reach:+.3f}, {0.2 + reach:+.3f}]", "yes")
    assert verdict_of(("held_out.final", ">=", 0.25), against={"arm": "b"}).holds == "no"
    assert verdict_of(("held_out.final", ">=", 0.0), against={"arm": "c"}) == ("-", "too few seeds")


# ---- running --------------------------------------------------------------------------------


def quick(monkeypatch, cells, folder, code):
    """The cells' runs are a line of Python each, given the words of the run, in a folder of the test."""
    for cell in cells:
        vars(cell)["run"] = dataclasses.replace(cell.run, parent=folder / "runs")
    words = lambda run: [sys.executable, "-c", f"import sys; {code}", *run.flags]
    monkeypatch.setattr(Run, "words", property(words))


def test_what_is_missing_is_run_and_kept_in_the_cells_order(tmp_path, monkeypatch, capsys):
    cells = [
        Cell("experiments/grid.py", seed, {"optim.lr": rate}, {"rate": rate})
        for rate in (0.1, 0.2)
        for seed in (0, 1)
    ]
    held = {"held_out": {"base": 0.5, "peak": 0.5, "final": 0.5}, "mcs": None}
    found = lambda cell: {
        **cell.about, "seed": cell.seed, "config_hash": cell.hash, "base_sha256": cell.base_sha256, **held
    }  # fmt: skip
    file = tmp_path / "study" / "runs.jsonl"
    file.parent.mkdir()
    old = found(cells[2]) | {"config_hash": "another"}
    file.write_text("".join(json.dumps(x) + "\n" for x in (old, found(cells[1]))))
    ran = []
    line_of = lambda record, cell: ran.append(cell) or found(cell)
    quick(monkeypatch, cells, tmp_path, "pass")
    run_lib.run_missing(cells, file, jobs=2, line_of=line_of)
    assert set(ran) == {cells[0], cells[2], cells[3]}
    assert cell_lib.read_runs(file) == [found(cell) for cell in cells]
    assert not list((tmp_path / "runs").iterdir())
    run_lib.run_missing(cells, file, jobs=1, line_of=line_of)
    run_lib.run_missing([], file, jobs=1, line_of=line_of)
    assert len(ran) == 3 and "0 of 0 cells to run" in capsys.readouterr().out


def test_a_run_that_fails_costs_no_other_its_line(tmp_path, monkeypatch):
    cells = [Cell("experiments/grid.py", seed, {}, {"reward": "random"}) for seed in (0, 1, 2)]
    held = {"held_out": {"base": 0.5, "peak": 0.5, "final": 0.5}, "mcs": None}
    line_of = lambda record, cell: {**cell.about, "seed": cell.seed, "config_hash": cell.hash, **held}
    quick(monkeypatch, cells, tmp_path, "sys.exit('error: seed 0' if '--config.seed=0' in sys.argv else 0)")
    with pytest.raises(UserError, match="1 of 3 runs failed.*error: seed 0"):
        run_lib.run_missing(cells, tmp_path / "runs.jsonl", jobs=1, line_of=line_of)
    assert [line["seed"] for line in cell_lib.read_runs(tmp_path / "runs.jsonl")] == [1, 2]


def test_a_runs_folder_becomes_a_line(tmp_path):
    steps = [{"step": s, "reward/mean": s / 10, "timing_s/step": 0.1} for s in range(1, 7)]
    evals = [{"step": s, "set": "heldout", "k": 2, "correct": [2, s // 6, 0, 0]} for s in (0, 6)]
    for file, lines in (("metrics", [{"step": 0}, *steps]), ("evals", evals)):
        (tmp_path / f"{file}.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    git = {"commit": "abc", "modified": False}
    (tmp_path / "record.json").write_text(json.dumps({"config_hash": "h", "attempts": [{"git": git}]}))
    cell = Cell("experiments/grid.py", 5, {}, {"reward": "self_certainty"})
    made = run_lib.condense(RunRecord(tmp_path), cell, thin=4)
    assert list(made)[:3] == ["reward", "seed", "config_hash"] and made["steps"] == 6
    assert made["commit"] == "abc" and made["base_sha256"] == cell.base_sha256 is not None
    assert made["curve_steps"] == [1, 5] and made["own_reward"] == [0.1, 0.5]
    assert made["own_reward_last"] == 0.6 and "entropy" not in made
    assert made["eval_avg"] == [0.25, 0.375] and made["held_out"]["final_minus_base"]["mean"] == 0.25


# ---- the experiments' texts -----------------------------------------------------------------


def test_the_experiments_texts_say_what_the_runs_on_file_say(monkeypatch):
    assert not experiments.changed_texts(), "python -m urlvr_jax.main study experiments write"
    lines = experiments.runs_on_file()
    other = [r | {"held_out": r["held_out"] | {"base": 0.123}} for r in lines]
    monkeypatch.setattr(experiments, "runs_on_file", lambda: other)
    root = cell_lib.root()
    pages = {root / "README.md", root / "docs" / "experiments" / "README.md"}
    told = {root / row.file for row in experiments.ROWS if not row.overrides}
    told = {file for file in told if experiments.EXPECT.search(file.read_text())}
    assert set(experiments.changed_texts()) == pages | told and len(told) >= 11


def test_the_picture_of_the_experiments_draws_what_is_paid_only_where_it_is_a_share(tmp_path):
    run = {"eval_steps": [0, 10], "eval_avg": [0.3, 0.6], "curve_steps": [1, 9]}
    drawn = lambda name, **more: experiments_figure.draw([(name, [run | more])], tmp_path / f"{name}.png")
    drawn("without")
    drawn("beyond", own_reward=[0.5, 7.0])
    drawn("gaps", own_reward=[0.5, None])
    drawn("share", own_reward=[0.5, 0.7])
    read = lambda name: pyplot.imread(tmp_path / f"{name}.png")[:130, :, :3]
    blank = read("without")
    for name, same in (("beyond", True), ("gaps", True), ("share", False)):
        orange = lambda x: ((x[..., 0] > 0.8) & (x[..., 2] < 0.5)).sum()
        assert bool(orange(read(name)) == orange(blank)) == same, name


def test_a_row_whose_experiment_or_base_has_changed_is_stale(monkeypatch):
    assert experiments.stale_rows() == []
    certain = {cell.hash for cell in experiments.Row("experiments/selfcert.py").cells()}
    lines = experiments.runs_on_file()
    changed = [r | {"config_hash": "another"} if r["config_hash"] in certain else r for r in lines]
    oracles = ("oracle", "judge, oracle")  # the same runs, of two studies
    changed = [r | {"base_sha256": "another"} if r.get("arm") in oracles else r for r in changed]
    monkeypatch.setattr(experiments, "runs_on_file", lambda: changed)
    assert [text.split(":")[0] for text in experiments.stale_rows()] == [
        "experiments/selfcert.py",
        "experiments/countdown.py --config.reward.name=countdown",
    ]
    assert experiments.check() == 1


def test_a_folder_that_was_begun_at_another_commit_begins_anew(tmp_path, monkeypatch, capsys):
    run = dataclasses.replace(Cell("experiments/grid.py", 0).run, parent=tmp_path)
    run_lib.begin_anew(run)  # nothing is there
    run.folder.mkdir(parents=True)
    (run.folder / "record.json").write_text(json.dumps({"attempts": [{"git": {"commit": "another"}}]}))
    monkeypatch.setattr(run_lib, "git_state", lambda: {"commit": "another"})
    run_lib.begin_anew(run)
    assert run.folder.is_dir() and not capsys.readouterr().out
    monkeypatch.setattr(run_lib, "git_state", lambda: {"commit": "this"})
    run_lib.begin_anew(run)
    assert not run.folder.exists() and "begun at another commit" in capsys.readouterr().out


def test_a_run_on_one_question_has_no_rise_and_fall():
    assert (
        run_lib.rise_and_fall([{"step": 0, "k": 1, "correct": [1]}, {"step": 9, "k": 1, "correct": [0]}])
        is None
    )
    assert run_lib.rise_and_fall([{"step": 0, "k": 1, "correct": [1, 0]}]) is None


# ---- judges -------------------------------------------------------------------------------------------


RIGHT = np.random.default_rng(0).random((40, 8)) < 0.3


def test_theory_of_an_exact_judge_is_the_papers_optimum():
    p = RIGHT.mean(axis=1)
    want = np.mean(p * np.exp(1.7) / (p * np.exp(1.7) + 1 - p))
    assert judges.predicted(RIGHT, RIGHT.astype(float), 1.7) == pytest.approx(want, abs=1e-12)
    assert judges.inverse_beta_of(RIGHT, want) == pytest.approx(1.7, rel=0.03)


def test_theory_tells_errors_by_chance_from_errors_that_can_be_sought():
    """The same true- and false-positive rates: spread over all wrong solutions, or always of the same ones."""
    by_chance = np.where(RIGHT, 0.9, 0.3)
    same = np.where(RIGHT, 0.9, 0.0)
    for row, right in zip(same, RIGHT, strict=True):
        wrong = np.flatnonzero(~right)
        row[wrong[: round(0.3 * len(wrong))]] = 1.0
    assert judges.predicted(RIGHT, by_chance, 20) > RIGHT.mean() + 0.3
    assert judges.predicted(RIGHT, same, 20) < judges.predicted(RIGHT, same, 1)
    assert judges.predicted(RIGHT, np.full(RIGHT.shape, 0.7), 5) == pytest.approx(RIGHT.mean())


def test_laws_of_judges_are_computed_from_their_points(monkeypatch):
    monkeypatch.setattr(judges, "LEAST", 4)
    rate = lambda x: {"mean": x, "low": x, "high": x}
    found = [
        judges.Point(f"judge, {i}", rate(0.9), rate(x), 0.2 - x, [0.2 - x + d for d in (-0.01, 0.0, 0.01)])
        for i, x in enumerate((0.0, 0.1, 0.3, 0.5))
    ]
    texts = judges.laws(found)
    assert [holds for _, _, holds in texts] == ["yes", "yes", "yes", "-"]
    assert texts[0][1].startswith("-1.000") and texts[3][1].startswith("+0.200")
    turned = [p._replace(expected=-p.expected) for p in found]
    assert [holds for _, _, holds in judges.laws(turned)] == ["yes", "no", "no", "-"]
    assert judges.laws(found[:3]) == []


def test_the_page_of_judges_has_its_tables_of_today():
    text = (judges.folder() / "README.md").read_text()
    lines = cell_lib.read_runs(judges.folder() / "runs.jsonl")
    assert not cell_lib.stale(judges.cells(), lines)
    assert judges.table(judges.points(lines), lines) in text and judges.others(lines) in text
    assert rule.verdict_table(judges.RULES, lines) in text and page.on_file(judges.cells(), lines) in text
