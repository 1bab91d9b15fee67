"""plan: memory, meshes, slots and time of an experiment, without weights or devices."""

from __future__ import annotations

import json

from urlvr_jax.planning import report
from urlvr_jax.planning.machines import machine


def run(flag) -> int:
    """Print the plan of --config for --hardware; with --compile also each program's compiled bytes."""
    on = machine(flag.hardware) if flag.hardware else None
    platform = "tpu"
    devices = []
    if flag.compile:
        from urlvr_jax.planning import compile as compiler  # imports the engine

        devices = compiler.devices_of(on)
        platform = devices[0].platform
    found = report.report(flag.config, on, platform, len(devices) or 1)
    if not flag.json:
        print(report.text(found), flush=True)
    if flag.compile:
        found["compiled"] = {}
        for phase, said in compiler.programs(flag.config, devices):
            found["compiled"][phase] = said
            if not flag.json:
                print(compiler.text(phase, said), flush=True)
    if flag.json:
        print(json.dumps(found, indent=1))
    return 0
