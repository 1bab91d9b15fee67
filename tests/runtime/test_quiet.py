"""What the library says at length about a failure that is told in one line stays unsaid; the rest is said."""

import logging
import re
import types

import pytest

from urlvr_jax.runtime.quiet import NEVER_AWAITED, is_late, quiet_orbax


def test_only_what_is_orbaxs_is_left_unsaid(caplog):
    quiet_orbax()
    logger = logging.getLogger("asyncio")
    task = "Task exception was never retrieved\nfuture: <Task finished coro=<write() done, defined at {}/serialization.py:1>>"
    with caplog.at_level(logging.ERROR, "asyncio"):
        logger.error(task.format("/lib/orbax/checkpoint"))
        logger.error(
            "Future exception was never retrieved\nfuture: <Future finished exception=ValueError("
            "'RESOURCE_EXHAUSTED: Error writing \"params.embed/0.0\" in OCDBT database at local file')>"
        )
        logger.error(task.format("/my/own"))
    assert [record.getMessage() for record in caplog.records] == [task.format("/my/own")]


@pytest.mark.parametrize(
    "file, error, late",
    [
        ("/lib/orbax/checkpoint/serialization.py", ValueError("no"), True),
        ("/my/own.py", ValueError("no"), False),
        ("/my/own.py", RuntimeError("Event loop is closed"), True),
    ],
)
def test_what_orbax_gave_up_on_is_told_from_what_is_wrong(file, error, late):
    names = {}
    exec(compile("async def write(): pass", file, "exec"), names)  # to have a coroutine of that file
    coroutine = names["write"]()
    assert is_late(types.SimpleNamespace(exc_value=error, object=coroutine)) == late
    coroutine.close()


@pytest.mark.parametrize(
    "name, unsaid",
    [
        ("_read_array_index_and_device_put", True),
        ("async_serialize_from_host.<locals>.write_fragment", True),
        ("_serialize_batch", True),
        ("my_check", False),
    ],
)
def test_reads_and_writes_that_were_never_awaited_are_told_by_their_names(name, unsaid):
    assert bool(re.match(NEVER_AWAITED, f"coroutine '{name}' was never awaited")) == unsaid
