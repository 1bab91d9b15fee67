"""Question files that are tables: parquet, and datasets of the Hub or of `save_to_disk`, batch by batch.

Only the columns in use are read, and a question that comes again is never made a Python object: published
DAPO-17k has 1.8 million rows and 17 thousand questions.
"""

from __future__ import annotations

import pathlib

import numpy as np

from urlvr_jax.checks import countdown
from urlvr_jax.data import shapes
from urlvr_jax.data.distinct import Distinct
from urlvr_jax.errors import DataError

BATCH_ROWS = 1 << 16
_BETWEEN = "\x1e", "\x1f"  # role and content, and messages, of a key


# ---- batches ----------------------------------------------------------------------------------


def parquet(path: pathlib.Path, named: dict, strict: bool, every: bool = False):
    """(columns, iterator of record batches) of a parquet file; DataError if it is none. every: of all its columns."""
    import pyarrow
    import pyarrow.parquet

    def unreadable(error):
        return DataError(f"{path}: not a readable parquet file ({error!s:.200})")

    try:
        file = pyarrow.parquet.ParquetFile(path, buffer_size=1 << 20)
        found = shapes.find(paths(file.schema_arrow), named, str(path), strict)
        _once(found, file.schema_arrow, str(path))
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise unreadable(error) from None

    def batches():
        try:
            wanted = None if every else _read(found)
            yield from file.iter_batches(BATCH_ROWS, columns=wanted, use_threads=False)
        except (pyarrow.ArrowException, OSError) as error:
            raise unreadable(error) from None

    return found, batches()


def _once(found: shapes.Columns, schema, where: str) -> None:
    for name in _read(found):
        if schema.names.count(name.split(".")[0]) > 1:
            raise DataError(f"{where}: more than one column is called {name!r}")


def dataset(data, where: str, named: dict, strict: bool, every: bool = False):
    """(columns, iterator of record batches) of a `datasets.Dataset`. every: of all its columns."""
    found = shapes.find(paths(data.features.arrow_schema), named, where, strict)
    if not every:
        data = data.select_columns(sorted({name.split(".")[0] for name in _read(found)}))
    data = data.with_format("arrow")

    def batches():
        for table in data.iter(BATCH_ROWS):
            yield from table.combine_chunks().to_batches()

    return found, batches()


def _read(found: shapes.Columns) -> list[str]:
    return found.used + ["target"] * (found.shape == shapes.COUNTDOWN)


def paths(schema, before: str = "") -> list[str]:
    """Names of a schema's columns, those of records within it with dots."""
    import pyarrow

    out = []
    for field in schema:
        if "." in field.name:
            continue  # a name of this package's has dots between records alone
        out.append(before + field.name)
        if pyarrow.types.is_struct(field.type):
            out += paths(field.type, f"{before}{field.name}.")
    return out


# ---- rows -------------------------------------------------------------------------------------


def gather(into: Distinct, where: str, found: shapes.Columns, batches) -> None:
    """Add the questions of record batches; DataError names `where` and the row, counted from 1."""
    into.shapes[found.shape] = None
    into.soft_ids |= found.id == shapes.INDEX
    start = 0
    for batch in batches:
        _Batch(where, start, into.lines, found, batch).add_to(into)
        start += batch.num_rows
        into.lines += batch.num_rows


