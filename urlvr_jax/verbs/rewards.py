"""rewards: every reward with its formula."""

from __future__ import annotations

import pathlib

from urlvr_jax.rewards import table


def run(flag) -> int:
    """Print them all; with --out the blocks in that document are written anew."""
    if flag.out:
        path = pathlib.Path(flag.out)
        path.write_text(table.replaced(path.read_text()))
    else:
        print(table.text())
    return 0
