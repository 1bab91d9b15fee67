"""Where processes wait for each other while a checkpoint is saved: a save that fails on one of them fails on all at once.

Left to itself the library waits twenty minutes at one place for a process that has failed and waits at another.
"""

from __future__ import annotations

import itertools
import re

from urlvr_jax.runtime import hosts

_opened = itertools.count()


class SaveError(RuntimeError):
    """A save that has failed on another process."""

    def __init__(self):
        super().__init__("the save failed on another process")


class Barrier:
    """Passed by all processes in the same order, since one save follows the other and each is a chain of waits.

    So who comes to another place than the others has failed in between. It is made anew by all after a failure.
    Raises SaveError then, and from then on.
    """

    def __init__(self):
        self.number, self.places, self.failed = next(_opened), 0, False

    def __call__(self, *, key: str, timeout_ms: int) -> None:
        if not self.failed:
            place, self.places = self.places, self.places + 1
            here = re.sub(r"\d+", "", key)  # its numbers count calls, which a failure sets apart
            self.failed = set(hosts.exchange(f"save/{self.number}", place, here, timeout_ms)) != {here}
        if self.failed:
            raise SaveError
