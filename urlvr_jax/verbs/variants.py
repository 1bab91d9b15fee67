"""variants: a question file of integrals with easier variants before them."""

from __future__ import annotations

import json
import pathlib

from urlvr_jax.checks import variants
from urlvr_jax.config import ConfigError
from urlvr_jax.data import files, shapes


def run(flag) -> int:
    """Write the questions of --data and their variants to --out, from easy to hard; ConfigError for a flag amiss."""
    if not flag.data:
        raise ConfigError(
            "--data is missing: give a question file of integrals, such as lab:integration_hard"
        )
    if not flag.out:
        raise ConfigError("--out is missing: give the question file to write")
    c = flag.config
    if c.seed < 0:
        raise ConfigError(f"seed = {c.seed} is not possible: give a value >= 0")
    try:
        named = shapes.parse(c.data.columns)
    except ValueError as error:
        raise ConfigError(f"data.columns = {c.data.columns!r}: {error}") from None
    rows = files.read(flag.data, named).rows
    out = variants.curriculum(rows, c.seed)
    pathlib.Path(flag.out).write_text("".join(json.dumps(row) + "\n" for row in out))
    print(f"{flag.out}: {len(out) - len(rows)} variants, then the {len(rows)} questions")
    return 0
