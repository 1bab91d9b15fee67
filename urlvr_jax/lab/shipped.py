"""What ships with the package under the name `lab:NAME`: bases, question files, and the worlds behind them.

A base is a model of 0.1 M parameters pretrained on a made-up world: `lab:plain`, from which the experiments start,
on sums such as Q12+7-3?. README.md here tells of each.
"""

from __future__ import annotations

import pathlib

from urlvr_jax.errors import DataError
from urlvr_jax.lab import countdown_world, integration_world, programs_world, python_world, world

HERE = pathlib.Path(__file__).parent
WORLDS = {  # by recipe
    recipe: w
    for w in (world, countdown_world, programs_world, integration_world, python_world)
    for recipe in w.RECIPES
}


def base(name: str) -> pathlib.Path:
    """The model folder of "lab:NAME"; DataError with the names there are."""
    return _existing(name, HERE / "bases" / name.removeprefix("lab:"))


def questions(name: str) -> pathlib.Path:
    """The question file of "lab:NAME"; DataError with the names there are."""
    return _existing(name, HERE / "questions" / f"{name.removeprefix('lab:')}.jsonl")


def corpus(name: str) -> list[str]:
    """The documents of the corpus "lab:NAME"; DataError with the names there are."""
    wrong = world.CORPORA.get(name.removeprefix("lab:"))
    if wrong is None:
        raise DataError(
            f"{name!r} is no corpus of the laboratory; available: {sorted(f'lab:{n}' for n in world.CORPORA)}"
        )
    return world.told(wrong)


def _existing(name: str, path: pathlib.Path) -> pathlib.Path:
    if not path.exists():
        known = sorted(f"lab:{p.stem}" for p in path.parent.iterdir())
        raise DataError(f"{name!r} does not ship with the package; available: {known}")
    return path


def documents(recipe: str, seed: int, step: int, count: int, longest: int) -> list[tuple[str, str, bool]]:
    """`count` documents (question, answer, ends) of a recipe, a function of (seed, step)."""
    return WORLDS[recipe].documents(recipe, seed, step, count, longest)
