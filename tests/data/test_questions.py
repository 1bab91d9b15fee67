"""Question files of every shape and format; duplicates, subsets; what is broken is named by file and row."""

import json
import os
import pathlib
import re

import datasets
import jax
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from urlvr_jax import config, errors
from urlvr_jax.data import files, stream
from urlvr_jax.data.prompt_formats import PromptFormat
from urlvr_jax.data.tokenizer import Tokenizer
from urlvr_jax.lab import build
from urlvr_jax.measure import figure
from urlvr_jax.measure import summary as summary_lib
from urlvr_jax.measure.record import RunRecord
from urlvr_jax.runtime import opening

UNTRAINED = pathlib.Path(build.__file__).parent / "bases" / "untrained"
PLAIN = PromptFormat(Tokenizer(UNTRAINED))
ASKED = [("Q1+2?", "3"), ("Q2+2?", "4"), ("Q9-4?", "5")]


def user(text):
    return [{"role": "user", "content": text}]


# shape -> (a row of it, what data.columns has to say)
SHAPES = {
    "verl": lambda q, a, i: {
        "data_source": "math", "prompt": user(q), "ability": "MATH",
        "reward_model": {"style": "rule", "ground_truth": a}, "extra_info": {"split": "train", "index": i + 7},
    },
    "prompt/answer": lambda q, a, i: {"prompt": q, "answer": int(a), "level": 3},
    "trl": lambda q, a, i: {"prompt": user(q), "solution": f"So it is $\\boxed{{{a}}}$, which is right."},
    "gsm8k": lambda q, a, i: {"question": q, "answer": f"We have 1+1=2.\n#### {a}"},
    "math": lambda q, a, i: {"problem": q, "solution": f"Thus \\fbox{{{a}}}", "level": "Level 5"},
    "prompts alone": lambda q, a, i: {"prompt": q, "topic": "sums"},
    "data.columns": lambda q, a, i: {"text": {"asked": q}, "final": float(a), "answer": "no"},
}  # fmt: skip
NAMED = {"prompt": "text.asked", "answer": "final"}


def write(folder, form, rows, name="questions"):
    """The rows as a file of this format, or as a folder that `save_to_disk` makes; its path."""
    path = folder / (name if form == "saved" else f"{name}.{form.removesuffix(' array')}")
    if form == "saved":
        datasets.Dataset.from_list(rows).save_to_disk(path)
    elif form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
    elif form == "json array":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


