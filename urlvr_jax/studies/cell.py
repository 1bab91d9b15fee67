"""One run of a study, and which lines on file are its."""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib

from urlvr_jax.errors import UserError
from urlvr_jax.lab import shipped
from urlvr_jax.runtime.lines import read_lines
from urlvr_jax.sweeps.run import Run


def root() -> pathlib.Path:
    """The checkout that the current folder belongs to; UserError where it belongs to none."""
    here = pathlib.Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "experiments" / "grid.py").is_file():
            return folder
    raise UserError(
        f"{here}: no folder `experiments` here or above: run `study` from a checkout of urlvr_jax"
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Cell:
    """One run: an experiment, the keys it is given beside those of its file, and a seed."""

    experiment: str  # as after --config, relative to the checkout
    seed: int
    overrides: dict[str, object] = dataclasses.field(default_factory=dict)  # {dotted key: value}
    about: dict[str, object] = dataclasses.field(default_factory=dict)  # what its line says of it, first

    @functools.cached_property
    def run(self) -> Run:
        """From the checkout, in a folder of its `runs/studies`."""
        values = {**self.overrides, "seed": self.seed}
        return Run(self.experiment, values, root() / "runs" / "studies", cwd=root())

    @property
    def config(self):
        return self.run.config

    @property
    def hash(self) -> str:
        return self.run.hash

    @functools.cached_property
    def base_sha256(self) -> str | None:
        return base_sha256(self.config.model.path)

    @property
    def place(self) -> tuple:
        """What tells its line from those of other cells of its study."""
        return (*self.about.values(), self.seed)

    def has(self, line: dict | None) -> bool:
        """Whether a line on file is this cell's: the same configuration, and a base that has not changed."""
        if line is None or line["config_hash"] != self.hash:
            return False
        return line.get("base_sha256") == self.base_sha256


def base_sha256(path: str) -> str | None:
    """As its recipe says; None for a base without one."""
    folder = shipped.base(path) if path.startswith("lab:") else pathlib.Path(path)
    recipe = folder / "recipe.json"
    return json.loads(recipe.read_text())["sha256"][:16] if recipe.is_file() else None


def read_runs(file: pathlib.Path) -> list[dict]:
    """Lines of findings; none of a file that is not there yet."""
    return read_lines(file) if file.is_file() else []


def missing(cells: list[Cell], lines: list[dict]) -> list[Cell]:
    """Cells without a line that is theirs."""
    return [cell for cell in cells if not any(map(cell.has, lines))]


def fresh(cells: list[Cell], lines: list[dict]) -> list[dict]:
    """Lines that are some cell's; UserError if there are none."""
    found = [line for line in lines if any(cell.has(line) for cell in cells)]
    if not found:
        raise UserError("this study has no fresh run on file: make them first, with `study NAME run`")
    return found


def stale(cells: list[Cell], lines: list[dict]) -> list[dict]:
    """Lines that are no cell's: of a configuration or a base that has changed."""
    return [line for line in lines if not any(cell.has(line) for cell in cells)]


def check(cells: list[Cell], lines: list[dict]) -> int:
    """Print the cells without a line and the lines without a cell; exit status 1 if there are any."""
    lacking, old = missing(cells, lines), stale(cells, lines)
    for cell in lacking:
        print(f"missing: {' '.join(map(str, cell.about.values()))} seed {cell.seed}")
    for line in old:
        names = [*cells[0].about, "seed", "config_hash"]
        print(f"stale: {' '.join(f'{name} {line.get(name)}' for name in names)}")
    print(f"{len(cells) - len(lacking)} of {len(cells)} cells have their runs; {len(old)} lines are stale")
    return int(bool(lacking or old))
