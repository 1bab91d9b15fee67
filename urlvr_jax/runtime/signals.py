"""Ctrl-C and SIGTERM: remembered until the step is done.

Then `main.py` has written the step's metric line; under the banner "guard and checkpoint" it saves, says where to go
on, and exits with 128 + the signal, unless the step was the last.
"""

from __future__ import annotations

import contextlib
import signal

from urlvr_jax.runtime import hosts


class StopSignal:
    """Remembers Ctrl-C or SIGTERM until the step is done; a second Ctrl-C interrupts at once."""

    def __init__(self):
        self._seen = 0
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(ValueError):  # not in the main thread: a caller of `train`
                signal.signal(number, self._note)

    def _note(self, number, _frame):
        if self._seen and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._seen = number

    def seen(self) -> signal.Signals | None:
        """What any process of the run was sent; ask once a step, on every process."""
        number = hosts.largest(self._seen)
        return signal.Signals(number) if number else None
