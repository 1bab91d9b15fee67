"""plan: memory, meshes, slots and time of an experiment, without weights or devices."""

from __future__ import annotations

import json

from urlvr_jax.planning import plan


def run(flag) -> int:
    """Print the plan of --config for --hardware."""
    found = plan.report(flag.config, flag.hardware)
    print(json.dumps(found, indent=1) if flag.json else plan.text(found))
    return 0
