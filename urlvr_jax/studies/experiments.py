"""What the README, docs/experiments and the experiments' own texts say of results, from the runs on file.

    python -m urlvr_jax.main study experiments run      make the runs that no other study makes
    python -m urlvr_jax.main study experiments check    list rows without fresh runs and stale texts; exit status 1 if any
    python -m urlvr_jax.main study experiments write    write the texts anew

A row is an experiment under three seeds. Its runs are those with the hash of its configuration and of the base that
ships, whichever study made them.
"""

from __future__ import annotations

import pathlib
import re
import shlex
from typing import NamedTuple

from urlvr_jax.errors import UserError
from urlvr_jax.measure import drawing
from urlvr_jax.measure.intervals import spread
from urlvr_jax.rewards import expression
from urlvr_jax.studies import experiments_figure, page
from urlvr_jax.studies.cell import Cell, read_runs, root
from urlvr_jax.studies.run import condense, run_missing

SEEDS = (0, 1, 2)
COUNTDOWN = "experiments/countdown.py"
CHECKER = f"{COUNTDOWN}:checker"  # its runs are those of the study of judges
GDPO = "group_z(majority_voting) + group_z(self_certainty)"
INTEGRATION = "experiments/integration.py"
VARIANTS = "experiments/variants.py"
BEGIN, END = (
    "<!-- experiments: written by `python -m urlvr_jax.main study experiments write` -->",
    "<!-- end of experiments -->",
)
EXPECT = re.compile(r"Expect \(seed \d+, held-out accuracy\): .*?tokens\.", re.S)


class Row(NamedTuple):
    """An experiment, and the keys it is given beside those of its file."""

    file: str
    overrides: dict[str, object] = {}

    @property
    def flags(self) -> str:
        return " ".join(f"--config.{key}={_quoted(str(value))}" for key, value in self.overrides.items())

    @property
    def name(self) -> str:
        return f"{self.file} {self.flags}".strip()

    def cells(self) -> list[Cell]:
        return [Cell(self.file, seed, self.overrides, {"experiment": self.name}) for seed in SEEDS]


def _quoted(value: str) -> str:
    """For a shell; a value with single quotes in double ones, which is easier to read than what shlex gives."""
    return f'"{value}"' if "'" in value and not set(value) & set('"$`\\!') else shlex.quote(value)


ROWS = (
    Row("experiments/selfcert.py"),
    Row("experiments/selfcert.py", {"reward.name": "self_certainty(scorer='base')"}),
    Row("experiments/token_entropy.py"),
    Row("experiments/trajectory_entropy.py"),
    Row("experiments/probability.py"),
    Row("experiments/majority.py"),
    Row("experiments/majority.py", {"reward.name": "majority_voting(above=0.5)"}),
    Row("experiments/majority.py", {"reward.name": "scrl"}),
    Row("experiments/majority.py", {"reward.name": "snr"}),
    Row("experiments/majority.py", {"reward.name": GDPO, "advantage.name": "dr_grpo"}),
    Row("experiments/covo.py"),
    Row("experiments/covo.py", {"reward.name": "covo + 0.1*curiosity"}),
    Row("experiments/co_reward.py"),
    Row("experiments/co_reward.py", {"reward.name": "self_harmony"}),
    Row("experiments/rlccf.py"),
    Row("experiments/dupo.py"),
    Row("experiments/dupo.py", {"verify.judge": "base"}),
    Row("experiments/dupo.py", {"reward.name": "majority_voting", "verify.dual": ""}),
    Row(COUNTDOWN),
    Row(COUNTDOWN, {"reward.name": "trajectory_level_entropy"}),
    Row(COUNTDOWN, {"reward.name": "countdown"}),
    Row(CHECKER, {"steps": 120}),
    Row(CHECKER, {"reward.name": "trajectory_level_entropy", "steps": 120}),
    Row(CHECKER, {"reward.name": "countdown", "steps": 120}),
    Row(CHECKER, {"reward.name": "coverrl", "verify.votes": 4, "verify.train": "majority"}),
    Row("experiments/programs.py"),
    Row("experiments/programs.py", {"reward.name": "majority_voting"}),
    Row("experiments/python_tasks.py"),
    Row("experiments/python_tasks.py", {"reward.name": "majority_voting"}),
    Row("experiments/unit_tests.py"),
    Row(INTEGRATION),
    Row(INTEGRATION, {"reward.name": "majority_voting"}),
    Row(VARIANTS),
    Row(VARIANTS, {"data.train": "lab:integration_hard"}),
    Row("experiments/self_distillation.py"),
    Row("experiments/rlp.py"),
    Row("experiments/rlp.py", {"continuation.corpus": "lab:sums_wrong"}),
    Row("experiments/rlp.py", {"reward.name": "rlpr"}),
    Row("experiments/rlp.py", {"reward.name": "rlpr", "continuation.corpus": "lab:sums_wrong"}),
    Row("experiments/rlp.py", {"reward.name": "rpt"}),
    Row("experiments/rlp.py", {"reward.name": "rlpt"}),
    Row("experiments/ground_truth.py"),
    Row("experiments/majority.py", {"reward.name": "zero_wrong_majority"}),
    Row("experiments/random_reward.py"),
    Row("experiments/format_reward.py"),
    Row("experiments/length_reward.py"),
)


