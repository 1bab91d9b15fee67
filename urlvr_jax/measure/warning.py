"""A run's own watch for collapse: votes from visit to visit, and detectors over the metrics so far. No label is read."""

from __future__ import annotations

from urlvr_jax.measure import votes
from urlvr_jax.measure.record import RunRecord


class EarlyWarning:
    """What a run knows of its own past that a metric line does not hold; of a resumed run, all of it."""

    def __init__(self, workdir):
        self.workdir = workdir
        self.between = votes.Between(RunRecord(workdir.path).votes)

    def votes(self, step: int, prompts, answers, correct) -> dict[str, float]:
        """Metrics of a step's votes, and their line in votes.jsonl. correct bool `[P, G]` is written there alone."""
        line = votes.line(step, prompts.ids, answers, correct)
        self.workdir.votes.write(line)
        return votes.of_step(answers.classes) | votes.across_questions(line) | self.between.see(line)
