"""How many runs the memory holds at once: the plan's estimate against what is free."""

from __future__ import annotations

from collections.abc import Sequence

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


def peak(run: Run, found: Devices) -> float:
    """Bytes a device at the plan's peak."""
    c, _ = settle(run.config, a_run(found))
    return max(sum(parts.values()) for parts in memory(c, open_model(c), found.platform).values())


def host_bytes(run: Run, found: Devices) -> float:
    """Bytes of the host: the process, and its arrays where these are there; else the weights while they are read."""
    own = PROCESS.get(found.platform, PROCESS["gpu"])
    if found.platform == "cpu":
        return own + peak(run, found) * found.count
    return own + open_model(run.config).parameters * 4


def jobs_that_fit(runs: Sequence[Run], jobs: int, found: Devices, free: float | None) -> tuple[int, str]:
    """(how many of `jobs` fit, a line that says why fewer; empty if all do). UserError where not even one does.

    free: bytes of the host; None where it does not say.
    """
    sizes = {}  # runs that differ by seed and rate alone are of one size
    for run in runs:
        sizes.setdefault(_shape(run), run)
    largest = max(sizes.values(), key=lambda run: peak(run, found))
    if found.memory and peak(largest, found) > found.memory:
        raise UserError(
            f"a run needs {peak(largest, found) / GIB:.1f} GiB of a device by the plan, {found.memory / GIB:.1f} GiB are "
            "there: fewer rollout.slots or optim.micro_rows, or model.remat=true; the verb `plan` says what fits"
        )
    if free is None:
        return jobs, ""
    need = host_bytes(largest, found)
    fit = int(LEFT * free / need)
    if not fit:
        raise UserError(
            f"a run needs {need / GIB:.1f} GiB of memory by the plan, {free / GIB:.1f} GiB are free: free some, or give "
            "fewer rollout.slots or optim.micro_rows; the verb `plan` says what fits"
        )
    said = f"{fit} at once instead of {jobs}: {need / GIB:.1f} GiB each by the plan, {free / GIB:.1f} GiB are free"
    return (fit, said) if fit < jobs else (jobs, "")


def free_memory() -> float | None:
    """Bytes of the host; None where it does not say."""
    return doctor.free_ram()


def _shape(run: Run) -> str:
    """Runs of the same text need the same memory."""
    return str({k: v for k, v in config_lib.flat(run.config).items() if k not in SIZELESS})
