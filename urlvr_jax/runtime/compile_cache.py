"""The compilation cache on disk, and the only place that touches jax.config."""

from __future__ import annotations

import os
import pathlib
import tempfile
import warnings

import jax

from urlvr_jax.runtime.terminal import warn

TROUBLE = ("Error reading persistent compilation cache", "Error writing persistent compilation cache")
_said: set[pathlib.Path] = set()


def cache_folder() -> pathlib.Path | None:
    """Under $XDG_CACHE_HOME, else under ~/.cache; None of a user without a home.

    A relative XDG_CACHE_HOME counts as none, as its standard says: else every folder of work would get a cache.
    """
    given = pathlib.Path(os.environ.get("XDG_CACHE_HOME", ""))
    if given.is_absolute():
        return given / "urlvr_jax" / "xla"
    try:
        home = pathlib.Path.home()
    except RuntimeError:  # no HOME, and no line in the user database
        return None
    return home / ".cache" / "urlvr_jax" / "xla" if home.is_absolute() else None


def trouble(folder: pathlib.Path | None) -> str:
    """Why nothing can be kept in a folder; empty if all is well."""
    if folder is None:
        return "neither XDG_CACHE_HOME nor HOME names an absolute path"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return f"{folder}: {error.strerror}"


def configure_jax() -> None:
    """A cache on disk for every compile; where there is none that is said, and each start compiles anew."""
    folder = cache_folder()
    why = trouble(folder)
    if why and not (folder and os.path.isdir(folder)):  # one that can only be read still helps
        warn(
            f"no compilation cache, each start compiles anew ({why}); set XDG_CACHE_HOME to a folder of yours"
        )
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    warnings.showwarning = _once(folder, warnings.showwarning)


def _once(folder: pathlib.Path, show):
    """Of what JAX says about each damaged entry or failed write, one line; other warnings as `show` shows them."""

    def shown(message, *rest, **more):
        if not str(message).startswith(TROUBLE):
            show(message, *rest, **more)
        elif folder not in _said:
            _said.add(folder)
            warn(
                f"{folder}: some programs compile anew ({message!s:.200}); delete this folder, or free its disk"
            )

    return shown
