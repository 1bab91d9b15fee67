"""Gold answers, apart from the questions: they reach metrics and the controls, never another reward."""

from __future__ import annotations

import dataclasses

from urlvr_jax.types import Prompts


@dataclasses.dataclass(frozen=True)
class Labels:
    """Gold answers by question id; absent ids have no label."""

    gold: dict[str, str]

    def of(self, prompts: Prompts) -> list[str] | None:
        """Gold answers of these prompts, or None if any of them has none."""
        found = [self.gold.get(i) for i in prompts.ids]
        return None if any(g is None for g in found) else found
