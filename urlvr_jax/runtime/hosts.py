"""The one door for what several processes of a run must agree on, and for who of them writes.

A process computes the same numbers as every other; process 0 alone writes files that are not checkpoints.
"""

from __future__ import annotations

import importlib.util
import itertools
import logging
import os
import pathlib
import pickle
import socket
import sys
import time
from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import multihost_utils

from urlvr_jax.errors import UserError
from urlvr_jax.runtime import cluster, link, meeting
from urlvr_jax.runtime.link import HostsError
from urlvr_jax.runtime.terminal import warn

RACE = 5.0  # seconds in which a lost process is known: what it broke here is not the cause
WHERE, STORE = "urlvr_jax/link", "urlvr_jax/given"
PIECE = 2**18  # bytes
A_DAY = 86_400_000  # milliseconds: a lost process is known by the link, a slow one is waited for
_turns = itertools.count()
_link: link.Link | None = None


# ---- joining ------------------------------------------------------------------------------------


def join(coordinator: str, processes: int | None, process_id: int | None, facts: dict[str, str]) -> None:
    """Join a run of several processes, if the flags or the launcher say so; before anything touches a device.

    facts: texts that must be the same on every process. HostsError where one does not come, or differs; from here on
    every process ends where one does.
    """
    found = cluster.of_flags(coordinator, processes, process_id)
    if found is None and processes is None:
        found = cluster.of_environment(os.environ) or _of_tpu_vm()
    if found is None or found.processes == 1:
        return
    # A request to end saves and ends a run here; JAX's own handler would keep it for itself.
    jax.config.update("jax_enable_preemption_service", False)
    logging.getLogger("jax._src.distributed").setLevel(logging.ERROR)  # of proxies, which are not used
    if found.found_by_jax:
        _join_as_found(found, facts)
        return
    host, port = found.coordinator.rpartition(":")[0].strip("[]"), int(found.coordinator.rpartition(":")[2])
    told = _meet(found.process_id, found.processes, facts, host, port)
    _initialize(
        f"{host}:{told['port']}", found.processes, found.process_id, found.local_gpus,
        cluster_detection_method="deactivate",
    )  # fmt: skip


def _join_as_found(found: cluster.Cluster, facts: dict[str, str]) -> None:
    """JAX finds the others, and by its store these find where process 0 listens."""
    _initialize(launcher=found.launcher)
    from jax._src import distributed  # there is no public door to the store that all processes reach

    state = distributed.global_state
    if state.num_processes == 1:
        return
    host, port = state.coordinator_address.rpartition(":")[0].strip("[]"), 0
    if state.process_id:
        port = int(state.client.blocking_key_value_get(WHERE, int(1000 * link.PATIENCE)))
    tell = lambda port: state.client.key_value_set(WHERE, str(port))
    _meet(state.process_id, state.num_processes, facts, host, port, tell)


def _meet(
    number: int, count: int, facts: dict[str, str], host: str, port: int, tell=lambda port: None
) -> dict:
    """Wait for all and compare what they are; what process 0 told: the port for JAX's own coordinator.

    tell: called by process 0 with the port at which it listens.
    """
    global _link
    card = meeting.Card.here(number, facts)
    _link = link.Link(card, count)
    if number:  # process 0 speaks for all; errors are each one's own
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  for as long as the process lives
    if number == 0:
        tell(_link.listen(port))
        told = {"port": _free_port(), "clock": meeting.now()}
        cards = _link.gathered(told)
    else:
        cards, told = _link.connect(host, port)
    if wrong := meeting.differences(cards):
        raise HostsError(wrong)
    off = meeting.now() - told["clock"]
    if abs(off) > meeting.CLOCK:
        warn(
            f"the clock of {card.host} is {off:+.0f} s off that of {cards[0].host}: dates in records differ by it"
        )
    return told


def _initialize(*arguments, launcher: str = "", **keys) -> None:
    """HostsError where JAX cannot join the processes, all of which are there."""
    try:
        jax.distributed.initialize(*arguments, **keys, initialization_timeout=int(link.PATIENCE))
    except (RuntimeError, ValueError) as error:
        of = f"the processes of {launcher}" if launcher else f"the processes at {arguments[0]}"
        alone = "; to run alone give --processes=1" if launcher else ""
        raise HostsError(f"{of} could not be joined: {' '.join(str(error).split())[:300]}{alone}") from None


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("", 0))
        return s.getsockname()[1]


