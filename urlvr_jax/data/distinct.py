"""Distinct questions: what the readers of files fill, each question once."""

from __future__ import annotations


class Distinct:
    """Distinct questions in the order of their files, and what was left out.

    Two rows ask the same question when the prompt and the messages before it are the same text: their `key`. The first
    row and its gold answer are kept; a later one with another answer is a conflict. Both are counted.
    """

    def __init__(self, deduplicate: bool, columns: bool = False):
        self.deduplicate = deduplicate
        self.columns = columns  # rows keep all their columns
        self.rows: list[dict] = []
        self.count = 0  # rows of the files
        self.elsewhere = 0  # questions of the part that was not asked for
        self.lines = 0  # up to the current file: the position of its first row
        self.shapes: dict[str, None] = {}  # in the order they came
        self.soft_ids = False  # ids may come again
        self._at: dict[object, int] = {}
        self._conflicts: set[int] = set()

    @property
    def duplicates(self) -> int:
        return self.count - len(self.rows) - self.elsewhere

    @property
    def conflicts(self) -> int:
        """Questions that come again with another gold answer; the first is kept."""
        return len(self._conflicts)

    def add(self, key, answer: str | None, make, times: int = 1) -> None:
        """A question that occurs `times`; make() -> its row, called if it is new."""
        self.count += times
        at = self._at.setdefault(key, len(self.rows)) if self.deduplicate else len(self.rows)
        if at < len(self.rows):
            if answer is not None and answer != self.rows[at].get("answer", answer):
                self._conflicts.add(at)
            return
        row = make()
        self.rows.append(row if answer is None else row | {"answer": answer})
