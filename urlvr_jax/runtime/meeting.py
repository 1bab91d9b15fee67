"""What the processes of a run tell each other before the first device is touched, and what must not differ."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import json
import os
import platform
import socket

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "transformers", "numpy", "urlvr_jax")
CLOCK = 60.0  # seconds that clocks may be apart without a word


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # run from its folder
        return "not installed"


def now() -> float:
    """Seconds since 1970 by the clock on the wall, which is what is compared."""
    return datetime.datetime.now(datetime.UTC).timestamp()


@dataclasses.dataclass(frozen=True)
class Card:
    """What one process says of itself, all at the same moment."""

    number: int
    host: str
    pid: int
    versions: dict[str, str]
    facts: dict[str, str]  # configuration and the like, as texts

    @classmethod
    def here(cls, number: int, facts: dict[str, str]) -> Card:
        versions = {name: version(name) for name in PACKAGES} | {"Python": platform.python_version()}
        return cls(number, socket.gethostname(), os.getpid(), versions, facts)

    @classmethod
    def of(cls, text: str) -> Card:
        return cls(**json.loads(text))

    def text(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    def where(self) -> str:
        return f"pid {self.pid} on {self.host}"

    def name(self, count: int) -> str:
        return f"process {self.number} of {count} ({self.where()})"


def differences(cards: list[Card]) -> str:
    """What is not the same on every process, a line each; "" where all may go on."""
    first, lines = cards[0], []
    for card in cards[1:]:
        for kind in ("versions", "facts"):
            mine, other = getattr(first, kind), getattr(card, kind)
            for key in sorted(set(mine) | set(other)):
                if mine.get(key) != other.get(key):
                    of = f"process {card.number} on {card.host}"
                    lines.append(f"  {key}: {mine.get(key)} on {first.host}, {other.get(key)} in {of}")
    if not lines:
        return ""
    shown = lines[:8] + ([f"  and {len(lines) - 8} more"] if len(lines) > 8 else [])
    return (
        "the processes of this run are not alike:\n" + "\n".join(shown) + "\n"
        "give every one the same command and the same installation"
    )
