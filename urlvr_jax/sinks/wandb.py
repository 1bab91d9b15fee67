"""Weights & Biases: one run of one id, whatever number of starts; its files in FOLDER/sinks/wandb.

The user's environment decides where it goes: WANDB_MODE, WANDB_PROJECT, WANDB_ENTITY, WANDB_API_KEY and the like.
"""

from __future__ import annotations

import os
import pathlib
import struct
from collections.abc import Iterator

import wandb
from wandb.proto.wandb_internal_pb2 import Record

from urlvr_jax.sinks import folder as folder_lib

BLOCK = 2**15  # bytes of a block of W&B's file


class Sink:
    """See `follow.Sink`."""

    def open(self, place) -> None:
        self.own = place.own
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "urlvr_jax"),
            name=os.environ.get("WANDB_NAME", place.name),
            id=place.id, resume="allow", dir=str(place.own.parent), config=place.config,
            settings=wandb.Settings(console="off"),
        )  # fmt: skip
        self.at_start = self.run.starting_step - 1 if self.run.resumed else None

    def kept(self) -> int | None:
        """Online what the server had at the start; offline what the files have: W&B writes them every 15 s."""
        if not self.run.offline:
            return self.at_start
        return max((step for file in self.own.glob("*run-*/*.wandb") for step in steps(file)), default=-1)

    def step(self, step: int, numbers: dict, texts: dict, table: dict | None) -> None:
        if table:
            texts = texts | {
                "completions": wandb.Table(list(table), folder_lib.rows(table), allow_mixed_types=True)
            }
        self.run.log(numbers | texts, step=step)

    def warning(self, step: int, text: str) -> None:
        self.run.alert(title="warning", text=text, level=wandb.AlertLevel.WARN, wait_duration=0)

    def figure(self, step: int, name: str, file: pathlib.Path) -> None:
        self.run.log({f"figures/{name}": wandb.Image(str(file))}, step=step)

    def close(self, status: int) -> None:
        self.run.finish(exit_code=status)
        wandb.teardown(exit_code=status)  # until its process has written the last block of its file
        self.at_start = None


def steps(file: pathlib.Path) -> Iterator[int]:
    """The steps in a file of W&B's; a torn end is left out."""
    for data in _records(file.read_bytes()):
        record = Record.FromString(data)
        if record.WhichOneof("record_type") == "history":
            yield record.history.step.num


def _records(data: bytes) -> Iterator[bytes]:
    """LevelDB's log format, after a header of 7 bytes: W&B ships no reader of it for Python any more."""
    at, part = 7, b""
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)  # kind: 1 whole, 2 first, 3 middle, 4 last
        part += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind == 0 or at > len(data):
            return
        if kind in (1, 4):
            yield part
            part = b""
