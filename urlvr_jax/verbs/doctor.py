"""doctor: what would go wrong here, before anything loads."""

from __future__ import annotations

import json
import pathlib

from urlvr_jax.planning import doctor
from urlvr_jax.runtime.compile_cache import cache_folder


def run(flag) -> int:
    """Print the findings; exit status 1 if something would go wrong."""
    findings = doctor.examine(flag.config, pathlib.Path(flag.workdir or "runs"), cache_folder())
    print(json.dumps([f._asdict() for f in findings], indent=1) if flag.json else doctor.text(findings))
    return int(any(f.status == "fail" for f in findings))
