"""Figures for papers: what is drawn, and that every number of it stands beside it."""

import csv

import numpy as np
import pytest
from run_folders import write_run

from urlvr_jax.errors import UserError
from urlvr_jax.report import bands, figures, opened


@pytest.fixture
def arms(tmp_path):
    for seed in range(2):
        write_run(
            tmp_path / f"a{seed}",
            seed,
            accuracy=(0.3, 0.6, 0.1),
            votes=True,
            **{"reward.name": "self_certainty"},
        )
        write_run(tmp_path / f"b{seed}", seed, votes=True, **{"reward.name": "majority_voting"})
    return opened.arms_of([str(tmp_path)])[0]


def rows_of(file):
    return list(csv.DictReader(file.read_text().splitlines()))


def test_a_rise_has_the_bands_of_the_runs_and_their_numbers_beside_it(arms, tmp_path):
    out = tmp_path / "rise.pdf"
    rows = rows_of(figures.write("rise", arms, out, 2))
    assert out.read_bytes().startswith(b"%PDF") and b"/MediaBox [ 0 0 486" in out.read_bytes()
    band = bands.band(arms[0], "eval/heldout/avg@4")
    mine = [r for r in rows if r["arm"] == arms[0].name and r["panel"] == "held-out accuracy"]
    np.testing.assert_allclose([float(r["y"]) for r in mine], band.mean, rtol=1e-6)
    np.testing.assert_allclose([float(r["low"]) for r in mine], band.low, rtol=1e-6)
    for ending in ("pdf", "svg"):
        once, again = tmp_path / f"once.{ending}", tmp_path / f"again.{ending}"
        for file in (once, again):
            figures.write("rise", arms, file, 2)
        assert again.read_bytes() == once.read_bytes(), "the same runs give the same file"


@pytest.mark.parametrize("kind", ["flips", "sharpening"])
@pytest.mark.parametrize("columns", [1, 2])
def test_questions_that_came_again_are_drawn(arms, tmp_path, kind, columns):
    out = tmp_path / f"{kind}.svg"
    rows = rows_of(figures.write(kind, arms, out, columns))
    assert "<svg" in out.read_text() and {r["arm"] for r in rows} == {arm.name for arm in arms}
    if kind == "flips":
        for arm in arms:
            assert sum(float(r["y"]) for r in rows if r["arm"] == arm.name) == pytest.approx(1)


def test_what_runs_have_nothing_of_is_refused_with_what_it_needs(arms, tmp_path):
    with pytest.raises(UserError, match="--kind=mcs: these runs have nothing of it; it needs labels"):
        figures.write("mcs", arms, tmp_path / "mcs.pdf", 1)
    with pytest.raises(UserError, match="give a name that ends in .pdf"):
        figures.write("rise", arms, tmp_path / "rise.doc", 1)
    with pytest.raises(UserError, match="there is no such folder"):
        figures.write("rise", arms, tmp_path / "nowhere" / "rise.pdf", 1)
    assert not list(tmp_path.glob("*.csv"))


def test_the_verb_draws_and_refuses(launcher, arms, tmp_path):
    call = launcher.run(["figure", str(tmp_path), "--kind", "rise", "--out", str(tmp_path / "x.pdf")])
    assert call.status == 0 and "x.csv" in call.out + call.err, call.err
    for words, said in (
        ([], "figure needs run folders"),
        (["x", "--kind", "pie"], "--kind=pie is not possible: give one of rise"),
        (["x", "--columns", "3"], "--columns=3 is not possible: give 1 or 2"),
    ):
        call = launcher.run(["figure", *words])
        assert call.status == 2 and said in call.err
