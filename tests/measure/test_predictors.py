"""What is said to tell how much training with labels would bring."""

import itertools

import numpy as np
import pytest

from urlvr_jax.findings import bases, f10, store
from urlvr_jax.measure import predictors


@pytest.mark.parametrize("n, c, k", [(6, 0, 2), (6, 1, 3), (6, 4, 2), (6, 6, 6), (5, 2, 5), (7, 3, 1)])
def test_pass_at_k_is_the_share_of_subsets_with_a_right_answer(n, c, k):
    subsets = list(itertools.combinations([1] * c + [0] * (n - c), k))
    expected = np.mean([any(s) for s in subsets])
    assert predictors.pass_at(np.array([c]), n, k)[0] == pytest.approx(expected, abs=1e-12)


def test_pass_at_k_of_many_samples_does_not_overflow():
    assert predictors.pass_at(np.array([1]), 256, 128)[0] == pytest.approx(0.5)
    assert predictors.pass_at(np.array([0, 256]), 256, 256).tolist() == [0, 1]


def test_more_than_there_are_samples_is_refused():
    with pytest.raises(ValueError, match="pass@9 of 8 samples"):
        predictors.pass_at(np.array([1]), 8, 9)


def test_a_base_is_told_by_powers_of_two():
    found = predictors.of_base(np.array([0, 12]), np.array([False, True]), 12)
    assert list(found) == ["pass@1", "pass@2", "pass@4", "pass@8", "pass@8 - pass@1", "maj@12"]
    assert found["pass@8"] == found["maj@12"] == 0.5 and found["pass@8 - pass@1"] == 0


def test_a_step_is_placed_among_the_papers_models():
    assert predictors.between(10, predictors.PAPER).startswith("before OLMo-2-7B")
    assert "between Qwen2.5-1.5B" in predictors.between(230, predictors.PAPER)
    assert predictors.between(999, predictors.PAPER).startswith("after Qwen3-8B-Base")


def test_a_step_foretells_the_gains_of_its_neighbours():
    assert predictors.foretold(230, predictors.PAPER) == "3.96 to 6.67"
    assert predictors.foretold(1, predictors.LAB) == "-0.07"
    assert predictors.foretold(999, predictors.PAPER) == "17.08"


def test_the_laboratorys_table_is_what_the_runs_on_file_say():
    by_seed = store.by_seed(f10.FINDING, f10.FINDING.seeds((0, 1, 2)), store.on_file())
    seeds = list(by_seed.values())
    steps = bases.of_seeds(seeds, bases.VOTED, bases.steady_step, bases.MENDABLE)
    gains = bases.of_seeds(seeds, bases.TRUTH, bases.repaired, bases.MENDABLE)
    found = {
        f"lab:{b}": (round(s, 1), round(g, 2)) for b, s, g in zip(bases.MENDABLE, steps, gains, strict=True)
    }
    assert found == predictors.LAB
