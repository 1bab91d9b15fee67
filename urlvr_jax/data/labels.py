"""Gold answers and rows, apart from the questions: they reach checks, metrics and controls, never another reward."""

from __future__ import annotations

import dataclasses

from urlvr_jax.checks.grading import Asked
from urlvr_jax.types import Prompts


@dataclasses.dataclass(frozen=True)
class Labels:
    """Gold answers by question id; absent ids have no label."""

    gold: dict[str, str]
    rows: dict[str, dict] = dataclasses.field(
        default_factory=dict
    )  # all columns by id, where they were asked for

    def of(self, prompts: Prompts, count: int | None = None) -> Asked:
        """The first `count` of these questions, all without it, with gold answers if all of them have one."""
        ids = prompts.ids[:count]
        gold = [self.gold.get(i) for i in ids]
        asked = prompts.questions or prompts.texts
        return Asked(
            asked[:count], prompts.texts[:count], None if any(g is None for g in gold) else gold,
            [self.rows[i] for i in ids] if self.rows else None,
        )  # fmt: skip
