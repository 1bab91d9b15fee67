"""status: what is running where, the latest numbers, the alarms."""

from __future__ import annotations

import json
import pathlib

from urlvr_jax.config import ConfigError
from urlvr_jax.report import standing


def run(flag, *words: str) -> int:
    """Of the runs in a folder, `runs` if none is given."""
    if len(words) > 1:
        raise ConfigError(f"status takes one folder, has {len(words)}: give one that holds them all")
    folder = pathlib.Path(*words or ("runs",))
    found = standing.of(folder)
    print(json.dumps(standing.as_json(found), indent=1) if flag.json else standing.text(folder, found))
    return 0
