"""countdown: a question file of Countdown's tasks, each of them solvable."""

from __future__ import annotations

import json
import pathlib

from urlvr_jax.checks import countdown
from urlvr_jax.config import ConfigError


def run(flag) -> int:
    """Write --count tasks of `seed` to --out, JSON lines with `id` and `prompt`; ConfigError for a flag amiss."""
    if not flag.out:
        raise ConfigError("--out is missing: give the question file to write")
    if flag.count < 1:
        raise ConfigError(f"--count = {flag.count} is not possible: give a value >= 1")
    seed = flag.config.seed
    if seed < 0:
        raise ConfigError(f"seed = {seed} is not possible: give a value >= 0")
    rows = [
        {"id": f"countdown/{seed}/{i}", "prompt": countdown.sentence(task.numbers, task.target)}
        for i, task in enumerate(countdown.tasks(flag.count, seed))
    ]
    pathlib.Path(flag.out).write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(f"{flag.out}: {len(rows)} tasks")
    return 0
