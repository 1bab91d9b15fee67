"""What the README and the experiments' texts say of their results, from the files of runs in docs.

    python benchmarks/experiments_table.py check             list rows without fresh runs and stale texts; exit status 1 if any
    python benchmarks/experiments_table.py write             write the texts anew
    python benchmarks/experiments_table.py run [--jobs 2]    make the runs that no study makes: docs/experiments/runs.jsonl

A row is an experiment at its defaults under three seeds. A run is its own if it has the hash of that configuration,
and of the base that ships; docs/grid and docs/countdown are looked through too.
"""

from __future__ import annotations

import argparse
import re
import sys

from urlvr_jax.studies import run as studies
from urlvr_jax.studies.run import ROOT, Cell, spread

README = ROOT / "README.md"
RUNS = ROOT / "docs" / "experiments" / "runs.jsonl"
SEEDS = (0, 1, 2)
ROWS = (
    "experiments/selfcert.py",
    "experiments/token_entropy.py",
    "experiments/trajectory_entropy.py",
    "experiments/probability.py",
    "experiments/majority.py",
    "experiments/co_reward.py",
    "experiments/countdown.py",
    "experiments/countdown.py:trajectory_level_entropy",
    "experiments/countdown.py:countdown",
    "experiments/ground_truth.py",
    "experiments/random_reward.py",
    "experiments/format_reward.py",
    "experiments/length_reward.py",
)
BEGIN, END = (
    "<!-- experiments: written by benchmarks/experiments_table.py -->",
    "<!-- end of experiments -->",
)
HEAD = ("paper", "reward", "experiment", "rate", "what it does", "base", "peak", "end", "tokens")
EXPECT = re.compile(r"Expect \(seed \d+, held-out accuracy\): .*?tokens\.", re.S)


def cells(experiment: str) -> list[Cell]:
    return [Cell(experiment, seed, (("experiment", experiment),)) for seed in SEEDS]


def read_runs() -> list[dict]:
    return [line for file in sorted((ROOT / "docs").glob("*/runs.jsonl")) for line in studies.read(file)]


def found(runs: list[dict]) -> dict[str, list[dict | None]]:
    """{experiment: its run of each seed, None where there is none that is fresh}."""
    own = lambda cell: next((r for r in runs if cell.has(r)), None)
    return {experiment: [own(cell) for cell in cells(experiment)] for experiment in ROWS}


def course(held: dict) -> str:
    """What held-out accuracy did, as far as its 95 % intervals tell."""
    rose, fell = held["rise"]["low"] > 0, held["fall"]["high"] < 0
    return "rises, then falls" if rose and fell else "rises" if rose else "falls" if fell else "stays"


def row(experiment: str, runs: list[dict]) -> str:
    c = studies.configuration(experiment)
    reward = studies.reward_of(c)
    file, _, argument = experiment.partition(":")
    name = file.removeprefix("experiments/")
    courses = [course(r["held_out"]) for r in runs]
    most = max(courses, key=courses.count)
    seeds = (
        "" if courses.count(most) == len(courses) else f" ({courses.count(most)} of {len(courses)} seeds)"
    )
    of = lambda key: spread([r["held_out"][key] for r in runs])
    middle = lambda values: sorted(values)[len(values) // 2]
    tokens = [middle([r["length"][0] for r in runs]), middle([r["length_last"] for r in runs])]
    link = f"[`{name}`]({file})" + (f" `:{argument}`" if argument else "")
    rate = f"{c.optim.lr:.0e}".replace("e-0", "e-")
    return " | ".join(
        (f"| {reward.papers}", f"`{c.reward.name}`", link, rate, most + seeds, of("base"), of("peak"), of("final"),
         f"{tokens[0]:.0f} → {tokens[1]:.0f} |")
    )  # fmt: skip


def expectation(run: dict) -> str:
    held = run["held_out"]
    return (
        f"Expect (seed {run['seed']}, held-out accuracy): base {held['base']:.2f}, best {held['peak']:.2f} at\n"
        f"step {held['peak_step']}, {held['final']:.2f} at the end; responses from {run['length'][0]:.0f} to "
        f"{run['length_last']:.0f} tokens."
    )


def texts() -> dict:
    """{file: what it should say} of the README and the experiments; a row without all its runs is left out."""
    out, rows = {}, []
    for experiment, runs in found(read_runs()).items():
        if None in runs:
            continue
        rows.append(row(experiment, runs))
        file = ROOT / experiment
        if file.is_file() and EXPECT.search(text := file.read_text()):
            out[file] = EXPECT.sub(lambda m, runs=runs: expectation(runs[0]), text)
    table = "\n".join([f"| {' | '.join(HEAD)} |", "|" + " --- |" * len(HEAD), *rows])
    before, begin, rest = README.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{README} lacks the lines {BEGIN!r} and {END!r}, between which the table goes")
    return {README: f"{before}{BEGIN}\n{table}\n{END}{after}", **out}


def stale_rows() -> list[str]:
    lines = []
    for experiment, runs in found(read_runs()).items():
        missing = [str(seed) for seed, run in zip(SEEDS, runs, strict=True) if run is None]
        if missing:
            lines.append(
                f"{experiment}: no run of this configuration and base for seed {', '.join(missing)}"
            )
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("check", "write", "run"))
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    if given.what == "run":
        elsewhere = [r for f in (ROOT / "docs").glob("*/runs.jsonl") if f != RUNS for r in studies.read(f)]
        own = [c for e in ROWS for c in cells(e) if not any(c.has(r) for r in elsewhere)]
        studies.run_missing([c for c in own if "countdown" not in c.experiment], RUNS, given.jobs)
        return 0
    rows = stale_rows()
    for line in rows:
        print(f"stale row: {line}")
    changed = {file: text for file, text in texts().items() if file.read_text() != text}
    for file, text in changed.items():
        print(f"{'wrote' if given.what == 'write' else 'stale text:'} {file.relative_to(ROOT)}")
        if given.what == "write":
            file.write_text(text)
    print(f"{len(ROWS) - len(rows)} of {len(ROWS)} rows have their runs; {len(changed)} texts "
          f"{'written' if given.what == 'write' else 'are stale'}")  # fmt: skip
    return 1 if rows or (changed and given.what == "check") else 0


if __name__ == "__main__":
    sys.exit(main())
