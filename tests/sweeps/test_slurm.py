"""Runs as an array of Slurm's: what is submitted, what is found again, and how a task ends. Slurm is pretended here."""

import importlib.util
import os
import pickle
import signal
import subprocess
import sys
import threading

import pytest

from urlvr_jax.errors import UserError
from urlvr_jax.sweeps import slurm
from urlvr_jax.sweeps.run import Run

OPTIONS = slurm.options(["partition=gpu", "nodes=2", "gpus_per_node=8", "timeout_min=60"])
PROGRAMS = {
    "sbatch": 'cp "$1" {folder}/submitted.sh; echo Submitted batch job 12',
    "squeue": "cat {folder}/queue",
    "scancel": 'echo "$@" >> {folder}/cancelled',
}


def needs_submitit():
    if not importlib.util.find_spec("submitit"):  # an import would settle its signal
        pytest.skip("needs submitit")


@pytest.fixture(name="cluster")
def cluster_fixture(tmp_path, monkeypatch):
    """Slurm's programs as scripts of a line, and two runs."""
    needs_submitit()
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, code in PROGRAMS.items():
        (programs / name).write_text(f"#!/bin/sh\n{code.format(folder=tmp_path)}\n")
        (programs / name).chmod(0o755)
    (programs / "srun").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    (tmp_path / "queue").write_text("")
    return tmp_path


def runs_in(folder):
    return [Run("", {"seed": seed}, folder / "sweep") for seed in (0, 1)]


def engine(cluster):
    return slurm.Slurm(cluster / "sweep", OPTIONS, 1)


def test_all_runs_are_one_array_of_tasks_that_are_requeued(cluster):
    runs = runs_in(cluster)
    made = engine(cluster)
    made.begin(runs)
    script = (cluster / "submitted.sh").read_text()
    for flag in (
        "array=0-1%1", "requeue", "nodes=2", "gpus-per-node=8", "ntasks-per-node=1", "partition=gpu", "time=60",
        "signal=USR1@120", "open-mode=append",
    ):  # fmt: skip
        assert f"#SBATCH --{flag}\n" in script, flag
    assert "\nsrun " in script  # which sets what runtime/cluster.py reads
    (cluster / "queue").write_text("12_0 RUNNING\n12_1 PENDING\n")
    assert made.poll() == [] and made.running == runs[:1] and made.busy


def test_a_sweep_that_is_started_again_finds_its_jobs(cluster):
    engine(cluster).begin(runs_in(cluster))
    (cluster / "submitted.sh").unlink()
    (cluster / "queue").write_text("12_0 PENDING\n12_1 RUNNING\n77 RUNNING\n")
    made, runs = engine(cluster), runs_in(cluster)
    made.begin(runs)
    assert not (cluster / "submitted.sh").exists() and made.running == runs[1:]
    made.stop()
    said = (cluster / "cancelled").read_text().splitlines()
    assert said == ["--state=PENDING 12_0 12_1", "--state=RUNNING --signal=TERM 12_0 12_1"]


def test_a_job_that_left_the_queue_is_done_or_has_failed(cluster, monkeypatch):
    monkeypatch.setattr(slurm, "SEEN_WITHIN", -1.0)
    made, (done, lost) = engine(cluster), runs_in(cluster)
    made.begin([done, lost])
    done.folder.mkdir(parents=True)
    (done.folder / "record.json").write_text('{"attempts": [{"finished": "now"}]}')
    assert made.poll() == [(done, 0), (lost, 1)] and not made.busy
    assert lost.error == f"its job 12_1 ended without a word (Slurm's files: {cluster}/sweep/slurm)"


def test_a_queue_that_does_not_answer_changes_nothing(cluster, capsys):
    made, runs = engine(cluster), runs_in(cluster)
    (cluster / "queue").write_text("12_0 RUNNING\n12_1 RUNNING\n")
    made.begin(runs)
    (cluster / "queue").unlink()
    assert made.poll() == [] and made.running == runs
    assert "warning: squeue: " in capsys.readouterr().err
    with pytest.raises(UserError, match="see that Slurm answers"):
        engine(cluster).begin(runs)


def test_a_machine_without_slurm_is_told_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="sbatch is not here"):
        slurm.Slurm(tmp_path, OPTIONS, 1)


def test_a_task_runs_the_command_and_keeps_why_it_failed(tmp_path, monkeypatch):
    run = runs_in(tmp_path)[0]
    name, words = run.hash, run.words
    task = pickle.loads(pickle.dumps(slurm.Task(run, 10)))
    assert (
        task.run.words[:-1] == words[:-1]
        and task.run.folder == run.folder.resolve()
        and task.run.name == name
    )
    monkeypatch.setattr(Run, "words", [sys.executable, "-c", "import sys; sys.exit('error: no GPU')"])
    with pytest.raises(RuntimeError, match="exit status 1"):
        task()
    assert run.error == "exit status 1: error: no GPU"
    monkeypatch.setattr(Run, "words", [sys.executable, "-c", "pass"])
    task()
    assert not run.error


def test_before_its_time_is_over_a_task_waits_until_its_run_is_saved(tmp_path, monkeypatch):
    needs_submitit()
    code = (
        "import signal, sys, time; signal.signal(signal.SIGUSR1, lambda *_: (time.sleep(0.3), print('saved'), sys.exit(138)));"
        "print('up', flush=True); time.sleep(60)"
    )
    monkeypatch.setattr(Run, "words", [sys.executable, "-c", code])
    task = slurm.Task(runs_in(tmp_path)[0], 10)
    log = task.run.folder / "log.txt"
    again = []

    def handler(*_):  # as submitit's, in the midst of the task
        again.append(task.checkpoint())
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, handler)
    ask = threading.Thread(
        target=lambda: (
            subprocess.run(["sh", "-c", f"until grep -qs up {log}; do sleep 0.1; done"], check=True),
            os.kill(os.getpid(), signal.SIGALRM),
        )
    )
    try:
        ask.start()
        with pytest.raises(KeyboardInterrupt):
            task()
    finally:
        ask.join()
        signal.signal(signal.SIGALRM, before)
    assert log.read_text() == "up\nsaved\n" and again[0].function.process is None
    pickle.dumps(again[0].function)
