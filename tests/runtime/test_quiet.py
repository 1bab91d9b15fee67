"""What the library says at length about a failure that is told in one line stays unsaid; the rest is said."""

import logging

from urlvr_jax.runtime.quiet import quiet_orbax


def test_only_what_is_orbaxs_is_left_unsaid(caplog):
    quiet_orbax()
    logger = logging.getLogger("asyncio")
    task = "Task exception was never retrieved\nfuture: <Task finished coro=<write() done, defined at {}/serialization.py:1>>"
    with caplog.at_level(logging.ERROR, "asyncio"):
        logger.error(task.format("/lib/orbax/checkpoint"))
        logger.error(task.format("/my/own"))
    assert [record.getMessage() for record in caplog.records] == [task.format("/my/own")]
