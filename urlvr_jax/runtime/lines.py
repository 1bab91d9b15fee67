"""JSON lines on disk, for whoever writes a run and whoever reads it; no JAX."""

from __future__ import annotations

import json
import math
import os
import pathlib

from urlvr_jax.errors import DataError


class Lines:
    """JSON lines with a `step`, appended; durable before a checkpoint commits.

    writes: false on every process but the writer's; then nothing is opened and nothing happens. No file
    stays open between two lines.
    """

    def __init__(self, file: pathlib.Path, writes: bool = True):
        self.file = file
        self.writes = writes
        self.last: int | None = None  # step of the last line that this has written or kept
        if writes:
            file.touch()

    def write(self, line: dict) -> None:
        """A number that is not finite is left out: NaN is not JSON (skipped updates are counted)."""
        finite = {k: v for k, v in line.items() if not isinstance(v, float) or math.isfinite(v)}
        text = json.dumps(finite, allow_nan=False) + "\n"
        self.last = line["step"]
        if self.writes:
            with open(self.file, "a", encoding="utf-8") as out:
                out.write(text)

    def sync(self) -> None:
        if self.writes:
            with open(self.file, "a", encoding="utf-8") as out:
                os.fsync(out.fileno())

    def truncate_after(self, step: int) -> None:
        """Keep whole lines up to `step`; a torn last line of a killed run goes too."""
        if self.writes:
            lines = read_lines(self.file)
            if not all(isinstance(line.get("step"), int) for line in lines):
                raise DataError(f"{self.file} has a line without a `step`; remove it")
            kept = [line for line in lines if line["step"] <= step]
            write_whole(self.file, "".join(json.dumps(line) + "\n" for line in kept))
            self.last = kept[-1]["step"] if kept else None


def read_lines(file: pathlib.Path) -> list[dict]:
    """Whole JSON lines of a file; a torn last line (a killed writer) is left out.

    DataError names the line that is no object: somebody else wrote it.
    """
    lines = pathlib.Path(file).read_bytes().split(b"\n")
    return [_object(line, f"{file}, line {n}") for n, line in enumerate(lines[:-1], start=1) if line]


def _object(line: bytes, where: str) -> dict:
    try:
        value = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise DataError(f"{where}: no JSON object; remove the line")
    return value


def write_whole(file: pathlib.Path, text: str) -> None:
    """Write beside, then rename: a reader sees the old file or the new one."""
    beside = file.with_suffix(file.suffix + ".tmp")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, file)
