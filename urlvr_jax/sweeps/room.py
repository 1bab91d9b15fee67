"""How many runs the memory holds at once: the plan's estimate against what is free."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from urlvr_jax import config as config_lib
from urlvr_jax.devices import settle
from urlvr_jax.errors import UserError
from urlvr_jax.planning import doctor
from urlvr_jax.planning.memory import GIB, memory, open_model
from urlvr_jax.sweeps.places import Devices, a_run
from urlvr_jax.sweeps.run import Run

PROCESS = {
    "cpu": 0.8 * GIB,
    "gpu": 2.5 * GIB,
    "tpu": 2.5 * GIB,
}  # bytes of the host, beside what the plan counts
SIZELESS = ("seed", "steps", "optim.lr", "reward.name")  # keys that change no size
LEFT = 0.95  # of the free memory that may be taken


class Need(NamedTuple):
    """Bytes that a run takes at the plan's peak."""

    device: float  # of each device
    host: float  # the process, and its arrays where these are there; else the weights while they are read


def need(run: Run, found: Devices) -> Need:
    """By the plan, and what a process takes beside it."""
    c, _ = settle(run.config, a_run(found))
    model = open_model(c)
    peak = max(sum(parts.values()) for parts in memory(c, model, found.platform).values())
    arrays = peak * found.count if found.platform == "cpu" else model.parameters * 4
    return Need(peak, PROCESS.get(found.platform, PROCESS["gpu"]) + arrays)


def jobs_that_fit(needs: Sequence[Need], jobs: int, found: Devices, free: float | None) -> tuple[int, str]:
    """(how many of `jobs` fit, a line that says why fewer; empty if all do). UserError where not even one does.

    needs: of runs of each size. free: bytes of the host; None where it does not say.
    """
    device, host = (max(sizes) for sizes in zip(*needs, strict=True))
    if found.memory and device > found.memory:
        raise UserError(
            f"a run needs {device / GIB:.1f} GiB of a device by the plan, {found.memory / GIB:.1f} GiB are "
            "there: fewer rollout.slots or optim.micro_rows, or model.remat=true; the verb `plan` says what fits"
        )
    if free is None:
        return jobs, ""
    fit = int(LEFT * free / host)
    if not fit:
        raise UserError(
            f"a run needs {host / GIB:.1f} GiB of memory by the plan, {free / GIB:.1f} GiB are free: free some, or give "
            "fewer rollout.slots or optim.micro_rows; the verb `plan` says what fits"
        )
    said = f"{fit} at once instead of {jobs}: {host / GIB:.1f} GiB each by the plan, {free / GIB:.1f} GiB are free"
    return (fit, said) if fit < jobs else (jobs, "")


def needs(runs: Sequence[Run], found: Devices) -> list[Need]:
    """Of one run of each size."""
    return [need(run, found) for run in {_size(run): run for run in runs}.values()]


def free_memory() -> float | None:
    """Bytes of the host; None where it does not say."""
    return doctor.free_ram()


def _size(run: Run) -> str:
    """Runs of the same text need the same memory."""
    return str({k: v for k, v in config_lib.flat(run.config).items() if k not in SIZELESS})
