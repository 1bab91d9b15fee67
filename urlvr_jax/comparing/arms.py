"""Run folders as arms: runs that differ by their seed alone, and the scores of their evaluations."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from urlvr_jax import config as config_lib
from urlvr_jax.comparing.aggregates import pass_at
from urlvr_jax.errors import UserError
from urlvr_jax.measure import drawing
from urlvr_jax.measure.collapse import peak_step
from urlvr_jax.measure.record import RunRecord, by_step, is_number
from urlvr_jax.untrusted import json_text

BASE = "base"  # the policy before training: each run's evaluation at step 0
LAST, END, PEAK = "last", "end", "peak"
MOST_RUNS = 1000
ALL, ODD = slice(None), slice(1, None, 2)  # questions by position


class Run(NamedTuple):
    """A run's folder, and its configuration with defaults for keys that came later."""

    record: RunRecord
    config: dict  # {dotted key: value}

    @property
    def seed(self) -> int:
        return self.config["seed"]

    @property
    def step(self) -> int:
        """The last that it made."""
        return self.record.lines[-1]["step"] if self.record.lines else 0

    @property
    def done(self) -> bool:
        """Whether it came to its end: its last step, or an end by `collapse`."""
        return bool(self.record.attempt.get("finished")) or self.step >= self.config["steps"]

    @property
    def peak(self) -> int | None:
        """The best evaluation of its first set, chosen on even questions; None of a run not evaluated after its base."""
        evals = self.record.first_set()
        return peak_step(evals) if len({e["step"] for e in evals}) > 1 else None

    def evaluated(self, name: str) -> dict[int, dict]:
        """{step: line of evals.jsonl} of a question set; of several the last in the file."""
        return {e["step"]: e for e in self.record.evals if e["set"] == name}

    def spent(self, step: int) -> tuple[float, float]:
        """Tokens sampled and seconds until a step."""
        made = lambda name: by_step(self.record.lines, name).items()
        total = lambda name: float(sum(value for at, value in made(name) if at <= step))
        return total("perf/rollout_tokens"), total("timing_s/step")


class Arm(NamedTuple):
    """Runs of one configuration but for the seed, in the order of seeds."""

    name: str
    runs: list[Run]

    @property
    def config(self) -> dict:
        return self.runs[0].config

    @property
    def seeds(self) -> list[int]:
        return [run.seed for run in self.runs]


class Scores(NamedTuple):
    """What an arm's runs score on a question set, float64 `[S, Q]` each, and at which steps."""

    avg: np.ndarray  # share of the responses that are right
    maj: np.ndarray  # whether the majority answer is right
    correct: np.ndarray  # responses that are right, of k
    k: int
    steps: list[int]

    def pass_at(self, k: int) -> np.ndarray:
        return pass_at(self.correct, self.k, k)


def folders_of(words: Iterable[str]) -> list[pathlib.Path]:
    """The run folders that are given, and those that lie in the folders that are given. UserError for one without any."""
    out: dict[pathlib.Path, None] = {}
    for word in words:
        folder = pathlib.Path(word)
        if not folder.is_dir():
            raise UserError(f"{word} is no folder: give run folders, or a folder of runs such as a sweep's")
        found = (
            [folder] if config_lib.is_run(folder) else sorted(filter(config_lib.is_run, folder.iterdir()))
        )
        if not found:
            raise UserError(
                f"{word} is no run's folder and has none in it: a run's has config.json and record.json"
            )
        out |= dict.fromkeys(found)
    if len(out) > MOST_RUNS:
        raise UserError(f"{len(out)} runs are too many: give at most {MOST_RUNS}")
    return list(out)


def opened(folder: pathlib.Path) -> Run:
    """UserError where a file of the folder is broken, which is then named."""
    record, config = RunRecord(folder), config_lib.flat(config_lib.recorded(folder))
    attempts = json_text.read(folder / "record.json", UserError).get("attempts")
    if not isinstance(attempts, list) or not attempts or not all(isinstance(a, dict) for a in attempts):
        raise UserError(f"{folder / 'record.json'} has no list of attempts: it is no record of a run")
    if not (folder / "metrics.jsonl").is_file():
        raise UserError(f"{folder / 'metrics.jsonl'} is missing")
    for line in (*record.lines, *record.evals, *record.votes):
        if not isinstance(line.get("step"), int):
            raise UserError(f"{folder}: a line has no step: {line!s:.80}")
    for e in record.evals:
        if not _is_evaluation(e):
            raise UserError(f"{folder / 'evals.jsonl'}: a line is no evaluation: {e!s:.80}")
    return Run(record, config)


def _is_evaluation(e: dict) -> bool:
    lists = [e.get("correct"), e.get("majority")]
    counts = all(isinstance(x, list) and x and all(map(is_number, x)) for x in lists)
    return (
        counts
        and isinstance(e.get("set"), str)
        and isinstance(e.get("k"), int)
        and len(lists[0]) == len(lists[1])
    )