def _of_tpu_vm() -> cluster.Cluster | None:
    """A host of a TPU pod of virtual machines, which say of themselves who the others are."""
    chips = [*pathlib.Path("/dev").glob("accel[0-9]*"), *pathlib.Path("/dev/vfio").glob("[0-9]*")]
    wanted = os.environ.get("JAX_PLATFORMS", "tpu").split(",")[0] == "tpu"
    if not (chips and wanted and importlib.util.find_spec("libtpu")):
        return None
    return cluster.Cluster("a TPU VM", found_by_jax=True)


# ---- leaving ------------------------------------------------------------------------------------


def leave() -> None:
    """This process has done its work."""
    if _link:
        _link.close()


def leave_with(text: str, status: int) -> None:
    """This process ends by an error: so do the others, who are told why, and nobody waits for anybody."""
    if _link:
        _link.fail(text, status)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def wait_for_the_cause() -> None:
    """After an error of the machine: where another process was lost, that is the cause, and ends this one."""
    if _link:
        time.sleep(RACE)


# ---- agreeing -----------------------------------------------------------------------------------


def is_writer() -> bool:
    """Whether this process writes the run's files."""
    return jax.process_index() == 0


def alone() -> bool:
    return jax.process_count() == 1


def gather(value: object) -> list:
    """Every process's value, in their order, on every process: by the devices, for what may be large.

    In pieces of one size, so that one program serves all. What another process of the run sends is trusted.
    """
    if alone():
        return [value]
    data = pickle.dumps(value)
    lengths = np.asarray(multihost_utils.process_allgather(np.int64(len(data))))
    parts = []
    for start in range(0, int(lengths.max()), PIECE):
        piece = np.frombuffer(data[start : start + PIECE].ljust(PIECE, b"\0"), np.uint8)
        parts.append(np.asarray(multihost_utils.process_allgather(piece)))
    rows = np.concatenate(parts, axis=1)
    return [pickle.loads(row[:n].tobytes()) for row, n in zip(rows, lengths, strict=True)]


def gather_small(value: object) -> list:
    """Like `gather`, but by the coordinator's store: the devices may be at work, and are not waited for."""
    if alone():
        return [value]
    return exchange("turn", next(_turns), value)


def exchange(series: str, n: int, value: object, patience_ms: int = A_DAY) -> list:
    """The n-th value of a series of every process, in their order, in any thread; of several processes only."""
    from jax._src import distributed  # see _join_as_found

    state = distributed.global_state
    key = lambda n, i: f"{STORE}/{series}/{n}/{i}"
    state.client.key_value_set_bytes(key(n, state.process_id), pickle.dumps(value))
    of = range(state.num_processes)
    texts = [state.client.blocking_key_value_get_bytes(key(n, i), patience_ms) for i in of]
    if n:  # whoever has given its n-th value has read all of the one before
        state.client.key_value_delete(key(n - 1, state.process_id))
    return [pickle.loads(text) for text in texts]


def agree(value):
    """Process 0's value, on every process."""
    return gather(value)[0]


def largest(number: int) -> int:
    """The largest of the processes' numbers, on every process: a signal that one has seen stops all."""
    if alone():
        return number
    return int(np.max(multihost_utils.process_allgather(np.int32(number))))


def one(work: Callable[[], object]) -> None:
    """Process 0 does it, and the others go on when it is done; a UserError is raised on all."""
    each(lambda: is_writer() and work() and None, gather_small)


def share(count: int) -> slice:
    """Which of `count` things in a row are this process's to do."""
    n, i = jax.process_count(), jax.process_index()
    return slice(i * count // n, (i + 1) * count // n)


def each(work: Callable[[], object], gather=gather) -> list:
    """What `work` gave on every process, in their order. A UserError of one is raised on all."""
    if alone():
        return [work()]
    try:
        mine, error = work(), None
    except UserError as raised:
        mine, error = None, raised
    results = gather((mine, error and (type(error), str(error))))
    for _, failed in results:
        if failed:
            raise failed[0](failed[1]) from error
    return [result for result, _ in results]
