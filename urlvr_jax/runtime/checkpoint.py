"""Checkpoints: Orbax, asynchronous and atomic, the latest ones and the best one kept.

What is saved is {params, opt_state, updates} as plain dictionaries, and the step; of params what is trained, so
that adapters come without their base. Everything else a run needs is a function of (seed, step). Resuming takes the LATEST step, never the best: a collapsed
run resumed at its peak would not be the same run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import math
import os
import pathlib
import sys
import time
from collections.abc import Callable

import jax
import orbax.checkpoint as ocp
from flax import serialization
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN, PreservationPolicy

from urlvr_jax.config import LOOKBACK
from urlvr_jax.errors import UserError
from urlvr_jax.learning.step import TrainState
from urlvr_jax.models import lora
from urlvr_jax.runtime import bucket, hosts, terminal
from urlvr_jax.runtime.barrier import Barrier, SaveError
from urlvr_jax.runtime.paths import require_plain
from urlvr_jax.runtime.quiet import quiet_orbax
from urlvr_jax.runtime.terminal import say


class CheckpointError(UserError):
    """No checkpoint could be used; the message says which were tried."""


SWEEP_SECONDS = 5.0
ELSEWHERE = str(SaveError())
NO_SPACE = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


def _short(error: BaseException) -> str:
    """An error of a library, in a part of a line; of a full disk, that it is full."""
    while isinstance(error, SaveError) and (error.__cause__ or error.__context__):
        error = error.__cause__ or error.__context__  # the one on this process, which came before
    text = " ".join(str(error).split())
    return next((words for words in NO_SPACE if words in text), text[:200]) or type(error).__name__


def _cause(said: list[str]) -> str:
    """Of what each process says of a save or a checkpoint, what went wrong, and where; empty if nothing."""
    text, number = max(
        zip(said, range(len(said)), strict=True), key=lambda one: (bool(one[0]), one[0] != ELSEWHERE)
    )
    return f"{text}, on process {number}" if text and len(said) > 1 else text


def saved(state: TrainState) -> TrainState:
    """The part of a state, or of its shapes or layouts, that a checkpoint has."""
    return state._replace(params=lora.trained(state.params))


@dataclasses.dataclass
class BeforeOnset(PreservationPolicy):
    """Keeps the latest checkpoint before a collapse's onset: until it is known, every one that may be that."""

    early: object = None  # measure.warning.EarlyWarning, once a run has one

    def should_preserve(self, checkpoints, *, context):
        steps = [c.step for c in checkpoints]
        if not self.early or not self.early.on or not steps:
            return [False] * len(steps)
        alarm = self.early.alarm
        since = alarm.onset if alarm else steps[-1] - LOOKBACK
        before = max((s for s in steps if s < since), default=None)
        return [s == before or (not alarm and s >= since) for s in steps]