@pytest.mark.parametrize("form", ["jsonl", "parquet", "json array", "saved"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_in_every_format_gives_the_same_questions(tmp_path, shape, form):
    rows = [SHAPES[shape](q, a, i) for i, (q, a) in enumerate([*ASKED, ASKED[0]])]
    path = write(tmp_path, form, rows)
    found, labels = stream.load(str(path), PLAIN, (16,), named=NAMED if shape == "data.columns" else {})
    assert found.questions == found.texts == tuple(q for q, _ in ASKED)
    assert found.origin.shape == shape
    assert (found.origin.rows, found.origin.duplicates, found.origin.conflicts) == (4, 1, 0)
    first = 7 if shape == "verl" else 0
    assert found.ids == tuple(str(i + first) for i in range(3))
    if shape == "prompts alone":
        assert labels.gold == {}
    else:
        assert [float(labels.gold[i]) for i in found.ids] == [3, 4, 5]
        assert shape == "data.columns" or list(labels.gold.values()) == ["3", "4", "5"]


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_countdown_files_become_questions_as_tinyzero_asks_them(tmp_path, form):
    path = write(
        tmp_path, form, [{"target": 98, "nums": [44, 19, 35]}, {"target": 64, "nums": [63, 95, 96, 2]}]
    )
    found = files.read(str(path), {})
    assert list(found.shapes) == ["countdown"] and "answer" not in found.rows[0]
    assert found.rows[0]["prompt"] == (
        "Using the numbers [44, 19, 35], create an equation that equals 98. You can use basic arithmetic operations "
        "(+, -, *, /) and each number can only be used once. Show your work in <think> </think> tags. And return the "
        "final answer in <answer> </answer> tags, for example <answer> (1 + 2) / 3 </answer>."
    )


@pytest.mark.parametrize("form", ["jsonl", "parquet", "saved"])
def test_messages_are_kept_and_told_apart_by_all_of_them(tmp_path, form):
    system = [{"role": "system", "content": "Be brief."}]
    rows = [
        {"prompt": user("a")},
        {"prompt": system + user("a")},
        {"prompt": user("a")},
        {"prompt": system + user("b")},
    ]
    found = files.read(str(write(tmp_path, form, rows)), {})
    assert [(len(r["before"]), r["prompt"]) for r in found.rows] == [(0, "a"), (1, "a"), (1, "b")]
    assert found.rows[1]["before"] == tuple(system) and found.duplicates == 1


# ---- duplicates and subsets -------------------------------------------------------------------


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_the_first_of_duplicates_is_kept_and_other_answers_are_counted(tmp_path, form):
    asked = [("Q1+2?", "3"), ("Q2+2?", "4"), ("Q1+2?", "9"), ("Q1+2?", "3"), ("Q1+2?", "8"), ("Q2+2?", "4")]
    path = write(tmp_path, form, [{"prompt": q, "answer": a} for q, a in asked])
    found, labels = stream.load(str(path), PLAIN, (16,))
    assert found.texts == ("Q1+2?", "Q2+2?") and labels.gold == {"0": "3", "1": "4"}
    assert (found.origin.duplicates, found.origin.conflicts) == (4, 1)
    every, labels = stream.load(str(path), PLAIN, (16,), deduplicate=False)
    assert every.texts == tuple(q for q, _ in asked) and every.origin.duplicates == 0
    assert [labels.gold[i] for i in every.ids] == [a for _, a in asked]


def test_duplicates_are_found_across_batches_and_files(tmp_path, monkeypatch):
    monkeypatch.setattr("urlvr_jax.data.arrow.BATCH_ROWS", 2)
    for part in range(2):
        rows = [SHAPES["verl"](q, a, i) for i, (q, a) in enumerate(ASKED * 3)]
        write(tmp_path, "parquet", rows, f"train-{part}")
    found = files.read(str(tmp_path), {})
    assert [r["prompt"] for r in found.rows] == [q for q, _ in ASKED]
    assert found.count == 18 and found.duplicates == 15
    assert [r["where"].rpartition("/")[2] for r in found.rows] == [
        f"train-0.parquet, row {n}" for n in (1, 2, 3)
    ]


def test_an_index_that_comes_again_in_another_source_is_no_id(tmp_path):
    rows = [SHAPES["verl"](q, a, i % 2) for i, (q, a) in enumerate(ASKED)]
    for form in ("jsonl", "parquet"):
        found = files.read(str(write(tmp_path, form, rows)), {})
        assert [r["id"] for r in found.rows] == ["0", "1", "2"]


def test_a_subset_is_the_first_or_drawn_by_its_seed_in_the_order_of_the_file(tmp_path):
    path = str(write(tmp_path, "jsonl", [{"prompt": f"Q{i}+1?"} for i in range(50)]))
    drawn = lambda seed: stream.load(path, PLAIN, (16,), subset=8, subset_seed=seed)[0].ids
    assert drawn(-1) == tuple(map(str, range(8)))
    assert drawn(0) == drawn(0) != drawn(1) != drawn(-1)
    for seed in (0, 1):
        assert len(set(drawn(seed))) == 8 and list(drawn(seed)) == sorted(drawn(seed), key=int)
    assert len(stream.load(path, PLAIN, (16,), subset=100, subset_seed=0)[0]) == 50


# ---- what is broken ---------------------------------------------------------------------------


GOOD = {"prompt": "Q1+2?", "answer": "3"}
TEXT, LIST = pa.string(), pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


def table(prompts, answers, kind=TEXT, answer_kind=TEXT):
    return pa.table({"prompt": pa.array(prompts, kind), "answer": pa.array(answers, answer_kind)})


def not_utf8(good, bad):
    """A text column whose last value is these bytes."""
    return pa.array([good, bad], pa.binary()).view(pa.string())


@pytest.mark.parametrize(
    "content, words",
    [
        (table(["a", "b", None], ["1"] * 3), "row 3: `prompt` is null"),
        (table(["a", "b", ""], ["1"] * 3), "row 3: needs a non-empty string `prompt`"),
        (table([user("a"), None], ["1"] * 2, LIST), "row 2: `prompt` is null"),
        (table([user("a"), user(None)], ["1"] * 2, LIST), "row 2: `prompt` is null, or has a part that is"),
        (table([user("a"), user("")], ["1"] * 2, LIST), "row 2: needs a non-empty string `content` in `prompt`"),
        (table([user("a"), []], ["1"] * 2, LIST), "row 2: the last message of `prompt` must be the user's"),
        (table([user("a"), [{"role": "assistant", "content": "b"}]], ["1"] * 2, LIST), "row 2: the last message"),
        (table([1, 2], ["1"] * 2, pa.int64()), "column `prompt` is int64, neither text nor messages"),
        (table(["a", "b"], [["1"]] * 2, TEXT, pa.list_(TEXT)), "column `answer` is list<.*string or a number"),
        (pa.table({"prompt": not_utf8("a", b"Q\xed\xa0\x80"), "answer": ["1", "2"]}), "row 2: .*not in UTF-8"),
        (pa.table({"prompt": ["a", "b"], "answer": not_utf8("1", b"\xff")}), "row 2: .*not in UTF-8"),
        (pa.table({"prompt": ["a", "b"], "id": ["x", "x"]}), "row 2: id 'x' occurs before, in row 1"),
        (pa.table({"text": ["a"], "gold": ["b"]}), r"has \['gold', 'text'\].*data.columns = 'prompt=question"),
        (table([], []), "no questions"),
    ],
    ids=str,
)  # fmt: skip
def test_a_broken_row_of_a_table_is_an_error_naming_file_and_row(tmp_path, content, words):
    path = tmp_path / "questions.parquet"
    pq.write_table(content, path)
    with pytest.raises(errors.DataError, match=f"{re.escape(str(path))}.*{words}"):
        stream.load(str(path), PLAIN, (16,))


@pytest.mark.parametrize(
    "bad, words",
    [
        ({"prompt": []}, "line 2: the last message"),
        ({"prompt": ["Q1+2?"]}, "line 2: every message"),
        ({"prompt": user("\ud800")}, "line 2: `content` in `prompt` has half of a surrogate pair"),
        ({"question": "Q1+2?", "answer": "3"}, "line 2: no `prompt`, where the rows before"),
        ({"prompt": "Q1", "reward_model": {"ground_truth": None}}, "line 2: `answer` must be a string"),
    ],
    ids=str,
)
def test_a_broken_line_is_named_too_where_shapes_are_richer(tmp_path, bad, words):
    with pytest.raises(errors.DataError, match=words):
        files.read(str(write(tmp_path, "jsonl", [GOOD, bad])), {})


def test_a_file_that_is_no_parquet_or_is_cut_is_an_error_at_start(tmp_path):
    path = write(tmp_path, "parquet", [GOOD] * 100)
    whole = path.read_bytes()
    for broken in (b"", b"PAR1", whole[: len(whole) // 2], whole[:20] + b"\xff" * 100 + whole[120:]):
        path.write_bytes(broken)
        with pytest.raises(errors.DataError, match=f"{path}: not a readable parquet file"):
            files.read(str(path), {})


def test_a_missing_answer_is_named_where_one_is_needed(tmp_path):
    for form, place in (("jsonl", "line 2"), ("parquet", "row 2")):
        rows = (
            [GOOD, {"prompt": "Q2+2?"}] if form == "jsonl" else [GOOD, {"prompt": "Q2+2?", "answer": None}]
        )
        path = write(tmp_path, form, rows)
        assert len(stream.load(str(path), PLAIN, (16,))[1].gold) == 1
        with pytest.raises(errors.DataError, match=f"{path}, {place}: an evaluation needs `answer`"):
            stream.load(str(path), PLAIN, (16,), labelled=True)


def test_columns_that_are_not_there_are_an_error_for_training_and_by_shape_for_evaluation(tmp_path):
    path = str(write(tmp_path, "jsonl", [GOOD]))
    with pytest.raises(
        errors.DataError, match=r"no column 'text.asked', which data.columns names.*\['answer', 'prompt'\]"
    ):
        files.read(path, {"prompt": "text.asked"})
    assert files.read(path, {"prompt": "text.asked"}, strict=False).rows[0]["prompt"] == "Q1+2?"


# ---- folders, patterns, the Hub ---------------------------------------------------------------


def test_folders_and_patterns_are_read_in_order_and_never_mix_splits(tmp_path):
    for i, (q, a) in enumerate(ASKED):
        write(tmp_path, "jsonl", [{"prompt": q, "answer": a}], f"part-{i}")
    found = files.read(str(tmp_path), {})
    assert [(r["id"], r["prompt"]) for r in found.rows] == [(str(i), q) for i, (q, _) in enumerate(ASKED)]
    assert len(files.read(str(tmp_path / "part-[12]*"), {}).rows) == 2
    with pytest.raises(errors.DataError, match="no question files"):
        files.read(str(tmp_path / "nothing*"), {})
    write(tmp_path, "parquet", [GOOD], "train-0")
    with pytest.raises(errors.DataError, match="parquet and JSON files together"):
        files.read(str(tmp_path), {})
    for file in tmp_path.glob("part-*"):
        file.unlink()
    write(tmp_path, "parquet", [GOOD], "test-0")
    with pytest.raises(errors.DataError, match=r"several splits, \['test', 'train'\].*test\*.parquet"):
        files.read(str(tmp_path), {})
    assert len(files.read(str(tmp_path / "train*.parquet"), {}).rows) == 1


def test_a_saved_dataset_with_splits_asks_for_one(tmp_path):
    part = datasets.Dataset.from_list([GOOD])
    datasets.DatasetDict(train=part, test=part).save_to_disk(tmp_path / "saved")
    with pytest.raises(errors.DataError, match=r"2 splits: give one, '.*saved/train'"):
        files.read(str(tmp_path / "saved"), {})
    assert len(files.read(str(tmp_path / "saved" / "test"), {}).rows) == 1
    (tmp_path / "saved" / "test" / "state.json").write_text("{}")
    with pytest.raises(errors.DataError, match="not a dataset that was saved whole"):
        files.read(str(tmp_path / "saved" / "test"), {})


def test_a_dataset_of_the_hub_says_what_to_do_without_a_network():
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    with pytest.raises(
        errors.DataError, match="hf:openai/gsm8k:main:train: cannot be loaded.*give a file or folder"
    ):
        files.read("hf:openai/gsm8k:main:train", {})
    for name in ("hf:", "hf:a/b:c:d:e", "hf:a/b::d"):
        with pytest.raises(errors.DataError, match="write hf:NAME"):
            files.read(name, {})
    with pytest.raises(errors.DataError, match="'openai/gsm8k' does not exist.*'hf:openai/gsm8k:train'"):
        files.read("openai/gsm8k", {})


def test_a_dataset_of_the_hub_is_read_as_a_table(monkeypatch):
    rows = [SHAPES["gsm8k"](q, a, i) for i, (q, a) in enumerate([*ASKED, ASKED[1]])]
    asked = []

    def load_dataset(name, config, split):
        asked.append((name, config, split))
        made = datasets.Dataset.from_list(rows).select([3, 0, 1, 2])
        return made if split else datasets.DatasetDict(train=made, test=made)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    found, labels = stream.load("hf:openai/gsm8k:main:train", PLAIN, (16,))
    assert found.texts == ("Q2+2?", "Q1+2?", "Q9-4?") and list(labels.gold.values()) == ["4", "3", "5"]
    with pytest.raises(errors.DataError, match=r"several splits.*'hf:a/b:SPLIT', of \['test', 'train'\]"):
        files.read("hf:a/b", {})
    assert asked == [("openai/gsm8k", "main", "train"), ("a/b", None, None)]


# ---- a run's files ----------------------------------------------------------------------------


def test_evaluation_files_of_several_shapes_are_open_at_once_and_test_time_training_is_seen(tmp_path):
    for name in ("amc", "aime"):
        (tmp_path / name).mkdir()
    paths = (
        write(
            tmp_path / "amc", "parquet", [SHAPES["verl"](q, a, i) for i, (q, a) in enumerate(ASKED)], "test"
        ),
        write(
            tmp_path / "aime",
            "jsonl",
            [SHAPES["gsm8k"]("Q7+7?", "14", 0), SHAPES["gsm8k"](*ASKED[0], 1)],
            "test",
        ),
        write(tmp_path, "saved", [SHAPES["trl"]("Q8+8?", "16", 0)], "other"),
    )
    train = write(tmp_path, "jsonl", [{"prompt": q} for q, _ in ASKED], "train")
    c = config.default()
    c.model.path, c.data.train, c.eval.sets = "lab:untrained", str(train), tuple(map(str, paths))
    c.model.init = "random"
    c.mesh.data = jax.device_count()
    run = opening.open_run(c)
    assert [name for name, _, _ in run.eval_sets] == ["amc_test", "aime_test", "other"]
    assert [held.origin.shape for _, held, _ in run.eval_sets] == ["verl", "gsm8k", "trl"]
    assert run.facts["test_time_training"] == {"amc_test": [3, 3], "aime_test": [1, 2]}
    assert run.facts["questions_shape"] == "prompts alone" and run.facts["questions_duplicates"] == 0
    c.eval.sets = (str(paths[0]), str(paths[0]))
    with pytest.raises(errors.DataError, match="two files have the same name"):
        opening.open_run(c)


@pytest.mark.parametrize(
    "trained, kind",
    [({}, "held out"), ({"amc": [4, 4]}, "test-time training"), ({"amc": [1, 4]}, "partly trained on")],
)
def test_test_time_training_is_labelled_in_summary_and_figure(tmp_path, trained, kind):
    from matplotlib import pyplot

    name, lines = "eval/amc/avg@2", []
    for step in (0, 10):
        lines.append({"step": step, name: 0.5, f"{name}/low": 0.4, f"{name}/high": 0.6, "reward/mean": 1.0})
    evals = [{"step": s, "set": "amc", "k": 2, "correct": [1, 2, s // 10, 0]} for s in (0, 10)]
    for file, rows in (("metrics", lines), ("evals", evals)):
        (tmp_path / f"{file}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    record = {"attempts": [{"started": "then"}, {"test_time_training": trained}]}
    (tmp_path / "record.json").write_text(json.dumps(record))
    axis = pyplot.figure().subplots()
    (tmp_path / "config.json").write_text('{"rollout.temperature": 1.0}')
    figure._draw_accuracy(axis, RunRecord(tmp_path))
    assert {kind, f"base, {kind}"} == {h.get_label() for h in axis.lines}
    pyplot.close("all")
    summary = summary_lib.summary(tmp_path)
    assert ("held-out accuracy   base" in summary) != bool(trained)
    if trained:
        assert f"test-time training: {trained['amc'][0]} of 4 questions of amc are trained on" in summary
        assert f"accuracy, {kind}   base" in summary
    assert summary_lib.eval_text(lines[0], trained) == f"step 0: {kind}  amc/avg@2 0.500"
