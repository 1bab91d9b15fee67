"""study: run the cells of a study that are missing, and write the pages that their findings make."""

from __future__ import annotations

import importlib

from urlvr_jax.errors import UserError
from urlvr_jax.verbs.flags import jobs_of

STUDIES = {
    "grid": ("run", "draw", "check"),
    "countdown": ("run", "draw", "check"),
    "judges": ("run", "draw", "check"),
    "experiments": ("run", "check", "write"),
}


def run(flag, *words: str) -> int:
    """`study NAME ACTION`, from a checkout; run: --jobs runs at once. Exit status 1 where `check` finds something."""
    name, action = words if len(words) == 2 else ("", "")
    if action not in STUDIES.get(name, ()):
        known = "; ".join(f"study {name} {'|'.join(actions)}" for name, actions in STUDIES.items())
        raise UserError(f"{' '.join(('study', *words))!r} is not possible: give one of {known}")
    jobs = jobs_of(flag, 2)
    study = importlib.import_module(f"urlvr_jax.studies.{name}")
    return (study.run(jobs) if action == "run" else getattr(study, action)()) or 0
