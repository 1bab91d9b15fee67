"""Findings: verdicts of synthetic runs with known answers, what runs lack, and the table of all of them."""

import json
import math
import types

import pytest

from urlvr_jax import validation
from urlvr_jax.errors import UserError
from urlvr_jax.findings import at_scale, bases, f01, f02, f03, f09, figures, report, store
from urlvr_jax.findings.finding import FAILS, HOLDS, OPEN, Line, Rule, outcome, verdict
from urlvr_jax.findings.table import FINDINGS
from urlvr_jax.planning.machines import machine
from urlvr_jax.studies.cell import Cell
from urlvr_jax.verbs import finding as verb
from urlvr_jax.verbs.flags import seeds_of


def value(runs):
    return runs["arm"]["value"]


def runs(*values):
    return {seed: {"arm": {"value": v}} for seed, v in enumerate(values)}


RULE = Rule("more than a half", value, ">=", 0.5)
EFFECT = Rule("gains 0.5 or more", value, ">=", 0.5, null=0.0)


@pytest.mark.parametrize(
    "values, plain, effect",
    [
        ((0.8, 0.81, 0.82), HOLDS, HOLDS),
        ((0.1, 0.11, 0.12), FAILS, FAILS),
        ((0.4, 0.6, 0.8), OPEN, HOLDS),  # the mean meets it, the interval [0.10, 1.10] has no 0
        ((0.0, 0.6, 1.2), OPEN, OPEN),  # the interval has 0
        ((0.4, 0.45, 0.6), OPEN, OPEN),  # the mean misses it
        ((0.9,), OPEN, OPEN),
        ((), OPEN, OPEN),
        ((0.9, 0.9, math.nan), OPEN, OPEN),
        ((0.5, 0.5, 0.5), HOLDS, HOLDS),
    ],
)
def test_a_rules_verdict_is_its_intervals(values, plain, effect):
    assert outcome(RULE, runs(*values)).verdict == plain
    found = outcome(EFFECT, runs(*values))
    assert found.verdict == effect and found.strict == plain


@pytest.mark.parametrize(
    "op, values, expected",
    [
        ("<=", (0.1, 0.1, 0.1), HOLDS),
        ("<", (0.5, 0.5), FAILS),
        (">", (0.5, 0.5), FAILS),
        ("<=", (0.5, 0.5), HOLDS),
    ],
)
def test_a_rule_may_ask_for_less_or_more(op, values, expected):
    assert outcome(Rule("", value, op, 0.5), runs(*values)).verdict == expected


def test_an_effect_below_zero_must_be_told_from_zero():
    rule = Rule("falls by 0.10 or more", value, "<=", -0.10, null=0.0)
    assert outcome(rule, runs(-0.4, -0.8, -0.8)).verdict == HOLDS
    assert outcome(rule, runs(-0.01, -0.1, -0.9)).verdict == OPEN
    assert outcome(rule, runs(0.0, 0.01, 0.0)).verdict == FAILS


def test_a_pooled_rule_is_of_all_seeds_together_and_its_interval_of_seeds_drawn_again():
    def order(seeds):
        means = [sum(r["arm"]["value"][i] for r in seeds) / len(seeds) for i in range(3)]
        return bases.spearman(means, [1, 2, 3])

    rule = Rule("in order", order, ">=", 0.9, null=0.0, pooled=True)
    noisy = runs([1, 2, 3], [2, 2, 3], [1, 4, 5], [1, 2, 3])
    found = outcome(rule, noisy)
    assert found.interval.mean == 1 and found.verdict == HOLDS
    assert found.values == pytest.approx([1, 0.866, 1, 1], abs=1e-3)  # each seed alone
    assert outcome(rule, runs([3, 2, 1], [3, 2, 1])).verdict == FAILS
    mixed = outcome(rule, runs([1, 2, 3], [3, 2, 1.5], [1, 2, 3]))
    assert mixed.verdict == OPEN and mixed.interval.low < 0 < mixed.interval.mean
    assert outcome(rule, runs([1, 2, 3])).verdict == OPEN
    assert rule.digest() != Rule("in order", order, ">=", 0.9, null=0.0).digest()


