"""What asks a run to stop (Ctrl-C, SIGTERM, SIGHUP, SIGXCPU, SIGUSR1): remembered until the step is done.

Then `main.py` has written the step's metric line; under the banner "guard and checkpoint" it saves, says where to go
on, and exits with 128 + the signal, unless the step was the last.
"""

from __future__ import annotations

import contextlib
import os
import signal

from urlvr_jax.runtime import hosts

# Ctrl-C, a manager's request, a terminal that goes away, CPU seconds used up, Slurm's warning before its limit.
ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU, signal.SIGUSR1)
ACKNOWLEDGED = b"\nstopping after this step, which is saved; Ctrl-C again stops at once\n"
AT_ONCE = "at once: steps since the latest checkpoint are lost; the same command with its --workdir makes them again"


class StopSignal:
    """Remembers a signal of `ASKING` until the step is done; a Ctrl-C after it raises KeyboardInterrupt."""

    def __init__(self):
        self._seen = 0
        for number in ASKING:
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # nohup: who started this wants it to go on
            with contextlib.suppress(ValueError):  # not in the main thread: a caller of `train`
                signal.signal(number, self._note)

    def _note(self, number, _frame):
        if self._seen and number == signal.SIGINT:
            raise KeyboardInterrupt(AT_ONCE)
        if not self._seen and number == signal.SIGINT:
            with contextlib.suppress(OSError):  # a terminal that is gone
                os.write(2, ACKNOWLEDGED)
        self._seen = number

    def seen(self) -> signal.Signals | None:
        """What any process of the run was sent; ask once a step, on every process."""
        number = hosts.largest(self._seen)
        return signal.Signals(number) if number else None