def arms_of(runs: Iterable[Run]) -> list[Arm]:
    """In the order of their first run, named by the keys that tell them apart. UserError for a seed that is there twice."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(config_lib.config_hash(run.config | {"seed": 0}), []).append(run)
    names = _names([group[0].config for group in groups.values()])
    out = []
    for name, group in zip(names, groups.values(), strict=True):
        group.sort(key=lambda run: run.seed)
        for one, other in zip(group, group[1:], strict=False):
            if one.seed == other.seed:
                raise UserError(
                    f"{one.record.path} and {other.record.path} have one configuration and seed {one.seed}: "
                    "leave one out, it says nothing new"
                )
        out.append(Arm(name, group))
    return out


def differences(configs: list[dict]) -> dict[str, list]:
    """{key: its value in each configuration}, of the keys that say what is computed, but the seed, and differ."""
    how = config_lib.marked("how") | {"seed"}
    values = {key: [c[key] for c in configs] for key in configs[0] if key not in how}
    return {key: row for key, row in values.items() if any(value != row[0] for value in row)}


def _names(configs: list[dict]) -> list[str]:
    """What tells each configuration from the others, no two the same; alone, its reward."""
    rewards = [c["reward.fn"].rpartition(":")[2] or c["reward.name"] for c in configs]
    text = lambda key, value: f"{key}={drawing.name(drawing.number(value), 24)}"
    names = [
        drawing.name(reward) for reward in rewards
    ]  # what else differs stands in the table of differences
    if len(set(rewards)) < len(configs):
        apart = differences(configs)
        names = [", ".join(text(key, row[i]) for key, row in apart.items()) for i in range(len(configs))]
    names = [f"arm {name}" if name.startswith(BASE) else drawing.name(name, 80) for name in names]
    seen: dict[str, int] = {}
    for i, name in enumerate(names):
        seen[name] = seen.get(name, 0) + 1
        names[i] = f"{name} ({seen[name]})" if seen[name] > 1 else name
    return names


def having(arms: list[Arm], name: str) -> list[Arm]:
    """The arms, of each the runs that have evaluated a set; without those that have none."""
    out = [arm._replace(runs=[run for run in arm.runs if run.evaluated(name)]) for arm in arms]
    return [arm for arm in out if arm.runs]


def sizes_of(arms: list[Arm], name: str) -> set[int]:
    """How many questions of a set were asked: one number, if all evaluations are of the same."""
    return {len(e["correct"]) for arm in arms for run in arm.runs for e in run.evaluated(name).values()}


def file_of(run: Run, name: str) -> str:
    """Where a run's configuration says that a question set stands; "" where that cannot be told."""
    names = list(dict.fromkeys(e["set"] for e in run.record.evals))
    files = run.config["eval.sets"]
    return dict(zip(names, files, strict=True)).get(name, "") if len(names) == len(files) else ""


def common_step(arms: list[Arm], name: str) -> int | None:
    """The latest step at which every run has evaluated a set; None without any after the base's."""
    steps = set.intersection(*(set(run.evaluated(name)) for arm in arms for run in arm.runs))
    return max(steps, default=0) or None


def scores(arm: Arm, name: str, at: int | str, part: slice = ALL) -> Scores:
    """Of a set's questions, or a part of them, at a step, or at each run's "end" or "peak".

    A peak is chosen on the questions of even position: only those of odd position, ODD, tell how high it is. UserError
    where a run has no evaluation at the step, or another number of responses than the others.
    """
    lines = []
    for run in arm.runs:
        known = run.evaluated(name)
        step = max(known) if at == END else peak_step(list(known.values())) if at == PEAK else at
        if step not in known:
            raise UserError(
                f"{run.record.path} has no evaluation of {name} at step {step}: it has {_few(sorted(known))}"
            )
        lines.append(known[step])
    ks = {line["k"] for line in lines}
    if len(ks) > 1:
        raise UserError(
            f"{arm.name}: its runs were evaluated with {sorted(ks)} responses a question of {name}"
        )
    (k,) = ks
    stacked = lambda key: np.array([line[key][part] for line in lines], np.float64)
    correct = stacked("correct")
    return Scores(correct / k, stacked("majority"), correct, k, [line["step"] for line in lines])


def _few(steps: list[int]) -> str:
    return ", ".join(map(str, steps if len(steps) < 9 else [*steps[:4], "...", *steps[-3:]]))


def late_mean(run: Run, name: str, until: int) -> float | None:
    """Mean of a metric over the last tenth of the steps until one, at least over one; None where it has none there."""
    first = until - max(1, until // 10)
    steps, values = run.record.curve(name)
    late = [value for step, value in zip(steps, values, strict=True) if first < step <= until]
    return float(np.mean(late)) if late else None
