"""Trackio: a run in the project TRACKIO_PROJECT (`urlvr_jax`), where its own environment says: TRACKIO_DIR, TRACKIO_SPACE_ID."""

from __future__ import annotations

import os
import pathlib

import trackio
from trackio.sqlite_storage import SQLiteStorage

from urlvr_jax.sinks import folder as folder_lib


class Sink:
    """See `follow.Sink`. Trackio knows runs by name: it has the id in it, so that no two folders are one run."""

    def open(self, place) -> None:
        self.project, self.name = os.environ.get("TRACKIO_PROJECT", "urlvr_jax"), f"{place.name}-{place.id}"
        self.run = trackio.init(
            project=self.project, name=self.name, resume="allow", config=place.config, embed=False
        )

    def kept(self) -> int | None:
        if os.environ.get("TRACKIO_SPACE_ID") or os.environ.get("TRACKIO_SERVER_URL"):
            return None
        kept = SQLiteStorage.get_max_step_for_run(self.project, self.name, run_id=self.run.id)
        return -1 if kept is None else kept

    def step(self, step: int, numbers: dict, texts: dict, table: dict | None) -> None:
        if table:
            texts = texts | {"completions": trackio.Table(list(table), folder_lib.rows(table))}
        self.run.log(numbers | texts, step=step)

    def warning(self, step: int, text: str) -> None:
        self.run.alert("warning", text, step=step)

    def figure(self, step: int, name: str, file: pathlib.Path) -> None:
        self.run.log({f"figures/{name}": trackio.Image(str(file))}, step=step)

    def close(self, status: int) -> None:
        trackio.finish()
