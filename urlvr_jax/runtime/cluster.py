"""Which processes a run has: as the command line says, or as the launcher's environment does. No JAX in here."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from urlvr_jax.errors import UserError

PORTS = 4096  # Slurm: the coordinator's port is one of the last so many, by the job's number
SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")


@dataclasses.dataclass(frozen=True)
class Cluster:
    """What `jax.distributed.initialize` is given; where `found_by_jax`, that finds the rest itself."""

    launcher: str  # in words
    coordinator: str | None = None  # HOST:PORT of process 0
    processes: int | None = None
    process_id: int | None = None
    local_gpus: tuple[int, ...] | None = None  # of those visible; None: all
    found_by_jax: bool = False


def of_flags(coordinator: str, processes: int | None, process_id: int | None) -> Cluster | None:
    """What --coordinator, --processes and --process_id say; None where they say nothing. UserError for half of it."""
    if not coordinator:
        if process_id is not None or (processes or 1) > 1:
            given = f"--processes={processes}" if (processes or 1) > 1 else f"--process_id={process_id}"
            raise UserError(f"{given} needs --coordinator=HOST:PORT, the address of process 0")
        return None
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UserError(f"--coordinator={coordinator} is not possible: give HOST:PORT of process 0")
    if processes is None or process_id is None:
        lacking = "--processes" if processes is None else "--process_id"
        raise UserError(f"--coordinator={coordinator} needs {lacking} too")
    if processes < 1:
        raise UserError(f"--processes={processes} is not possible: give 1 or more")
    if not 0 <= process_id < processes:
        raise UserError(f"--process_id={process_id} is not possible: give 0 to {processes - 1}")
    return Cluster("--coordinator", coordinator, processes, process_id)


def of_environment(environ: Mapping[str, str]) -> Cluster | None:
    """What Slurm, Open MPI or a TPU pod on GKE has set for this process; None where it is alone."""
    if all(name in environ for name in SLURM) and int(environ["SLURM_NTASKS"]) > 1:
        return _of_slurm(environ)
    if int(environ.get("OMPI_COMM_WORLD_SIZE", 1)) > 1:
        return Cluster("Open MPI", found_by_jax=True)
    if len(environ.get("TPU_WORKER_HOSTNAMES", "").split(",")) > 1:
        return Cluster("a TPU pod", found_by_jax=True)
    return None


def _of_slurm(environ: Mapping[str, str]) -> Cluster:
    port = 65536 - PORTS + int(environ["SLURM_JOB_ID"]) % PORTS
    return Cluster(
        "Slurm",
        f"{first_host(environ['SLURM_STEP_NODELIST'])}:{port}",
        int(environ["SLURM_NTASKS"]),
        int(environ["SLURM_PROCID"]),
        local_gpus(environ),
    )


def first_host(hosts: str) -> str:
    """Of Slurm's list: "n1,n2" or "n[01-15,20],m3"."""
    found = re.match(r"([^,\[]+)(?:\[([^,\-\]]+)[^\]]*\]([^,]*))?", hosts)
    return "".join(part or "" for part in found.groups()) if found else hosts


def local_gpus(environ: Mapping[str, str]) -> tuple[int, ...] | None:
    """Which of the GPUs that a Slurm task sees are its own; None: all.

    Where every task of a node sees all GPUs of the node they share them evenly: with one task a node it has all of them,
    with a task a GPU one. A task that sees a part of them, by --gpus-per-task, has that part.
    """
    here = tasks_here(environ)
    visible = [gpu for gpu in environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
    on_node = int(environ.get("SLURM_GPUS_ON_NODE") or 0)
    count = len(visible) or on_node
    if here < 2 or count < here or (on_node and count < on_node):
        return None
    if count % here:
        raise UserError(
            f"{count} GPUs a node do not divide over {here} tasks: give --ntasks-per-node a divisor of {count}"
        )
    each, local = count // here, int(environ["SLURM_LOCALID"])
    return tuple(range(local * each, (local + 1) * each))


def tasks_here(environ: Mapping[str, str]) -> int:
    """How many tasks of a Slurm step run on this node: from "2(x3),1", the counts of its nodes."""
    text = environ.get("SLURM_STEP_TASKS_PER_NODE", "1")
    counts = []
    for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", text):
        counts += [int(count)] * int(times or 1)
    node = int(environ.get("SLURM_NODEID", 0))
    return counts[node] if node < len(counts) else counts[0]
