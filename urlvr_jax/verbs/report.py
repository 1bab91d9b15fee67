"""report: runs as one page that opens anywhere."""

from __future__ import annotations

import pathlib

from urlvr_jax.config import ConfigError
from urlvr_jax.runtime.lines import write_whole
from urlvr_jax.runtime.terminal import say


def run(flag, *words: str) -> int:
    """Write the page of run folders, or folders of runs, and say where."""
    from urlvr_jax.report import opened, page

    if not words:
        raise ConfigError("report needs run folders: report runs/a runs/b --out page.html")
    out = pathlib.Path(flag.out or "report.html")
    if out.is_dir():
        raise ConfigError(f"--out={out} is a folder: give the file to write, {out / 'report.html'}")
    arms, notes = opened.arms_of(words)
    text = page.html(arms, notes)
    write_whole(out, text)
    for note in notes:
        say(f"note: {note}")
    say(f"{out}: {sum(len(arm.runs) for arm in arms)} runs, {len(text.encode()) / 1e6:.1f} MB")
    return 0