def test_seeds_that_chose_a_definition_do_not_decide(monkeypatch):
    f10 = FINDINGS["F10"]
    assert f10.seeds((0, 1, 2)) == (3, 4, 5) and f10.earlier.seeds((0, 1)) == (0, 1)
    old = [line(f10.earlier, arm, 0) for arm in f10.earlier.arms]
    assert report.seeds_on_file(f10, old) == (3, 4, 5)
    assert report.seeds_on_file(f10.earlier, old) == (0, 1, 2)
    assert len(report.used(f10.earlier, (0, 1, 2), old)) == 16 and not report.used(f10, (3, 4, 5), old)


def test_a_finding_fails_with_one_rule_and_holds_with_all():
    good, bad, unknown = (outcome(RULE, runs(*v)) for v in ((1, 1), (0, 0), (0, 1)))
    assert verdict([good, good]) == HOLDS
    assert verdict([good, unknown]) == OPEN
    assert verdict([good, unknown, bad]) == FAILS
    assert verdict([]) == OPEN
    assert report.said([good, bad]) == f"{FAILS} (1 of 2 rules hold)"


# ---- lines on file ----------------------------------------------------------------------------------


def line(finding, arm, seed, **more):
    """A line as `store.line` makes it, fresh for its arm."""
    cell = finding.cell(arm, seed)
    return {
        "finding": finding.name, "arm": arm, "seed": seed, "config_hash": cell.hash, "base_sha256": cell.base_sha256,
        "commit": "0" * 40, "modified": False, "steps": 300, "mcs": None, "minutes": 1.0, **more,
    }  # fmt: skip


def course(accuracy, own, steps=300):
    """A run whose held-out accuracy and own reward go through these points, evenly spaced."""
    at = lambda points, x: points[min(len(points) - 1, int(x * len(points)))]
    eval_steps = list(range(0, steps + 1, 10))
    avg = [at(accuracy, s / steps) for s in eval_steps]
    peak = max(range(len(avg)), key=avg.__getitem__)
    curve = [at(own, s / steps) for s in range(steps)]
    truth = [at(accuracy, s / steps) for s in range(steps)]
    held = {
        "base": avg[0], "peak": avg[peak], "final": avg[-1], "peak_step": eval_steps[peak],
        "rise": {"mean": avg[peak] - avg[0]}, "fall": {"mean": avg[-1] - avg[peak]},
        "final_minus_base": {"mean": avg[-1] - avg[0]},
    }  # fmt: skip
    return {
        "held_out": held,
        "eval_steps": eval_steps,
        "eval_avg": avg,
        "sets": {"heldout": {"k": 2, "steps": eval_steps, "avg": avg, "maj": avg, "pass": avg}},
        "curves": {
            "own_reward": curve,
            "reward_accuracy": truth,
            "entropy": [1 - x for x in curve],
            "truth": truth,
        },
    }


def rise_and_fall(seed, falls=True):
    last = 0.2 if falls else 0.95
    return [
        line(
            f01.FINDING,
            f01.VOTED,
            seed,
            **course([0.6, 0.95, 0.9, last, last - 0.01 * seed], [0.5, 0.7, 0.8, 0.95]),
        ),
        line(f01.FINDING, f01.TRUE, seed, **course([0.6, 0.95, 0.95, 0.95], [0.45, 0.6, 0.7, 0.8])),
    ]


def test_rise_and_fall_holds_of_runs_that_rise_and_fall_and_fails_of_runs_that_stay():
    fallen = [x for seed in range(3) for x in rise_and_fall(seed)]
    outcomes = report.judged(f01.FINDING, (0, 1, 2), fallen)
    assert verdict(outcomes) == HOLDS, [(o.rule.text, o.measured) for o in outcomes]
    stayed = [x for seed in range(3) for x in rise_and_fall(seed, falls=False)]
    outcomes = report.judged(f01.FINDING, (0, 1, 2), stayed)
    assert verdict(outcomes) == FAILS
    assert outcomes[2].verdict == FAILS and outcomes[1].verdict == HOLDS


def test_a_missing_seed_is_said_and_the_others_are_judged(monkeypatch):
    lines = [x for seed in (0, 2) for x in rise_and_fall(seed)]
    monkeypatch.setattr(store, "on_file", lambda: lines)
    said = verb.text(f01.FINDING, (0, 1, 2))
    assert "no runs of seeds [1]" in said and "holds" in said
    assert f"{FAILS}" not in said


