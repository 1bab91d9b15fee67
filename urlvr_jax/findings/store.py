"""Runs of findings: those on file by configuration and base, whichever finding made them; those missing, made."""

from __future__ import annotations

import math
import pathlib

from urlvr_jax.findings.finding import Finding, Line, Runs
from urlvr_jax.findings.table import FINDINGS
from urlvr_jax.measure import collapse, votes
from urlvr_jax.measure.record import RunRecord, by_step
from urlvr_jax.studies.cell import Cell, read_runs, root
from urlvr_jax.studies.run import condense, run_missing

FEW = 64  # questions whose paths are kept
THIN = 8  # steps between points of the short curves; `curves` has every step
CURVES = {  # kept of every step, to three digits
    "own_reward": "reward/mean",
    "truth": collapse.TRUTH,
    "reward_accuracy": collapse.VOTES,
    "label_accuracy": "train/ensemble/label_accuracy",
    "majority_ratio": "train/ensemble/majority_ratio",
    "no_answer": "train/ensemble/no_answer",
    "length": "response_length/mean",
    "cut": "response_length/clip_ratio",
    "repetition": "repetition_rate",
    "entropy": "actor/entropy",
    "kl": "actor/kl",
    "base_nll": "base/majority_nll",
    "distinct": "votes/distinct",
    "commonest": "votes/commonest",
    "answers": "votes/answers",
    "halves_agree": "votes/halves_agree",
    "flips": "votes/flips",
    "locked": "votes/locked",
    "turned": "votes/turned",
    "kept": "votes/kept",
    "anchors": "anchors/lost",
    "anchors_change": "anchors/logp_change",
    "tokens": "perf/rollout_tokens",
}


def folder() -> pathlib.Path:
    return root() / "docs" / "findings"


def on_file() -> list[dict]:
    """The lines of all findings, those of attempts before, and those of the studies that F12 stands on."""
    mine = sorted([*folder().glob("F*.jsonl"), *folder().glob("earlier/F*.jsonl")])
    files = [*mine, *(root() / "docs" / study / "runs.jsonl" for study in ("countdown", "judges"))]
    return [line for file in files for line in read_runs(file)]


def find(finding: Finding, name: str, seed: int, lines: list[dict]) -> dict | None:
    """The line of an arm and a seed, whichever finding made it."""
    cell, curves = finding.cell(name, seed), finding.arms[name].curves
    fits = lambda line: cell.has(line) and all(curve in line.get("curves", {}) for curve in curves)
    hash = cell.hash
    return next((line for line in lines if line["config_hash"] == hash and fits(line)), None)


def by_seed(finding: Finding, seeds, lines: list[dict]) -> dict[int, Runs]:
    """{seed: {arm: line}} of the seeds whose runs are all on file."""
    found = {seed: {name: find(finding, name, seed, lines) for name in finding.arms} for seed in seeds}
    whole = {seed: runs for seed, runs in found.items() if None not in runs.values()}
    return {seed: {name: Line(line) for name, line in runs.items()} for seed, runs in whole.items()}


def missing(finding: Finding, seeds, lines: list[dict]) -> list[Cell]:
    """Arms and seeds without a line."""
    return [
        finding.cell(name, seed)
        for name in finding.arms
        for seed in seeds
        if find(finding, name, seed, lines) is None
    ]


def run(finding: Finding, seeds, jobs: int) -> None:
    """Make what is missing of a finding; what another finding's file has is not made again."""
    run_missing(missing(finding, seeds, on_file()), folder() / f"{finding.name}.jsonl", jobs, line_of=line)


def line(record: RunRecord, cell: Cell) -> dict:
    """A run's folder -> its line: findings, every step of CURVES, every evaluation, questions' visits, rules in force."""
    out = condense(record, cell, THIN)
    steps = range(1, out["steps"] + 1)
    out["curves"] = {}
    for name, metric in CURVES.items():
        known = by_step(record.lines, metric)
        if known:
            out["curves"][name] = [short(known[s]) if s in known else None for s in steps]
    out["sets"] = sets(record.evals)
    out |= visits(record.votes)
    out["minutes"] = round(
        sum(x["timing_s/step"] + x.get("timing_s/eval", 0) for x in record.lines if "timing_s/step" in x)
        / 60,
        2,
    )
    out["rules"] = {name: finding.digest() for name, finding in FINDINGS.items()}
    return out


def visits(lines: list[dict]) -> dict:
    """Of questions that are visited at every step, FEW at most, how the share of the first majority went; else nothing.

    `paths`: how many rollouts gave the first visit's majority answer, a row a question; `majority_kept`: whether the last
    visit's majority is the first's. Answers beyond the most frequent of a line count as not given.
    """
    ids = lines[0]["id"] if lines else []
    if not 0 < len(set(ids)) <= FEW or any(set(line["id"]) != set(ids) for line in lines):
        return {}
    of = [dict(zip(line["id"], line["votes"], strict=True)) for line in lines]
    first = {i: votes.majority_of(of[0][i]) for i in dict.fromkeys(ids)}
    known = [i for i, answer in first.items() if answer is not None]
    return {
        "group": lines[0]["group"],
        "paths": [[step[i].get(first[i], 0) for step in of] for i in known],
        "majority_kept": [votes.majority_of(of[-1][i]) == first[i] for i in known],
    }


def sets(evals: list[dict]) -> dict[str, dict]:
    """{question file: steps, and at each avg@k, maj@k and pass@k}."""
    out: dict[str, dict] = {}
    for e in evals:
        one = out.setdefault(e["set"], {"k": e["k"], "steps": [], "avg": [], "maj": [], "pass": []})
        one["steps"].append(e["step"])
        one["avg"].append(round(sum(e["correct"]) / len(e["correct"]) / e["k"], 4))
        one["pass"].append(round(sum(x > 0 for x in e["correct"]) / len(e["correct"]), 4))
        one["maj"].append(round(sum(e["majority"]) / len(e["majority"]), 4))
    return out


def short(value: float) -> float:
    """Three digits that count, as few characters as say them."""
    if value == 0:
        return 0
    rounded = round(value, min(5, 2 - math.floor(math.log10(abs(value)))))
    return int(rounded) if rounded == int(rounded) else rounded
