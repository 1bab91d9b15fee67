"""JSON that others wrote: numbers are finite, brackets few, files small; anything else is one error with the file."""

import json

import pyarrow
import pyarrow.parquet
import pytest

from urlvr_jax.data.files import read_rows
from urlvr_jax.errors import DataError, FolderError
from urlvr_jax.untrusted import json_text

DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    "text",
    ["NaN", "[Infinity]", '{"a": -Infinity}', "1e400", "-1e999", "1" * 5000, DEEP, "", "{", b"\xff", '"\\ud8"'],
)  # fmt: skip
def test_what_is_no_json_is_the_callers_error(text):
    with pytest.raises(FolderError, match="^config.json: not JSON"):
        json_text.parse(text, "config.json", FolderError)


def test_numbers_within_range_are_as_python_reads_them():
    text = '{"a": [1e308, -0.0, 1e-400, 12345678901234567890, true, null], "b": "NaN"}'
    assert json_text.parse(text, "", DataError) == json.loads(text)


def test_a_file_that_is_no_object_or_too_large_is_named(tmp_path, monkeypatch):
    file = tmp_path / "config.json"
    file.write_text("[1]")
    with pytest.raises(FolderError, match=r"config\.json: needs a JSON object"):
        json_text.read(file, FolderError)
    monkeypatch.setattr(json_text, "MOST_BYTES", 2)
    with pytest.raises(FolderError, match="3 bytes"):
        json_text.read(file, FolderError)
    with pytest.raises(FolderError, match="nothing.json cannot be read"):
        json_text.read(tmp_path / "nothing.json", FolderError)


@pytest.mark.parametrize(
    "row",
    [
        '{"prompt": "Q", "answer": NaN}',
        '{"prompt": "Q", "answer": 1e400}',
        '{"prompt": "Q", "answer": ' + "9" * 5000 + "}",
        '{"prompt": "Q", "id": ' + DEEP + "}",
        '{"nums": [], "target": 3}',
        '{"nums": ["1", 2], "target": 3}',
        '{"nums": [1, 2], "target": null}',
        '{"nums": 5, "target": 3}',
    ],
)
def test_a_question_file_with_such_a_row_is_an_error_naming_the_row(tmp_path, row):
    file = tmp_path / "questions.jsonl"
    file.write_text('{"prompt": "P"}\n' + row + "\n" if "prompt" in row else row + "\n")
    with pytest.raises(DataError, match=r"questions\.jsonl, line \d"):
        read_rows(str(file))


def table(path, **columns):
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return str(path)


def test_odd_columns_of_a_parquet_file_are_errors_or_passed_over(tmp_path):
    twice = pyarrow.table([["Q"], ["R"]], names=["prompt", "prompt"])
    pyarrow.parquet.write_table(twice, tmp_path / "twice.parquet")
    with pytest.raises(DataError, match="more than one column is called 'prompt'"):
        read_rows(str(tmp_path / "twice.parquet"))
    dotted = table(tmp_path / "dotted.parquet", **{"prompt": ["Q"], "extra_info.index": [3], "a..b": [1]})
    assert [row["id"] for row in read_rows(dotted)] == ["0"], "a name with a dot is no path"
    nan = table(tmp_path / "nan.parquet", prompt=["P", "Q"], answer=[1.0, float("nan")])
    with pytest.raises(DataError, match="row 2"):
        read_rows(nan)
    empty = table(tmp_path / "nums.parquet", nums=[[1, 2], []], target=[3, 4])
    with pytest.raises(DataError, match="row 2: `nums`"):
        read_rows(empty)
