"""What a run's folder says to those who follow it, while the run goes on writing."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib

from urlvr_jax.runtime.lines import write_whole

FIGURES = ("rise_and_fall", "questions")


class Tail:
    """Whole JSON lines of a file that grows; the file that was there when it was first looked for."""

    def __init__(self, file: pathlib.Path):
        self.file = file
        self.opened = None
        self.rest = b""

    def new(self) -> list[dict]:
        """The lines since the last call. A line that is no object is left out: a full disk has torn it."""
        if self.opened is None:
            if not self.file.is_file():
                return []
            # Kept open: a resumed run puts another file in its place, which is for another follower.
            self.opened = open(self.file, "rb")  # noqa: SIM115
        *whole, self.rest = (self.rest + self.opened.read()).split(b"\n")
        return [line for text in whole if isinstance(line := _parsed(text), dict)]

    def close(self) -> None:
        if self.opened:
            self.opened.close()


def _parsed(text: bytes):
    try:
        return json.loads(text)
    except ValueError:
        return None


@dataclasses.dataclass
class State:
    """How far a sink has told a run, kept in the sink's folder: after a kill it goes on from there."""

    id: str  # of the run, for the library; made once
    step: int = -1  # the highest step told
    warnings: list[str] = dataclasses.field(default_factory=list)  # kinds
    figures: dict[str, str] = dataclasses.field(default_factory=dict)  # name -> hash of what was told

    @classmethod
    def read(cls, file: pathlib.Path, new_id: str) -> State:
        return cls(**json.loads(file.read_text())) if file.is_file() else cls(new_id)

    def write(self, file: pathlib.Path) -> None:
        write_whole(file, json.dumps(dataclasses.asdict(self)))


def split(line: dict) -> tuple[int, dict[str, float], dict[str, str]]:
    """Of a metric line: step, numbers, texts."""
    rest = {k: v for k, v in line.items() if k != "step"}
    numbers = {k: float(v) for k, v in rest.items() if isinstance(v, int | float)}
    return line["step"], numbers, {k: str(v) for k, v in rest.items() if k not in numbers}


def completions(folder: pathlib.Path, step: int) -> dict[str, list] | None:
    """Columns of a step's table of completions; None where it has none."""
    file = folder / "completions" / f"completions_{step:05d}.parquet"
    if not file.is_file():
        return None
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(file).to_pydict()
    table.pop("step", None)
    return table


def rows(table: dict[str, list], most: int | None = None) -> list[list]:
    """Rows of a table given by columns."""
    return [list(row) for row in zip(*table.values(), strict=True)][:most]


def figures(folder: pathlib.Path) -> dict[str, tuple[pathlib.Path, str]]:
    """{name: (file, hash)} of the figures that are drawn."""
    files = {name: folder / f"{name}.png" for name in FIGURES}
    return {
        name: (file, hashlib.sha256(file.read_bytes()).hexdigest())
        for name, file in files.items()
        if file.is_file()
    }
