"""How the runs of a sweep stand: a block that moves on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence

from urlvr_jax.runtime.progress import Console
from urlvr_jax.sweeps import axes
from urlvr_jax.sweeps.run import DONE, FAILS, RUNNING, WAITS, Run
from urlvr_jax.untrusted import shown

ORDER = (RUNNING, FAILS, DONE, WAITS)
MOVES, SAYS = 0.5, 30.0  # seconds between two blocks on a terminal, and two plain lines elsewhere


class Course:
    """What a run's metric lines say so far; each line is read once."""

    def __init__(self, run: Run, values: dict[str, object]):
        self.run, self.values = run, values
        self.step, self.newest = 0, {}
        self._read = 0

    def look(self) -> None:
        """Read what was written since."""
        file = self.run.folder / "metrics.jsonl"
        size = file.stat().st_size if file.is_file() else 0
        if size < self._read:  # a run that goes on takes lines back
            self._read = self.step = 0
        if size == self._read:
            return
        with open(file, "rb") as opened:
            opened.seek(self._read)
            text = opened.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            found = json.loads(line)
            self.newest |= found
            self.step = found["step"]


def default_metric(newest: dict) -> str:
    """avg@k of the first question file that is evaluated, as `summary` takes it; without any, the trained reward."""
    names = (name for name in newest if name.startswith("eval/") and "/avg@" in name)
    return next((name for name in names if not name.endswith(("/low", "/high"))), "reward/mean")


class Watch:
    """Tells of runs while they are made."""

    def __init__(self, courses: Sequence[Course], engine, metric: str, console: Console | None = None):
        self.courses, self.engine, self.metric = courses, engine, metric
        self.console = console or Console(seconds=SAYS)
        self.ends = {c.run: DONE for c in courses if c.run.done}
        self.ends |= {c.run: FAILS for c in courses if c.run not in self.ends and c.run.error}
        self._began, self._last = time.monotonic(), 0.0
        for course in courses:
            course.look()
        self._steps_before = sum(course.step for course in courses)

    def look(self) -> None:
        """Show how things stand, if it is time."""
        now = time.monotonic()
        if now - self._last >= MOVES:
            self._last = now
            for course in self.courses:
                course.look()
            moving = shown.is_guarded(self.console.stream)
            self.console.move("\n".join(self.block()) if moving else self.head())

    def ended(self, run: Run, status: int) -> None:
        """One line about a run that ended."""
        course = next(c for c in self.courses if c.run is run)
        course.look()
        error = run.error
        if not status or error:
            self.ends[run] = FAILS if error else DONE
        said = error or ("done" if not status else f"stopped after step {course.step}")
        number = f"  {self._number(course)}" if not error else ""
        self.console.say(f"{run.hash}  {axes.text(course.values)}  {said}{number}")

    def state(self, run: Run, running: Sequence[Run]) -> str:
        return RUNNING if run in running else self.ends.get(run, WAITS)

    def head(self) -> str:
        """How many are done, running, failed and waiting, and the time that is left."""
        running = self.engine.running
        states = [self.state(course.run, running) for course in self.courses]
        counts = "  ".join(f"{states.count(state)} {state}" for state in (DONE, RUNNING, FAILS, WAITS))
        left = self.seconds_left(states)
        return f"{len(states)} runs: {counts}" + (f"  {in_words(left)} left" if left else "")

    def seconds_left(self, states: Sequence[str]) -> float | None:
        """By the steps that were made since this began; None while there are none, or nothing is left."""
        made = sum(course.step for course in self.courses) - self._steps_before
        open_ = [c for c, state in zip(self.courses, states, strict=True) if state in (RUNNING, WAITS)]
        left = sum(max(0, c.run.config.steps - c.step) for c in open_)
        return left * (time.monotonic() - self._began) / made if made > 0 and left else None

    def block(self) -> list[str]:
        """The head, and a line a run, as many as the terminal has room for."""
        running = self.engine.running
        rows = [(self.state(course.run, running), course) for course in self.courses]
        rows.sort(key=lambda row: ORDER.index(row[0]))
        room = max(3, shutil.get_terminal_size().lines - 3)
        lines = [self._line(state, course) for state, course in rows[:room]]
        more = [f"  and {len(rows) - room} more"] if len(rows) > room else []
        return [self.head(), *lines, *more]

    def _line(self, state: str, course: Course) -> str:
        step = f"step {course.step}/{course.run.config.steps}"
        wide = max(len(axes.text(course.values)) for course in self.courses)
        text = (
            f"  {axes.text(course.values):<{wide}}  {state:<{len(RUNNING)}}  {step}  {self._number(course)}"
        )
        return text.rstrip()

    def _number(self, course: Course) -> str:
        metric = self.metric or default_metric(course.newest)
        value = course.newest.get(metric)
        return f"{metric} {value:.3f}" if value is not None else ""


def in_words(seconds: float) -> str:
    """12 s, 4 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
