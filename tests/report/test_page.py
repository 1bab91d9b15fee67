"""The page of runs, as text: what is in it, what is said to be missing, and that nothing of a model is markup."""

import html.parser
import json
import re

import numpy as np
import pytest
from run_folders import write_run

from urlvr_jax.comparing import arms as arms_lib
from urlvr_jax.errors import UserError
from urlvr_jax.report import bands, charts, completions, opened

pytest.importorskip("bokeh", reason="pip install 'urlvr_jax[report]'")
from urlvr_jax.report import page  # noqa: E402


def made(*folders):
    return page.html(*opened.arms_of(map(str, folders)))


def arm_of(*folders):
    (arm,) = arms_lib.arms_of(map(arms_lib.opened, folders))
    return arm


def data_of(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text)[1])


# ---- curves ----------------------------------------------------------------------------------


def test_a_band_is_the_mean_over_seeds_and_students_interval(tmp_path):
    from scipy import stats

    arm = arm_of(*(write_run(tmp_path / str(seed), seed) for seed in range(3)))
    band = bands.band(arm, "response_length/mean")
    table = np.array([run.record.curve("response_length/mean")[1] for run in arm.runs])
    np.testing.assert_array_equal(band.x, np.arange(1, 41))
    np.testing.assert_allclose(band.mean, table.mean(0), rtol=1e-6)
    reach = stats.t.ppf(0.975, 2) * table.std(0, ddof=1) / np.sqrt(3)
    np.testing.assert_allclose(band.high - band.mean, reach, rtol=1e-4)
    shares = bands.band(arm, "eval/heldout/avg@4")
    np.testing.assert_array_equal(shares.x, [0, 10, 20, 30, 40])
    assert shares.low.min() >= 0 and shares.high.max() <= 1


def test_long_curves_are_means_of_bins_and_seeds_that_end_early_leave_the_rest(tmp_path):
    arm = arm_of(write_run(tmp_path / "0", 0, steps=90), write_run(tmp_path / "1", 1, steps=90, until=30))
    whole = bands.band(arm, "reward/mean")
    assert np.isfinite(whole.low[:30]).all() and np.isnan(whole.low[30:]).all() and len(whole.x) == 90
    few = bands.band(arm, "reward/mean", points=9)
    np.testing.assert_allclose(few.mean, [0.5 + (10 * i + 5.5) / 100 for i in range(9)], rtol=0.02)


def test_curves_are_aligned_at_tokens_peak_and_collapse(tmp_path):
    folder = write_run(tmp_path / "a", accuracy=(0.3, 0.6, 0.02, 0.02), alarm=30)
    arm = arm_of(folder)
    (run,) = arm.runs
    assert run.peak == 10 and bands.alarm_step(run) == 30
    collapse = bands.collapse_step(run)
    assert 20 < collapse < 28, "where the true reward is below half the base's, not the alarm"
    at = {axis: bands.band(arm, "reward/mean", axis).x for axis in bands.ALIGNMENTS}
    np.testing.assert_allclose(at["tokens"], np.arange(1, 41) / 1000, rtol=1e-5)
    np.testing.assert_array_equal(at["peak"], np.arange(1, 41) - 10)
    np.testing.assert_array_equal(at["collapse"], np.arange(1, 41) - collapse)
    steady = arm_of(write_run(tmp_path / "b"))
    assert bands.band(steady, "reward/mean", "collapse") is None


def test_arrays_are_held_once_and_a_page_of_many_runs_stays_small(tmp_path, monkeypatch):
    folders = [
        write_run(tmp_path / str(i), 0, steps=1000, every=100, **{"optim.lr": 1e-4 * (i + 1)})
        for i in range(10)
    ]
    arms = arms_lib.arms_of(map(arms_lib.opened, folders))
    arrays, curves = charts.data_of(arms, charts.charts_of(arms))
    assert len(arrays) == len(set(arrays)) and sum(map(len, arrays)) <= charts.MOST_BYTES
    monkeypatch.setattr(charts, "MOST_BYTES", 60_000)
    fewer, _ = charts.data_of(arms, charts.charts_of(arms))
    assert sum(map(len, fewer)) <= 60_000
    assert len(made(*folders).encode()) < 3e6


# ---- what the page says ----------------------------------------------------------------------


def test_the_page_has_curves_alarm_questions_texts_and_differences(tmp_path):
    for seed in range(2):
        write_run(tmp_path / f"a{seed}", seed, accuracy=(0.3, 0.6, 0.1), alarm=30, votes=True, texts=["Q1+2?", "a long answer"], **{"reward.name": "self_certainty"})  # fmt: skip
        write_run(tmp_path / f"b{seed}", seed, **{"reward.name": "majority_voting"})
    text = made(tmp_path)
    assert "alarm in 2 of 2, at step 30 (cut)" in text and "at its peak 0.6" in text
    for said in (
        "does it get better?", "is collapse near?", "what flips?", "what became of them?", "what is its reward worth?",
        "which differences are real?", "a long answer", "000000000000+changes", "jax 0.10.2", "keys that differ", "reward.name", "before and near the peak",
    ):  # fmt: skip
        assert said in text, said
    found = data_of(text)
    assert found["marks"]["step"] == [[30.0, 30.0], []]
    assert "b0 has no table of completions" in text


