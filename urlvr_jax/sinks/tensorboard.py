"""TensorBoard: event files in FOLDER/sinks/tensorboard, by tensorboard's own writer."""

from __future__ import annotations

import datetime
import json
import pathlib
import struct

from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from urlvr_jax.sinks import folder as folder_lib

ROWS = 8  # of a table of completions, as markdown
CELL = 400  # characters


class Sink:
    """See `follow.Sink`. A step is one event: it is there as a whole or not at all."""

    def open(self, place) -> None:
        self.own = place.own
        began = self.kept() < 0
        self.writer = EventFileWriter(str(place.own))
        if began:
            lines = json.dumps(place.config, indent=1, sort_keys=True).splitlines()
            self._add(0, text_pb("config", "\n".join(f"    {line}" for line in lines)))

    def kept(self) -> int:
        """Of the events that hold numbers."""
        found = [-1]
        for file in self.own.glob("events.out.tfevents.*"):
            loader = RawEventFileLoader(str(file))
            for record in loader.Load():
                event = Event.FromString(record)
                if any(value.HasField("simple_value") for value in event.summary.value):
                    found.append(event.step)
        return max(found)

    def step(self, step: int, numbers: dict, texts: dict, table: dict | None) -> None:
        scalars = Summary(value=[Summary.Value(tag=k, simple_value=v) for k, v in numbers.items()])
        shown = texts | ({"completions": markdown(table)} if table else {})
        self._add(step, scalars, *(text_pb(name, text) for name, text in shown.items()))

    def warning(self, step: int, text: str) -> None:
        self._add(step, text_pb("warnings", text))

    def figure(self, step: int, name: str, file: pathlib.Path) -> None:
        data = file.read_bytes()
        width, height = struct.unpack(">II", data[16:24])  # of a PNG's header
        image = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=data)
        self._add(step, Summary(value=[Summary.Value(tag=f"figures/{name}", image=image)]))

    def close(self, status: int) -> None:
        self.writer.close()

    def _add(self, step: int, *parts: Summary) -> None:
        event = Event(step=step, wall_time=datetime.datetime.now(datetime.UTC).timestamp())
        for part in parts:
            event.summary.MergeFrom(part)
        self.writer.add_event(event)
        self.writer.flush()


def markdown(table: dict[str, list]) -> str:
    """The first rows of a table given by columns."""
    lines = [list(table), ["---"] * len(table), *folder_lib.rows(table, ROWS)]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(text[:CELL].replace("|", "\\|").split())
