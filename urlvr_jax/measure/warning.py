"""A run's own watch for collapse: votes from visit to visit, and detectors over the metrics so far. No label is read."""

from __future__ import annotations

import math

import numpy as np

from urlvr_jax.measure import anchors, votes
from urlvr_jax.measure.detectors import DETECTORS, SIGNALS, Alarm, alarm_of, history_of, scores
from urlvr_jax.measure.record import RunRecord
from urlvr_jax.runtime import sharding


class History:
    """Values of each signal at the steps so far, NaN where there was none: arrays that grow."""

    def __init__(self, lines: list[dict]):
        known = np.stack(list(history_of(lines).values()))
        self.steps = known.shape[1]
        self.values = np.pad(known, ((0, 0), (0, self.steps + 256)), constant_values=np.nan)

    def add(self, metrics: dict[str, float]) -> dict[str, np.ndarray]:
        """{signal: float64 `[N]`} after one more step."""
        if self.steps == self.values.shape[1]:
            self.values = np.pad(self.values, ((0, 0), (0, self.steps)), constant_values=np.nan)
        self.values[:, self.steps] = [metrics.get(metric, math.nan) for metric in SIGNALS.values()]
        self.steps += 1
        return dict(zip(SIGNALS, self.values[:, : self.steps], strict=True))


class EarlyWarning:
    """What a run knows of its own past that a metric line does not hold; of a resumed run, all of it."""

    def __init__(self, c, workdir):
        past = RunRecord(workdir.path)
        self.workdir, self.stop = workdir, c.collapse.stop
        self.votes_count = c.mode == "rl"
        self.on = c.collapse.watch and self.votes_count
        self.between = votes.Between(past.votes)
        self.anchors = anchors.Anchors(past.votes)
        self.placed = None  # the anchors that are scored now, and what the engine takes of them
        self.scored = None  # those of this step, and their log-probabilities on the device
        self.history = History(past.lines)
        self.alarm = _written(past.lines) if self.on else None

    @property
    def stops(self) -> bool:
        """Whether the run is to end: an alarm, and `collapse.stop`."""
        return self.stop and self.alarm is not None

    def look(self, engine, params, step: int) -> None:
        """Begin to score, by the policy after a step, what it was sure of earlier."""
        self.width = engine.few_widths()[1]
        due = self.anchors.due(step) if self.on else None
        if due and (self.placed is None or self.placed[0] is not due):
            self.placed = due, engine.place_few(due["prompt"], due["response"])
        self.scored = due and (due, engine.score_few(params, self.placed[1]))

    def votes(self, step: int, prompts, rollouts, answers, correct) -> dict[str, float]:
        """Metrics of a step's votes, and their line in votes.jsonl. correct bool `[P, G]` is written there alone.

        None in supervised mode, where nobody votes.
        """
        if not self.votes_count:
            return {}
        line = votes.line(step, prompts.ids, answers, correct)
        if self.on and step % anchors.EVERY == 0:
            found = anchors.chosen(prompts, rollouts, answers, self.width)
            line |= {"anchors": found} if found else {}
        self.anchors.see(line)
        self.workdir.votes.write(line)
        return votes.of_step(answers.classes) | votes.across_questions(line) | self.between.see(line)

    def see(self, step: int, free: dict[str, float]) -> dict[str, float | str]:
        """The metrics `collapse/*` of a step, given those that need no label, and `anchors/*`.

        Each detector's score over its threshold; `alarm`, 1 from the first alarm on, then with `onset` and `reason`.
        """
        if not self.on:
            return {}
        out = {}
        if self.scored:
            due, logp = self.scored
            out |= anchors.metrics(due, sharding.to_host(logp))
        history = self.history.add(free | out)
        out |= {f"collapse/{d.name}": _last(scores(d, history)) for d in DETECTORS}
        out = {name: value for name, value in out.items() if math.isfinite(value)}
        if self.alarm is None:
            found = [a for a in (alarm_of(d, history) for d in DETECTORS) if a and a.step == step]
            self.alarm = min(found, key=lambda a: a.onset, default=None)
        out["collapse/alarm"] = float(self.alarm is not None)
        if self.alarm:
            out |= {"collapse/onset": self.alarm.onset, "collapse/reason": self.alarm.detector}
        return out

    def notices(self) -> dict[str, str]:
        """What is said of an alarm."""
        if not self.alarm:
            return {}
        says = {d.name: d.says for d in DETECTORS}[self.alarm.detector]
        return {
            "collapse": f"step {self.alarm.step}: this run seems to collapse, since about step {self.alarm.onset}: {says} "
            f"({self.alarm.detector}); no label was read for this, docs/metrics.md says how"
        }


def _last(values: np.ndarray) -> float:
    return float(values[-1]) if len(values) else math.nan


def _written(lines: list[dict]) -> Alarm | None:
    """The alarm that a run's lines tell of."""
    found = next((line for line in lines if line.get("collapse/alarm")), None)
    return found and Alarm(found["step"], found["collapse/onset"], found["collapse/reason"])
