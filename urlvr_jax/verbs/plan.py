"""plan: memory, meshes, slots and time of an experiment, without weights or devices."""

from __future__ import annotations

import json

from urlvr_jax.planning import report
from urlvr_jax.planning.machines import machine


def run(flag) -> int:
    """Print the plan of --config for --hardware."""
    found = report.report(flag.config, machine(flag.hardware) if flag.hardware else None)
    print(json.dumps(found, indent=1) if flag.json else report.text(found))
    return 0
