"""What doctor finds."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    name: str
    status: str  # "ok", "warn" or "fail"
    seen: str
    remedy: str = ""  # where `seen` does not say it
