"""What a run's figure shows, and what it keeps to itself."""

import json

import matplotlib
import pytest

from urlvr_jax import config
from urlvr_jax.measure import collapse, drawing, figure
from urlvr_jax.measure.record import RunRecord

matplotlib.use("Agg")
RANK = "rank_correlation"
FREE = {
    "reward/mean": 9.0, collapse.NO_ANSWER: 1.0, "train/ensemble/majority_ratio": 0.0, "response_length/mean": 20.0,
    "response_length/clip_ratio": 0.0, "repetition_rate": 0.0, "actor/entropy": 0.2,
}  # fmt: skip
LABELLED = {collapse.TRUTH: 0.5, collapse.VOTES: 1.0, f"reward/{RANK}": -0.2}


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Draw a run of so many equal steps; its figure."""
    from matplotlib import pyplot

    close = pyplot.close
    monkeypatch.setattr(pyplot, "close", lambda figure: None)

    def draw(steps: int, metrics: dict, folder: str = "mine", evals: bool = False, **keys):
        path = tmp_path / folder
        path.mkdir(exist_ok=True)
        c = config.flat(config.default()) | keys
        (path / "config.json").write_text(json.dumps(c))
        lines = [{"step": s, **metrics} for s in range(1, steps + 1)]
        found = [{"step": s, "set": "amc", "k": 1, "correct": [1, 1]} for s in (0, steps)] if evals else []
        accuracy = {f"eval/amc/avg@1{end}": 1.0 for end in ("", "/low", "/high")} if evals else {}
        lines = [{"step": 0, **accuracy}, *lines[:-1], {**lines[-1], **accuracy}]
        for file, rows in (("metrics", lines), ("evals", found)):
            (path / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert figure.rise_and_fall(path).read_bytes().startswith(b"\x89PNG")
        return pyplot.gcf()

    yield draw
    close("all")


def labels(figure) -> set[str]:
    return {text.get_text() for axis in figure.axes for text in (axis.get_legend() or axis).texts} - {""}


def test_numbers_are_written_as_one_types_them():
    typed = {
        3e-4: "3e-4",
        3e-05: "3e-5",
        1e-6: "1e-6",
        2.5e-4: "2.5e-4",
        -0.001: "-1e-3",
        0.02: "0.02",
        1.0: "1",
        0.0: "0",
    }
    assert {value: drawing.number(value) for value in typed} == typed
    assert drawing.number(3) == "3" and drawing.number("majority_voting") == "majority_voting"


def test_a_title_has_names_and_no_folder_of_the_machine(tmp_path):
    run = tmp_path / "line\nbreak $x_1$"
    run.mkdir()
    keys = {"model.path": "/srv/some where/Qwen3-1.7B", "reward.fn": "", "kl.coef": 1e-3, "optim.lr": 3e-4}

    def title(**changes):
        c = config.flat(config.default()) | keys | changes
        (run / "config.json").write_text(json.dumps(c))
        return figure.title(RunRecord(run))

    text = title(**{"reward.name": "0.5*'/home/me/a b/mine.py:mine' + format"})
    assert text == (
        "line break $x_1$: 0.5*'mine.py:mine' + format   (Qwen3-1.7B, lr 3e-4, 32 × 8, KL 1e-3, seed 0)"
    )
    assert title(**{"reward.fn": "/home/me/mine.py:own", "kl.coef": 0.0}).startswith(
        "line break $x_1$: own   (Qwen"
    )
    long = title(**{"reward.name": " + ".join(["majority_voting"] * 30)})
    assert "…" in long and max(map(len, long.split("\n"))) < 130


def test_few_points_are_marked_and_lines_at_the_ends_are_seen_whole(drawn):
    few = drawn(1, FREE | LABELLED, evals=True)
    curves = [line for axis in few.axes for line in axis.lines if line.get_label()[0] != "_"]
    assert all(
        line.get_marker() == "o" for line in curves if len(line.get_xdata()) == 1 and line.get_ls() != ":"
    )
    for axis in few.axes:
        (left, right), (low, high) = axis.get_xlim(), axis.get_ylim()
        for line in axis.lines:
            assert all(low < y < high for y in line.get_ydata()), line.get_label()
            assert all(left <= x <= right for x in line.get_xdata()), line.get_label()
    many = drawn(40, FREE | LABELLED, "long")
    assert {line.get_marker() for axis in many.axes for line in axis.lines} == {"None"}


def test_legends_stand_below_their_panels(drawn):
    shadows = {f"shadow/{'x' * 60}{i}/{what}": 0.1 * i for i in range(8) for what in ("mean", RANK)}
    whole = drawn(3, FREE | LABELLED | shadows | {"actor/kl": 0.1, "reward/accuracy": 0.5}, evals=True)
    whole.canvas.draw()
    legends = [axis for axis in whole.axes if axis.get_legend()]
    assert len(legends) == 4
    for axis in legends:
        box, panel = axis.get_legend().get_window_extent(), axis.get_window_extent()
        assert box.y1 <= axis.xaxis.label.get_window_extent().y0 and panel.height > 100
    assert "KL, nats (right axis)" in labels(whole) and "its accuracy (0 to 1)" in labels(whole)


@pytest.mark.parametrize(
    "metrics, panels, first, second",
    [
        (FREE, 3, "does its reward rise?", "do the votes agree?"),
        (FREE | {"shadow/empo/mean": 0.3}, 4, "does its reward rise?", "what do the shadows do?"),
        (FREE | LABELLED, 4, "does it get better?", "which reward agrees with the truth?"),
    ],
)
def test_a_panel_is_there_for_what_the_run_knows(drawn, metrics, panels, first, second):
    whole = drawn(4, metrics)
    titles = [axis.get_title() for axis in whole.axes if axis.get_title()]
    assert titles[:2] == [first, second] and len(titles) == panels
    assert ("the vote's reward accuracy" in labels(whole)) == (collapse.VOTES in metrics)
    assert ("empo, 0.3 to 0.3" in labels(whole)) == ("shadow/empo/mean" in metrics)


def test_the_model_collapse_step_is_named_in_the_legend_alone(drawn, tmp_path):
    lost = drawn(4, FREE | LABELLED | {collapse.NO_ANSWER: 0.5, collapse.VOTES: 0.0})
    assert not any("Collapse" in text for text in labels(lost)), "the base is below the threshold"
    rows = [
        {"step": s, **FREE, **LABELLED, collapse.NO_ANSWER: 0.5, collapse.VOTES: 0.9 * (s < 3)}
        for s in (1, 2, 3)
    ]
    (tmp_path / "mine" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    figure.rise_and_fall(tmp_path / "mine")
    from matplotlib import pyplot

    assert "Model Collapse Step 3" in labels(pyplot.gcf())
    assert not any(axis.texts for axis in pyplot.gcf().axes)
