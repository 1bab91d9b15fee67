"""The verb `sweep`, from the command line to its folders."""

import json
import signal

import pytest
from launcher import TINY, words
from runs import metrics_of

from urlvr_jax import main
from urlvr_jax.errors import UserError
from urlvr_jax.verbs import command_line

SWEEP = ("sweep", "--config", "experiments/selfcert.py")
QUICK = TINY | {"steps": 4, "eval.every": 2, "log.completions_every": 0}


def sweep(folder, *more):
    return [*SWEEP, *words(QUICK), "--over", "seed=0:2", "--workdir", str(folder), *more]


def ends(run):
    """How often a run was started, and whether the last start came to its end."""
    attempts = json.loads((run / "record.json").read_text())["attempts"]
    return len(attempts), "finished" in attempts[-1]


@pytest.mark.slow
def test_a_sweep_that_is_killed_goes_on_and_makes_no_finished_run_again(launcher, tmp_path):
    folder = tmp_path / "sweep"
    call = launcher.start(sweep(folder, "--jobs=1"))
    steps = lambda: [
        len(file.read_text().splitlines()) - 1 for file in sorted(folder.glob("*/metrics.jsonl"))
    ]
    call.wait_for(lambda: len(steps()) == 2 and min(steps()) >= 1, 300)  # the second is under way
    call.kill(signal.SIGKILL)
    call.wait()
    first, second = [
        folder / run["name"] for run in json.loads((folder / "sweep.json").read_text())["runs"]
    ]
    finished = (first / "metrics.jsonl").read_bytes()
    again = launcher.run(sweep(folder, "--jobs=1"))
    assert again.status == 0, again.out + again.err
    assert "2 runs, 1 done before, 1 to make" in again.out and "| 2 | 0." in again.out
    assert ends(first) == (1, True) and (first / "metrics.jsonl").read_bytes() == finished
    starts, done = ends(second)
    assert done and starts in (1, 2)
    assert [line["step"] for line in metrics_of(second)] == list(range(QUICK["steps"] + 1))
    assert {"summary.md", "summary.csv", "summary.jsonl", "summary.png"} <= {
        f.name for f in folder.iterdir()
    }


def test_a_run_that_failed_is_listed_and_made_again_on_request(launcher, tmp_path):
    missing = f"--config.data.train={tmp_path / 'missing.jsonl'}"
    call = launcher.run([*sweep(tmp_path / "sweep"), missing])
    assert call.status == 1, call.out + call.err
    failures = [line for line in call.out.splitlines() if line.startswith("failed: ")]
    assert len(failures) == 2 and all("exit status 2: error: " in line for line in failures)
    assert "missing.jsonl" in failures[0] and "log.txt" in failures[0]
    call = launcher.run([*sweep(tmp_path / "sweep"), missing])
    assert call.status == 1 and "0 done before, 0 to make" in call.out
    assert call.out.count("--retry makes it again") == 2
    call = launcher.run([*sweep(tmp_path / "sweep"), missing, "--retry"])
    assert call.status == 1 and "0 done before, 2 to make" in call.out


def given(*typed):
    return command_line.parse(["main.py", *typed])


@pytest.mark.parametrize(
    "typed, says",
    [
        ((), "--workdir is missing"),
        (("--workdir={folder}",), "--over is missing"),
        (("--workdir={folder}", "--over", "seed=0:2", "--engine=cloud"), "give one of local, slurm"),
        (("--workdir={folder}", "--over", "seed=0:2", "--slurm=nodes=2"), "needs --engine slurm"),
        (("--workdir={folder}", "--over", "seed=0:2", "--jobs=0"), "--jobs=0 is not possible"),
        (
            ("--workdir={folder}", "--over", "optim.lr=1e-5,-1"),
            "optim.lr=-1: optim.lr = -1.0 is not possible",
        ),
        (
            ("--workdir={folder}", "--over", "reward.name=random,votes"),
            "reward.name=votes: reward.name = 'votes'",
        ),
        (
            ("--workdir={folder}", "--over", "rollout.slots=32,64"),
            "rollout.slots says how a run is computed",
        ),
        (
            ("--workdir={folder}", "--engine=slurm", "--slurm=node=2", "--over", "seed=0:2"),
            "did you mean nodes=2",
        ),
        (
            ("--workdir={folder}", "--engine=slurm", "--slurm=nodes=two", "--over", "seed=0:2"),
            "a whole number from 1",
        ),
    ],
)
def test_everything_is_checked_before_anything_starts(tmp_path, typed, says):
    with pytest.raises(UserError) as error:
        main.main(given(*SWEEP, *(word.format(folder=tmp_path / "sweep") for word in typed)))
    assert says in str(error.value)
    assert not list(tmp_path.glob("sweep/*/log.txt"))
