"""Orbax's own words about a failure that is said in one line of ours."""

from __future__ import annotations

import functools
import logging
import sys
import warnings

LOOP_IS_CLOSED = "Event loop is closed"


@functools.cache
def quiet_orbax() -> None:
    """For the rest of this process; what is not Orbax's is said as before."""
    logging.getLogger("absl").addFilter(lambda record: "/orbax/" not in record.pathname)
    # A write that failed beside the one that is reported: said by the garbage collector, if it comes by.
    logging.getLogger("asyncio").addFilter(lambda record: "/orbax/" not in record.getMessage())
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning, module="orbax")
    before = sys.unraisablehook

    def hook(unraisable):
        # A read or write that Orbax gave up on ends later, and finds nobody waiting: once for each array.
        value = unraisable.exc_value
        if not (isinstance(value, RuntimeError) and str(value) == LOOP_IS_CLOSED):
            before(unraisable)

    sys.unraisablehook = hook