class _Batch:
    """Some rows of a table. Keys are equal where questions are."""

    def __init__(self, where: str, start: int, number: int, found: shapes.Columns, batch):
        self.file = where
        self.start = start
        self.number = number
        self.columns = found
        self.batch = batch
        self.prompts = self.column(found.prompt)
        names = ((field, getattr(found, field)) for field in ("id", "rephrased"))
        self.others = {field: self.column(name) for field, name in names if name}

    def where(self, i: int) -> str:
        return f"{self.file}, row {self.start + i + 1}"

    def column(self, name: str):
        """A column by its name with dots."""
        import pyarrow.compute as pc

        top, *rest = name.split(".")
        column = self.batch.column(top)
        return pc.struct_field(column, rest) if rest else column

    def add_to(self, into: Distinct) -> None:
        codes, keys = self._coded(self._keys(), "prompt")
        answer_codes, answers = self._answers()
        pairs = codes * (len(answers) + 1) + answer_codes + 1
        if into.deduplicate:
            _, firsts, counts = np.unique(pairs, return_index=True, return_counts=True)
            order = np.argsort(firsts)
            chosen = zip(firsts[order].tolist(), counts[order].tolist(), strict=True)
        else:
            chosen = ((i, 1) for i in range(len(pairs)))
        golds: dict[int, str | None] = {-1: None}  # by code
        codes, answer_codes = codes.tolist(), answer_codes.tolist()
        for i, times in chosen:
            key = keys[codes[i]]
            code = answer_codes[i]
            if code not in golds:
                golds[code] = shapes.gold(answers[code], self.where(i))
            into.add(key, golds[code], lambda i=i, key=key: self._row(i, key, into.columns), times)

    def _row(self, i: int, key: str, whole: bool) -> dict:
        where = self.where(i)
        found = self.columns
        value = key if found.shape == shapes.COUNTDOWN else self._value(self.prompts, i)
        before, prompt = shapes.question(value, where)
        row = {"prompt": prompt, "before": before, "where": where, "number": self.number + i}
        for field, column in self.others.items():
            if (value := self._value(column, i)) is not None:
                row[field] = value
        return row | {"row": self._columns(i)} if whole else row

    def _columns(self, i: int) -> dict:
        try:
            return self.batch.slice(i, 1).to_pylist()[0]
        except UnicodeDecodeError as error:
            raise DataError(f"{self.where(i)}: not in UTF-8 ({error})") from None

    def _value(self, column, i: int):
        try:
            return column[i].as_py()
        except UnicodeDecodeError as error:
            raise DataError(f"{self.where(i)}: not in UTF-8 ({error})") from None

    def _keys(self):
        """A string for each question: `[rows]`; DataError for a null, or for what is no question."""
        import pyarrow
        import pyarrow.compute as pc

        name = self.columns.prompt
        column = self.prompts
        if self.columns.shape == shapes.COUNTDOWN:
            self._no_nulls(column, name)
            target = self.column("target")
            self._no_nulls(target, "target")
            column = self._countdown(column, target)
        elif _is_messages(column.type):
            self._no_nulls(column, name)
            large = pyarrow.large_string()
            (field, between) = _BETWEEN
            message = column.flatten()
            offsets = column.offsets
            parts = [pc.struct_field(message, part).cast(large) for part in ("role", "content")]
            texts = pc.binary_join_element_wise(*parts, pyarrow.scalar(field, large))
            offsets = pc.subtract(offsets, offsets[0])
            column = pc.binary_join(
                type(column).from_arrays(offsets, texts), pyarrow.scalar(between, large)
            )
        elif _is_text(column.type):
            column = column if pyarrow.types.is_dictionary(column.type) else column.cast("large_string")
        else:
            raise DataError(f"{self.file}: column `{name}` is {column.type}, neither text nor messages")
        self._no_nulls(column, name)
        return column

    def _countdown(self, numbers, target):
        import pyarrow
        import pyarrow.compute as pc

        lengths = pc.list_value_length(numbers)
        if (empty := pc.equal(lengths, 0).to_numpy(zero_copy_only=False)).any():
            raise DataError(f"{self.where(int(np.argmax(empty)))}: `nums` has no numbers in it")
        try:
            joined = pc.binary_join(numbers.cast(pyarrow.list_(pyarrow.string())), ", ")
            start, middle, end = countdown.SENTENCE
            return pc.binary_join_element_wise(
                start, joined, middle, target.cast(pyarrow.string()), end, ""
            )
        except pyarrow.ArrowException as error:
            raise DataError(f"{self.file}: `nums` and `target` are no numbers ({error!s:.200})") from None

    def _answers(self) -> tuple[np.ndarray, list]:
        """Codes int64 `[rows]`, -1 where there is no answer, and the answers they stand for."""
        import pyarrow

        none = np.full(self.batch.num_rows, -1, np.int64), []
        if not self.columns.answer:
            return none
        column = self.column(self.columns.answer)
        kind, types = column.type, pyarrow.types
        if types.is_null(kind) or types.is_struct(kind):  # a record is no gold answer: see columns.gold
            return none
        if not (_is_text(kind) or types.is_integer(kind) or types.is_floating(kind)):
            raise DataError(
                f"{self.file}: column `{self.columns.answer}` is {kind}: `answer` must be a string or a number"
            )
        return self._coded(column, self.columns.answer)

    def _coded(self, column, name: str) -> tuple[np.ndarray, list]:
        """Codes int64 `[rows]`, -1 for a null, and the values they stand for."""
        import pyarrow

        if not pyarrow.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        try:
            return codes, column.dictionary.to_pylist()
        except UnicodeDecodeError:
            for code, value in enumerate(column.dictionary):
                try:
                    value.as_py()
                except UnicodeDecodeError as error:
                    at = self.where(int(np.argmax(codes == code)))
                    raise DataError(f"{at}: `{name}` is not in UTF-8 ({error})") from None
            raise

    def _no_nulls(self, column, name: str) -> None:
        if column.null_count:
            i = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
            raise DataError(f"{self.where(i)}: `{name}` is null, or has a part that is")


def _is_text(kind) -> bool:
    import pyarrow.types as types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _is_messages(kind) -> bool:
    import pyarrow.types as types

    if not (types.is_list(kind) or types.is_large_list(kind)) or not types.is_struct(kind.value_type):
        return False
    fields = {f.name: f.type for f in kind.value_type}
    return all(name in fields and _is_text(fields[name]) for name in ("role", "content"))
