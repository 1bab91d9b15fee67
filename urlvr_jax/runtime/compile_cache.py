"""The compilation cache on disk, and the only place that touches jax.config."""

from __future__ import annotations

import os
import pathlib

import jax

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "urlvr_jax"


def configure_jax() -> None:
    """A cache on disk for every compile."""
    jax.config.update("jax_compilation_cache_dir", str(CACHE / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
