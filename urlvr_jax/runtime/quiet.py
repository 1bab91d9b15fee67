"""Orbax's own words about a failure that is said in one line of ours."""

from __future__ import annotations

import functools
import logging
import sys
import warnings

LOOP_IS_CLOSED = "Event loop is closed"
OF_A_WRITE = ("/orbax/", "OCDBT database")  # where a task is defined; what a future of its store says
# Of its reads and writes, by name: the warning comes from wherever the collector finds them.
NEVER_AWAITED = (
    r"coroutine '_?(async_|read_|serialize|deserialize|open_and_write)\w*(\.\S*)?' was never awaited"
)


@functools.cache
def quiet_orbax() -> None:
    """For the rest of this process; what is not Orbax's is said as before."""
    logging.getLogger("absl").addFilter(lambda record: "/orbax/" not in record.pathname)
    # A write that failed beside the one that is reported: said by the garbage collector, if it comes by.
    logging.getLogger("asyncio").addFilter(
        lambda record: not any(mark in record.getMessage() for mark in OF_A_WRITE)
    )
    warnings.filterwarnings("ignore", NEVER_AWAITED, RuntimeWarning)
    before = sys.unraisablehook

    sys.unraisablehook = lambda unraisable: None if is_late(unraisable) else before(unraisable)


def is_late(unraisable) -> bool:
    """Whether it is a read or write that Orbax gave up on and that ends later, heard by nobody: once for each array."""
    value = unraisable.exc_value
    closed = isinstance(value, RuntimeError) and str(value) == LOOP_IS_CLOSED
    code = getattr(unraisable.object, "cr_code", None)  # of a coroutine
    return closed or bool(code and "/orbax/" in code.co_filename)