class Checkpoints:
    """The checkpoints of one workdir, on a disk or in a bucket. Raises PathError, see `require_plain`."""

    def __init__(
        self,
        folder: pathlib.Path,
        keep: int,
        warn: Callable[[str], None] = terminal.warn,
        *,
        read_only: bool = False,
    ):
        quiet_orbax()
        if not bucket.is_in(folder):
            require_plain(folder)
            folder = pathlib.Path(folder).resolve()
        self.folder = bucket.place(folder)
        self.keep = keep
        self.warn = warn
        self.failed = 0
        self.saving = None  # the step of the save under way
        self.before_onset = BeforeOnset()
        self.read_only = read_only  # for looking at a run that may be under way: nothing is touched
        self._open()

    def _open(self):
        if not self.read_only:
            hosts.one(self._remove_torn)
        score = lambda metrics: metrics["score"]
        best = BestN(get_metric_fn=score, n=1, keep_checkpoints_without_metrics=False)
        self.manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=AnyPreservationPolicy([LatestN(self.keep), best, self.before_onset]),
                best_fn=score,  # without it scores are not written, and forgotten by a resume
                cleanup_tmp_directories=not self.read_only,
                create=not self.read_only,
                read_only=self.read_only,
                async_options=ocp.AsyncOptions(barrier_sync_fn=None if hosts.alone() else Barrier()),
            ),
            # Said, not guessed: one empty step folder would make Orbax misread all of them.
            item_handlers=ocp.StandardCheckpointHandler(),
        )

    def _remove_torn(self) -> None:
        for file in self.folder.glob("*/metrics/metrics"):
            try:
                json.loads(file.read_text())
            except ValueError:  # torn: Orbax would not open the whole folder
                file.unlink()

    def keep_before(self, early) -> None:
        """Keep the latest checkpoint before the onset that an EarlyWarning may find."""
        self.before_onset.early = early

    def text_before(self, alarm) -> str:
        """Which checkpoint is from before the onset of an alarm."""
        before = max((s for s in self._steps() if s < alarm.onset), default=None)
        onset = f"collapse since about step {alarm.onset} ({alarm.detector}): "
        if before is None:
            return f"{onset}no checkpoint is from before it; the base is, and checkpoint.every makes more"
        return f"{onset}checkpoint {before} is from before it: --model {self.folder.parent} --step {before}"

    def save(self, step: int, state: TrainState, score: float | None) -> None:
        """Begin saving; returns once the values are copied. `score` ranks for the best one kept.

        A failure (a full disk, say) is said, counted and survived: older checkpoints stay as they are.
        """
        tree = serialization.to_state_dict(saved(state)._asdict())
        metrics = {"score": -math.inf if score is None else float(score)}
        self.wait()
        self.saving = step
        self._try(lambda: self.manager.save(step, args=ocp.args.StandardSave(tree), metrics=metrics))

    @contextlib.contextmanager
    def kept(self, workdir, step: int, state: TrainState, score: float | None):
        """If the user's own code or data fails within, the state so far is saved, as a signal saves it."""
        try:
            yield
        except UserError:
            if step and self.latest() != step:
                workdir.sync()
                self.save(step, state, score)
            self.close()
            if step and self.latest() == step:
                say(
                    f"the state after step {step} is saved: --workdir {workdir.name} goes on from there",
                    stream=sys.stderr,
                )
            raise

    def wait(self) -> None:
        """Until the save under way is on disk, or has failed and is counted."""
        if self.saving is not None:
            self._try(self.manager.wait_until_finished)
            self.saving = None

    def _try(self, part) -> None:
        """A part of a save, which has failed on every process where it has on one."""
        try:
            part()
            mine = ""
        except Exception as error:  # noqa: BLE001  whatever Orbax or the file system raises
            mine = _short(error)
        if said := _cause(hosts.gather_small(mine)):
            self._lost(said)

    def _lost(self, said: str) -> None:
        self.failed += 1
        if hosts.is_writer():
            self.warn(
                f"checkpoint {self.saving} could not be written: {said}; latest good: {self.latest()}"
            )
        self.saving = None
        hosts.one(self._sweep)
        self._open()  # a manager whose background thread failed does not recover

    def _sweep(self) -> None:
        """Remove what a failed save left. Its threads may still be writing: until nothing comes back."""
        quiet = 0
        deadline = time.monotonic() + SWEEP_SECONDS
        while quiet < 3 and time.monotonic() < deadline:
            leftovers = list(self.folder.glob("*orbax-checkpoint-tmp*"))
            for leftover in leftovers:
                with contextlib.suppress(OSError):
                    leftover.rmtree()
            quiet = 0 if leftovers else quiet + 1
            time.sleep(0.05)

    def latest(self) -> int | None:
        return max(self._steps(), default=None)

    def _steps(self) -> list[int]:
        """Of what is whole: in a bucket folders are not renamed when they are, as on a disk, but marked."""
        found = [p for p in self.folder.iterdir() if p.name.isdigit()]
        if bucket.is_in(self.folder):
            found = [p for p in found if ocp.utils.is_checkpoint_finalized(p)]
        return [int(p.name) for p in found]

    def restore(
        self, shapes: TrainState, layout: TrainState, step: int | None = None
    ) -> tuple[TrainState, int] | None:
        """The latest readable state and its step, or None where no checkpoint was ever finished.

        An unreadable one is set aside under `broken-<step>` and the one before is taken; if none is
        left, CheckpointError.
        """
        target = jax.tree.map(
            lambda s, where: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where),
            saved(shapes),
            saved(layout),
        )
        abstract = serialization.to_state_dict(target._asdict())
        tried = []
        steps = sorted(self.manager.all_steps(), reverse=True)
        if step is not None and step not in steps:
            raise CheckpointError(
                f"{self.folder}: no checkpoint of step {step} (--step); there are {steps}"
            )
        for found in steps if step is None else [step]:
            try:
                tree = self.manager.restore(found, args=ocp.args.StandardRestore(abstract))
                mine = ""
            except Exception as error:  # truncated, missing files, wrong tree
                if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
                    raise  # nothing is wrong with the checkpoint
                mine = _short(error)
            if said := _cause(hosts.gather_small(mine)):
                if hosts.is_writer():
                    self.warn(f"checkpoint {found} is unreadable ({said}); trying the one before")
                tried.append(found)
                continue
            if not self.read_only:
                self._set_aside(tried)
            return TrainState(**serialization.from_state_dict(target._asdict(), tree)), found
        if tried:
            raise CheckpointError(
                f"{self.folder}: none of the checkpoints {tried} can be read; move the folder away to "
                "start again from step 0"
            )
        return None

    def _set_aside(self, steps) -> None:
        if steps:
            hosts.one(lambda: [self._rename(step) for step in steps])
            self._open()

    def _rename(self, step: int) -> None:
        aside = self.folder / f"broken-{step}"
        if aside.exists():  # the same step may break twice
            aside.rmtree()
        (self.folder / str(step)).rename(aside)

    def close(self) -> None:
        """Wait for the save under way; what was lost in all is said."""
        self.wait()
        self.manager.close()
        if self.failed and hosts.is_writer():
            self.warn(
                f"{self.failed} checkpoints could not be written, the latest good is {self.latest()}: free some space "
                "and run the same command with --workdir to make the steps after it again"
            )