def test_every_chart_says_what_its_metric_is(tmp_path):
    arms = arms_lib.arms_of([arms_lib.opened(write_run(tmp_path / "a"))])
    for chart in charts.charts_of(arms):
        assert "label" in chart.says.lower(), chart


def test_what_cannot_be_read_is_named_and_the_rest_is_shown(tmp_path):
    write_run(tmp_path / "good", texts=["hello"])
    write_run(tmp_path / "short", seed=1, until=7)
    write_run(tmp_path / "again", seed=1, until=5)
    write_run(tmp_path / "other", seed=2, sets=())
    broken = write_run(tmp_path / "broken", seed=3)
    with open(broken / "metrics.jsonl", "a") as file:
        file.write("no json\n")
    torn = write_run(tmp_path / "torn", seed=4)
    with open(torn / "metrics.jsonl", "a") as file:
        file.write('{"step": 41, "rewar')
    lines = (tmp_path / "good" / "metrics.jsonl").read_text().splitlines()
    lines.append(json.dumps({"step": 40, "reward/mean": None, "actor/entropy": float("nan")}))
    (tmp_path / "good" / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    parquet = next((tmp_path / "good" / "completions").glob("*"))
    parquet.write_bytes(b"not parquet")
    (tmp_path / "empty").mkdir()
    (write_run(tmp_path / "norecord", seed=5) / "record.json").write_text('{"attempts": []}')
    unbegun = write_run(tmp_path / "unbegun", seed=6)
    evals = [e for e in (unbegun / "evals.jsonl").read_text().splitlines() if json.loads(e)["step"]]
    (unbegun / "evals.jsonl").write_text("\n".join(evals) + "\n")
    text = made(tmp_path, tmp_path / "empty")
    for said in (
        "norecord is left out", "has no evaluation of heldout before training", "other has not evaluated heldout",
        "broken is left out", "short is not done: step 7 of 40", "again is left out", "empty is no run",
        "other has no evaluations",
    ):  # fmt: skip
        assert said in text, said
    assert "hello" in text and "seeds 0, 1, 2, 4, 6" in text


def test_a_page_of_nothing_is_refused(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "config.json").write_text('{"model_type": "qwen3"}')
    (tmp_path / "x" / "record.json").write_text("{}")
    with pytest.raises(UserError, match="no run can be shown: .*is of a model"):
        made(tmp_path)


HOSTILE = (
    "<script>document.title='x'</script>", "</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>', "{{ 7 * 7 }}", "javascript:alert(1)", "\u202eevil\u2066", "\x1b[2J\x00\x07",
    "]]><!--", "<!--<script>", "&lt;b&gt;", "a" * 1_000_000, "\ud800", "'; DROP TABLE", "</textarea></div></body>",
)  # fmt: skip


class Elements(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, [name for name, _ in attrs]))


def test_what_a_model_wrote_is_text_and_never_an_element(tmp_path):
    texts = [t.replace("\ud800", "\\ud800") for t in HOSTILE]
    write_run(tmp_path / "plain", texts=["x"] * len(texts))
    write_run(tmp_path / "hostile", texts=texts)
    plain, hostile = Elements(), Elements()
    plain.feed(made(tmp_path / "plain"))
    text = made(tmp_path / "hostile")
    hostile.feed(text)
    assert hostile.found == plain.found
    assert not any(name.startswith("on") for _, names in hostile.found for name in names)
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e\u2066]", text) and "\\u202eevil" in text
    assert "{{ 7 * 7 }}" in text and "998,500 characters more" in text
    assert completions.short("\ud800", 9) == "\\ud800"


def test_a_hostile_name_of_a_run_and_of_a_metric_stays_text(tmp_path):
    folder = write_run(tmp_path / "<b onmouseover=alert(1)>", alarm=5)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines[1:]:
        line |= {"collapse/</script><script>x": 0.1, "collapse/reason": "<i>"}
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = made(folder)
    assert "<b onmouseover" not in text and "<script>x" not in text and "<i>" not in text


def test_scripts_are_named_by_the_policy_and_nothing_else_may_run(tmp_path):
    text = made(write_run(tmp_path / "a"))
    policy = re.search(r'Content-Security-Policy" content="(.*?)">', text)[1]
    assert "default-src 'none'" in policy and "unsafe-eval" not in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 2
    assert all(page._hash(script).replace("'", "&#39;") in policy for script in scripts)
    elements = Elements()
    elements.feed(text)
    assert not any({"src", "href"} & set(names) for _, names in elements.found)


def test_the_verb_writes_the_page_and_says_where(launcher, tmp_path):
    write_run(tmp_path / "a", until=7)
    call = launcher.run(["report", str(tmp_path / "a"), "--out", str(tmp_path / "page.html")])
    assert call.status == 0 and "page.html: 1 runs, 1." in call.err + call.out, (call.out, call.err)
    assert "is not done: step 7 of 40" in call.err + call.out
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    for words, said in (
        ([], "report needs run folders"),
        ([str(tmp_path / "a"), "--out", str(tmp_path)], "is a folder"),
    ):
        call = launcher.run(["report", *words])
        assert call.status == 2 and said in call.err
