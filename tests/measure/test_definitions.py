"""Definitions of metrics: those of the document, and one for each metric that a run writes."""

import pathlib

from runs import ALWAYS, EVALS, LABELLED, OF_UPDATES

from urlvr_jax.measure.definitions import DEFINITIONS, definition_of, limits

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_the_document_has_the_same_table():
    rows = "".join(f"| {d.names} | {d.unit} | {d.labels} | {d.says} |\n" for d in DEFINITIONS)
    head = "| metric | unit or range | labels | what it says |\n| --- | --- | --- | --- |\n"
    assert head + rows + "\n" in (ROOT / "docs/metrics.md").read_text()


def test_every_metric_of_a_run_has_a_definition():
    for name in (ALWAYS | LABELLED | OF_UPDATES | EVALS) - {"step"}:
        name = name.removesuffix("/low").removesuffix("/high")
        assert definition_of(name), name
    assert definition_of("shadow/self_certainty - entropy/mean").labels == "label-free"
    assert definition_of("response_length/max").unit == "tokens"
    assert definition_of("timing_s/reward").unit == "seconds"
    assert definition_of("nobody/knows") is None
    assert definition_of("collapse/alarm").names == "`collapse/alarm`"
    assert limits("eval/heldout/avg@8") == (0, 1) and limits("reward/rank_correlation") == (-1, 1)
    assert limits("actor/entropy") is None
