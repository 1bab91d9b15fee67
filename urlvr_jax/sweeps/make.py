"""The loop that makes runs: starts them by an engine, says what ended, and stops them when it is asked to.

An engine has `begin(runs)`, `poll() -> [(run, exit status)]`, `running`, `busy` and `stop(at_once)`.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Sequence

from urlvr_jax.runtime.signals import ASKING, StopSignal
from urlvr_jax.sweeps.run import Run

EVERY = 0.2  # seconds


def make(
    runs: Sequence[Run], engine, ended: Callable[[Run, int], None], look: Callable[[], None] = lambda: None
) -> signal.Signals | None:
    """Until all have ended; the signal that stopped them before, if one did.

    ended: called once a run with its exit status; look: called all the time. A second Ctrl-C ends the runs at once and
    raises KeyboardInterrupt; at any other error they save and end.
    """
    asked = None
    with _signals() as stop:
        engine.begin(runs)
        try:
            while engine.busy:
                for run, status in engine.poll():
                    ended(run, status)
                look()
                if asked is None and (asked := stop.seen()):
                    engine.stop()
                time.sleep(EVERY)
        except BaseException as error:
            engine.stop(at_once=isinstance(error, KeyboardInterrupt))
            raise
    return asked


@contextlib.contextmanager
def _signals():
    """Those that ask to stop are remembered within."""
    before = {number: signal.getsignal(number) for number in ASKING}
    try:
        yield StopSignal()
    finally:
        for number, handler in before.items():
            with contextlib.suppress(ValueError):  # not in the main thread
                signal.signal(number, handler)