@pytest.mark.parametrize(
    "spoil, said",
    [
        (lambda x: x.pop("curves"), "no curve 'own_reward' in F1 majority voting 1"),
        (lambda x: x["curves"].pop("entropy"), "no curve 'entropy' in F1 majority voting 1"),
        (lambda x: x.update(held_out=None), "no 'held_out' in F1 majority voting 1"),
        (lambda x: x["sets"]["heldout"].update(steps=[0], avg=[0.6]), "20 is not in list"),
        (lambda x: x.update(sets={}), "StopIteration"),
    ],
)
def test_what_a_run_lacks_is_said_by_name_and_the_other_rules_are_judged(spoil, said):
    lines = [x for seed in range(3) for x in rise_and_fall(seed)]
    spoil(lines[2])
    outcomes = report.judged(f01.FINDING, (0, 1, 2), lines)
    assert any(said in o.measured for o in outcomes), [o.measured for o in outcomes]
    assert verdict(outcomes) == OPEN and any(o.verdict == HOLDS for o in outcomes)


def test_a_curve_of_one_point_decides_nothing_and_is_drawn(tmp_path, monkeypatch):
    one = {**rise_and_fall(0)[0], **course([0.6], [0.5], steps=1)}
    one["sets"]["heldout"].update(steps=[0], avg=[0.6])
    one.update(eval_steps=[0], eval_avg=[0.6], steps=1)
    figures.draw(f01.FINDING, {f01.VOTED: [one]}, tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 1000
    assert verdict(report.judged(f01.FINDING, (0, 1), [one])) == OPEN


def test_a_line_of_another_base_or_configuration_or_without_its_curves_is_not_used():
    lines = rise_and_fall(0)
    find = lambda lines: store.find(f01.FINDING, f01.VOTED, 0, lines)
    assert find(lines) is lines[0]
    assert find([lines[0] | {"base_sha256": "another"}]) is None
    assert find([lines[0] | {"config_hash": "another"}]) is None
    watched = FINDINGS["F6"]  # its run on all questions is F1's, but must have the distance from the base
    assert watched.cell("2048 questions", 0).hash == lines[0]["config_hash"]
    assert store.find(watched, "2048 questions", 0, lines) is None
    lines[0]["curves"]["kl"] = [0.1]
    assert store.find(watched, "2048 questions", 0, lines) is lines[0]


def test_a_run_is_shared_by_findings_that_ask_for_the_same(monkeypatch):
    f7 = FINDINGS["F7"]
    lines = rise_and_fall(0)
    missing = store.missing(f7, (0,), lines)
    assert [cell.about["arm"] for cell in missing] == ["40 test questions"]


def test_a_rule_changed_after_its_runs_is_told():
    lines = [x | {"rules": {"F1": "another"}} for x in rise_and_fall(0)]
    assert len(report.rules_changed(f01.FINDING, lines)) == 2
    lines = [x | {"rules": {"F1": f01.FINDING.digest()}} for x in rise_and_fall(0)]
    assert not report.rules_changed(f01.FINDING, lines)
    other = Rule("more than a half", value, ">=", 0.6)
    assert other.digest() != RULE.digest() != EFFECT.digest()


def test_the_ways_of_failing_are_told_apart():
    held = {"peak_step": 50, "fall": {"mean": -0.5}}
    flat = lambda x: [x] * 300
    of = lambda **curves: f02.way_of_failing(
        {
            "held_out": held,
            "curves": {"length": flat(27), "repetition": flat(0.01), "distinct": flat(0.7)} | curves,
        }
    )
    assert of() == f02.GRADUAL
    assert of(repetition=[0.0] * 100 + [0.6] * 200) == f02.REPEATS
    assert of(length=[27] * 100 + [11] * 200) == f02.SHORT
    assert of(distinct=[0.7] * 100 + [0.05] * 200) == f02.ONE_ANSWER
    held["fall"]["mean"] = -0.05
    assert of(repetition=flat(0.6)) == f02.STAYS


def test_a_fall_is_for_good_or_none():
    of = lambda *avg: f03.fall_step(
        {"sets": {"a": {"steps": list(range(0, 10 * len(avg), 10)), "avg": avg}}}
    )
    assert of(0.6, 0.9, 0.9, 0.5, 0.4) == 30
    assert of(0.6, 0.9, 0.5, 0.9, 0.4) == 40
    assert of(0.6, 0.9, 0.5, 0.9, 0.85) is None


def test_priors_decide_only_where_the_order_of_votes_is_that_of_collapse():
    def of(order):
        made = {}
        for i, base in enumerate(bases.BASES):
            fallen = [0.5 if order[i] is None or step < order[i] else 0.0 for step in range(1, 201)]
            curves = {"label_accuracy": [0.1 * i], "entropy": [0.5], "reward_accuracy": fallen}
            made[f"{base}, {bases.VOTED}"] = Line({"mcs": order[i], "steps": 200, "curves": curves})
        return made

    rising, falling = [10, 20, 30, 40, 50, 60, 70, None], [80, 70, 60, 50, 40, 30, 20, 10]
    assert f09.by_votes([of(rising)]) == f09.by_votes_of_a_seed(of(rising)) == pytest.approx(1)
    assert f09.by_votes([of(falling)]) == f09.by_votes_of_a_seed(of(falling)) == pytest.approx(-1)
    assert f09.range_of_single_steps(of(rising)) == pytest.approx(20.1)
    # Means of 5 steps: 0.5 is left behind at four steps later than the first below.
    assert bases.of_seeds([of(rising)], bases.VOTED, bases.steady_step)[:2] == [14, 24]
    assert bases.of_seeds([of(rising), of(falling)], bases.VOTED, bases.steady_step)[1] == 49


# ---- all findings ------------------------------------------------------------------------------------


def test_every_finding_has_a_claim_numbers_rules_and_runs_that_can_be_made():
    assert list(FINDINGS) == [f"F{i}" for i in range(1, 15)]
    for finding in FINDINGS.values():
        assert finding.claim and finding.paper and finding.setting and len(finding.rules) >= 2
        hashes = [cell.hash for cell in finding.cells((0,))]
        assert len(set(hashes)) == len(hashes), finding.name
        for cell in finding.cells((0,)):
            settled = cell.config
            settled.mesh.data = 1
            validation.validate(settled, 1)


@pytest.mark.parametrize("name", FINDINGS)
def test_every_findings_runs_at_the_papers_scale_are_valid_and_priced(name):
    finding = FINDINGS[name]
    for arm in list(finding.at_scale.values())[:2]:
        found = at_scale.price(Cell(arm.experiment, 0, arm.overrides).config, machine("h100-8"))
        assert found.tokens > 0 and (found.hours > 0 or found.problem)


def test_an_unknown_finding_and_impossible_seeds_are_said(capsys):
    flag = types.SimpleNamespace(seeds="0:3", jobs=2, scale="lab", draw=False, hardware="")
    with pytest.raises(UserError, match="'F99' is no finding: give F1, F2"):
        verb.run(flag, "F1", "F99")
    with pytest.raises(UserError, match="no finding is named"):
        verb.run(flag)
    assert verb.run(flag, "list") == 0 and "F14" in capsys.readouterr().out
    for text in ("3:0", "a", "0,0", "-1:2", ""):
        with pytest.raises(UserError, match="--seeds="):
            seeds_of(text)
    assert seeds_of("0:3") == (0, 1, 2) and seeds_of("4,1") == (4, 1)


def test_numbers_are_kept_to_three_digits():
    assert [store.short(x) for x in (0.12345, 27.456, 5823.0, 0.0, 1e-7)] == [0.123, 27.5, 5820, 0, 0]


def test_the_page_and_the_readme_say_what_the_runs_on_file_say():
    lines = store.on_file()
    assert (store.folder() / "README.md").read_text() == report.whole_page(lines)
    assert json.dumps(lines)  # no number that JSON does not know
    readme = (store.folder().parents[1] / "README.md").read_text()
    for finding in FINDINGS.values():
        assert page_row(report.short_row(finding, lines)) in readme


def page_row(row):
    return f"| {' | '.join(row)} |"
