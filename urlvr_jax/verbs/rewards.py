"""rewards: every reward with its formula."""

from __future__ import annotations

import pathlib

from urlvr_jax.config import ConfigError
from urlvr_jax.rewards import printed


def run(flag) -> int:
    """Print them all; with --out the blocks in that document are written anew."""
    if flag.out:
        path = pathlib.Path(flag.out)
        if not path.is_file():
            raise ConfigError(
                f"--out={path} does not exist: give a document that has rewards between its marks"
            )
        path.write_text(printed.replaced(path.read_text()))
    else:
        print(printed.text())
    return 0