def runs_on_file() -> list[dict]:
    """Of every study."""
    return [line for file in sorted((root() / "docs").glob("*/runs.jsonl")) for line in read_runs(file)]


def runs_of(row: Row, lines: list[dict]) -> list[dict | None]:
    """The row's run of each seed, None where there is none that is fresh."""
    return [next((line for line in lines if cell.has(line)), None) for cell in row.cells()]


# ---- texts ----------------------------------------------------------------------------------


def course(held: dict) -> str:
    """What held-out accuracy did, as far as its 95 % intervals tell."""
    rose = held["rise"]["low"] > 0
    fell = held["fall"]["high"] < 0
    return "rises, then falls" if rose and fell else "rises" if rose else "falls" if fell else "stays"


def courses(runs: list[dict]) -> str:
    """What most seeds did, and how many where not all."""
    each = [course(r["held_out"]) for r in runs]
    most = max(each, key=each.count)
    count = each.count(most)
    return most if count == len(each) else f"{most} ({count} of {len(each)} seeds)"


def median(values: list):
    return sorted(values)[len(values) // 2]


def link(row: Row, up: str = "") -> str:
    name = row.file.removeprefix("experiments/")
    return f"[`{name}`]({up}{row.file.partition(':')[0]})" + (f" `{row.flags}`" if row.overrides else "")


def short_row(row: Row, runs: list[dict]) -> tuple[str, ...]:
    """For the README."""
    accuracy = [f"{median([r['held_out'][key] for r in runs]):.2f}" for key in ("base", "peak", "final")]
    return reward_of(row.cells()[0].config), link(row), courses(runs), " → ".join(accuracy)


def reward_of(c) -> str:
    """Its name, as code; supervised mode has none."""
    return "none: imitation" if c.mode == "supervised" else f"`{c.reward.name}`"


def papers(c) -> str:
    """Where a reward is from, or each term of a sum; its normalisers first."""
    if c.mode == "supervised":
        return "SSD, simple self-distillation (2604.01193)"
    fn = expression.load(c.reward.name)
    terms = fn.terms if isinstance(fn, expression.Sum) else ()
    around = [expression.NORMALISERS[t.normaliser] for t in terms if t.normaliser]
    found = [f.about.papers for f in (*around, *(t.fn for t in terms))] or [fn.about.papers]
    return "; ".join(dict.fromkeys(found))


def wide_row(row: Row, runs: list[dict]) -> tuple[str, ...]:
    """For docs/experiments."""
    c = row.cells()[0].config
    accuracy = [spread([r["held_out"][key] for r in runs]) for key in ("base", "peak", "final")]
    first = median([r["length"][0] for r in runs])
    last = median([r["length_last"] for r in runs])
    return (
        reward_of(c), link(row, "../../"), papers(c),
        drawing.number(c.optim.lr), courses(runs), *accuracy, f"{first:.0f} → {last:.0f}",
    )  # fmt: skip


def wide_page(rows: list[tuple[Row, list[dict]]]) -> str:
    """docs/experiments/README.md."""
    head = ("reward", "experiment", "paper", "rate", "what it does", "base", "peak", "end", "tokens")
    return (
        "# The experiments\n\n"
        "Each row is an experiment as its file stands, or with the keys beside it, under seeds 0, 1 and 2.\n\n"
        + "![what each does](courses.png)\n\n"
        + page.table(head, [wide_row(row, runs) for row, runs in rows])
        + "\n- reward: the name that the verb `rewards` explains, with its formula.\n"
        "- paper: where the reward is from.\n"
        "- rate: learning rate.\n"
        '- what it does: "rises" means that peak minus base is above zero with 95 % confidence; "falls", that end '
        'minus peak is below zero; "stays" is neither. Where the seeds differ, the number tells how many agree.\n'
        "- base, peak, end: held-out accuracy, median (range) of the three seeds. The peak step is chosen on one half "
        "of the questions and reported on the other. Countdown, programs, Python, integrals and `dupo.py` have bases of their own, and `variants.py` asks hard integrals.\n"
        "- tokens: mean response length, first step → last step, the median of the three seeds.\n\n"
        "The runs are on file: [grid](../grid/README.md), [countdown](../countdown/README.md), [judges](../judges/README.md), and in this folder "
        "`runs.jsonl`, those that neither study makes. `python -m urlvr_jax.main study experiments check` tells "
        "whether they are fresh, `run` makes those of this folder, `write` writes this page and the README's table. `rlccf.py` and "
        "`self_distillation.py` read files that the commands at their top write first.\n"
    )


def expectation(run: dict) -> str:
    held = run["held_out"]
    return (
        f"Expect (seed {run['seed']}, held-out accuracy): base {held['base']:.2f}, best {held['peak']:.2f} at\n"
        f"step {held['peak_step']}, {held['final']:.2f} at the end; responses from {run['length'][0]:.0f} to "
        f"{run['length_last']:.0f} tokens."
    )


def texts() -> dict[pathlib.Path, str]:
    """{file: what it should say}; a row without all its runs is left out."""
    lines = runs_on_file()
    rows = [(row, runs) for row in ROWS if None not in (runs := runs_of(row, lines))]
    out = {root() / "docs" / "experiments" / "README.md": wide_page(rows)}
    for row, runs in rows:
        file = root() / row.file.partition(":")[0]
        if not row.overrides and EXPECT.search(text := file.read_text()):
            out[file] = EXPECT.sub(lambda m, runs=runs: expectation(runs[0]), text)
    readme = root() / "README.md"
    before, begin, rest = readme.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(f"{readme} lacks the lines {BEGIN!r} and {END!r}, between which the table goes")
    head = ("reward", "experiment", "what it does", "base → peak → end")
    table = page.table(head, [short_row(row, runs) for row, runs in rows])
    out[readme] = f"{before}{BEGIN}\n{table}{END}{after}"
    return out


# ---- actions --------------------------------------------------------------------------------


def run(jobs: int) -> None:
    """Make the runs that no other study has. Countdown's are made by its own."""
    file = root() / "docs" / "experiments" / "runs.jsonl"
    elsewhere = [r for f in (root() / "docs").glob("*/runs.jsonl") if f != file for r in read_runs(f)]
    cells = [cell for row in ROWS if row.file not in (COUNTDOWN, CHECKER) for cell in row.cells()]
    run_missing([cell for cell in cells if not any(map(cell.has, elsewhere))], file, jobs, condense)


def stale_rows() -> list[str]:
    """A line for each row that lacks a fresh run."""
    lines = runs_on_file()
    out = []
    for row in ROWS:
        lacking = [str(seed) for seed, r in zip(SEEDS, runs_of(row, lines), strict=True) if r is None]
        if lacking:
            out.append(f"{row.name}: no run of this configuration and base for seed {', '.join(lacking)}")
    return out


def changed_texts() -> dict[pathlib.Path, str]:
    """{file: what it should say} of the files that say something else."""
    return {f: text for f, text in texts().items() if not f.is_file() or f.read_text() != text}


def check() -> int:
    """List rows without fresh runs and stale texts; exit status 1 if there are any."""
    changed = changed_texts()
    for file in changed:
        print(f"stale text: {file.relative_to(root())}")
    return int(bool(_say_rows(f"{len(changed)} texts are stale") or changed))


def _titled(row: Row) -> str:
    """What a panel is called: the reward, and what else is not as in the file."""
    c = row.cells()[0].config
    others = [f"{k}={v}" for k, v in row.overrides.items() if k != "reward.name"]
    file = row.file.removeprefix("experiments/")
    return f"{reward_of(c).strip('`')}: {file} {' '.join(others)}"


def write() -> int:
    """Write the texts and the figure anew; exit status 1 if a row was left out for want of fresh runs."""
    changed, lines = changed_texts(), runs_on_file()
    whole = [(_titled(row), runs) for row in ROWS if None not in (runs := runs_of(row, lines))]
    experiments_figure.draw(whole, root() / "docs" / "experiments" / "courses.png")
    for file, text in changed.items():
        file.write_text(text)
        print(f"wrote {file.relative_to(root())}")
    return int(bool(_say_rows(f"{len(changed)} texts written")))


def _say_rows(what: str) -> list[str]:
    rows = stale_rows()
    for line in rows:
        print(f"stale row: {line}")
    print(f"{len(ROWS) - len(rows)} of {len(ROWS)} rows have their runs; {what}")
    return rows
