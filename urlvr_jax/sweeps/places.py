"""The cores and GPUs of this machine, shared out to runs that are made at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import NamedTuple

from urlvr_jax.errors import UserError

# A process asks, and ends: this one would keep a part of every GPU that it has seen.
ASK = """
import json, jax
d = jax.local_devices()
print(json.dumps([d[0].platform, len(d), (d[0].memory_stats() or {}).get("bytes_limit")]))
"""


class Devices(NamedTuple):
    """What a process of this machine finds."""

    platform: str  # cpu, gpu, tpu
    count: int
    memory: float | None  # bytes of one that a run may fill; None of CPUs


class Place(NamedTuple):
    """Where one run at a time is made."""

    cores: tuple[int, ...]
    environ: dict[str, str] = {}  # beside that of this process


def devices() -> Devices:
    """UserError where JAX finds none."""
    environ = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    done = subprocess.run([sys.executable, "-c", ASK], env=environ, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise UserError(f"JAX finds no device here: {said}; the verb `doctor` says more")
    return Devices(*json.loads(done.stdout.splitlines()[-1]))


def cores() -> list[int]:
    """Those that this process may use."""
    return (
        sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count()))
    )


def single(jobs: int) -> list[Place]:
    """So many places of one core each, in turn where there are fewer cores."""
    have = cores()
    return [Place((have[i % len(have)],)) for i in range(jobs)]


def most(found: Devices) -> int:
    """How many runs can be made at once: one a GPU, one a core, one on all of a TPU host."""
    return {"gpu": found.count, "cpu": len(cores())}.get(found.platform, 1)


def a_run(found: Devices) -> int:
    """How many devices a run has."""
    return 1 if found.platform == "gpu" else found.count


def shared(found: Devices, jobs: int) -> list[Place]:
    """The machine in `jobs` parts: cores in a row, and on GPUs one of those that are visible."""
    have = cores()
    each = max(1, len(have) // jobs)
    parts = [tuple(have[(i * each + k) % len(have)] for k in range(each)) for i in range(jobs)]
    if found.platform != "gpu":
        return [Place(part) for part in parts]
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    gpus = named or [str(i) for i in range(found.count)]
    return [Place(part, {"CUDA_VISIBLE_DEVICES": gpus[i]}) for i, part in enumerate(parts)]
