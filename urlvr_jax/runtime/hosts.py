"""The one door for what several processes of a run must agree on, and for who of them writes.

A process computes the same numbers as every other; process 0 alone writes files that are not checkpoints.
"""

from __future__ import annotations

import jax
import numpy as np
from jax.experimental import multihost_utils

LONGEST_TEXT = 4096  # bytes that `agree` passes on


def initialize(coordinator: str, processes: int, process_id: int) -> None:
    """Join a run of several processes; before anything touches a device."""
    jax.distributed.initialize(coordinator, processes, process_id)


def is_writer() -> bool:
    """Whether this process writes the run's files."""
    return jax.process_index() == 0


def agree(text: str) -> str:
    """Process 0's text, on every process."""
    if jax.process_count() == 1:
        return text
    data = text.encode()
    if len(data) > LONGEST_TEXT:
        raise ValueError(f"{len(data)} bytes; at most {LONGEST_TEXT} are passed on")
    padded = np.frombuffer(data.ljust(LONGEST_TEXT, b"\0"), np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(padded)).tobytes().rstrip(b"\0").decode()


def largest(number: int) -> int:
    """The largest of the processes' numbers, on every process: a signal that one has seen stops all."""
    if jax.process_count() == 1:
        return number
    return int(np.max(multihost_utils.process_allgather(np.int32(number))))
