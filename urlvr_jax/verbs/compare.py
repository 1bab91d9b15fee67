"""compare: what is really different between runs, and what is not shown."""

from __future__ import annotations

import json

from urlvr_jax.comparing import arms, comparison, text
from urlvr_jax.config import ConfigError


def run(flag, *words: str) -> int:
    """Print tables, or JSON; the words are run folders, or folders of runs."""
    if not words:
        raise ConfigError("compare needs run folders: compare runs/a runs/b, or a sweep's folder")
    at = at_of(flag.at)
    found = comparison.compared(
        arms.arms_of(map(arms.opened, arms.folders_of(words))), at, [flag.metric] if flag.metric else []
    )
    print(json.dumps(text.as_json(found), indent=1) if flag.json else text.text(found))
    return 0


def at_of(said: str) -> str | int:
    """What --at says. ConfigError for anything else."""
    if said in (arms.LAST, arms.END, arms.PEAK):
        return said
    if said.isdecimal():
        return int(said)
    raise ConfigError(f"--at={said} is not possible: give last, end, peak or a step")
