"""Sinks as processes that follow a run's folder: what is told, once; and what a broken one does not do to the run."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import pyarrow
import pyarrow.parquet
import pytest

from urlvr_jax.runtime.lines import Lines
from urlvr_jax.sinks import follow, processes, table
from urlvr_jax.sinks.processes import Sinks

END = 60.0  # more than a sink takes on a busy machine
SOON = 2.0


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run's folder with the line of the base."""
    monkeypatch.setitem(table.SINKS, "fake", "fake_sink")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text('{"seed": 0}')
    write(folder, 0)
    return folder


def write(folder, *steps):
    """Metric lines; steps that are even and not 0 have a table of completions."""
    for step in steps:
        if step and step % 2 == 0:
            (folder / "completions").mkdir(exist_ok=True)
            columns = {"step": [step] * 2, "prompt": ["a", "b|c"], "answer": [None, "1"]}
            pyarrow.parquet.write_table(
                pyarrow.table(columns), folder / "completions" / f"completions_{step:05d}.parquet"
            )
        line = {"step": step, "reward/mean": step / 3}
        Lines(folder / "metrics.jsonl").write(line | ({"collapse/reason": "cut"} if step > 4 else {}))


def warned(folder, step, kind, text):
    Lines(folder / "warnings.jsonl").write({"step": step, "kind": kind, "text": text})


def told(folder, what):
    file = folder / "sinks" / "fake" / "told.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
    return [line[1:] for line in lines if line[0] == what]


def fault(folder, *what):
    (folder / "fault").write_text(json.dumps(what))


def started(folder, end_s=END) -> Sinks:
    return Sinks(["fake"], folder, end_s=end_s)


def wait_for(condition, seconds=60.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def killed(sinks: Sinks) -> None:
    """What a follower sees of a run that is killed: its end of the pipe closes, and nothing was said."""
    for one in sinks.processes:
        one.process.stdin.close()
        one.process.wait()
        one.process.stdout.close()
    sinks._closed.detach()


def test_a_killed_and_resumed_run_is_told_once_with_its_tables_warnings_and_figures(run, capsys):
    sinks = started(run)
    write(run, 1, 2)
    warned(run, 3, "cut", "all were cut")
    write(run, 3, 4)
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 5, "reward/m')
    killed(sinks)
    assert [line[0] for line in told(run, "step")] == [0, 1, 2, 3, 4]
    for name in ("metrics", "warnings"):  # it goes on from the checkpoint of step 2
        Lines(run / f"{name}.jsonl").truncate_after(2)
    sinks = started(run)
    warned(run, 3, "cut", "all were cut again")
    write(run, 3, 4, 5, 6)
    (run / "rise_and_fall.png").write_bytes(b"figure")
    assert sinks.close(0) == 0
    steps = told(run, "step")
    assert [line[0] for line in steps] == [0, 1, 2, 3, 4, 5, 6]
    assert [line[1] for line in steps] == [{"reward/mean": step / 3} for step in range(7)]
    assert [line[2] for line in steps] == [{}] * 5 + [{"collapse/reason": "cut"}] * 2
    assert [step for step, _, _, columns in steps if columns] == [2, 4, 6]
    assert steps[2][3] == {"prompt": ["a", "b|c"], "answer": [None, "1"]}
    assert told(run, "warning") == [[3, "all were cut"]]
    assert told(run, "figure") == [[6, "rise_and_fall", "rise_and_fall.png"]]
    assert told(run, "close") == [[1], [0]]
    (first, config), (second, _) = told(run, "open")
    assert first == second and config == {"seed": 0}
    started(run).close(0)
    assert len(told(run, "step")) == 7 and len(told(run, "figure")) == 1
    assert capsys.readouterr().err == ""


FAULTS = [
    ("open", None, "raise", "ValueError: no such key second line"),
    ("step", 2, "raise", "ValueError: no such key second line"),
    ("step", 2, "full", "OSError: [Errno 28] No space left on device"),
    ("step", 2, "exit", "its process ended with status 88"),  # 600 in a byte
    ("open", None, "hang", "had not ended "),
    ("step", 2, "hang", "had not ended "),
    ("close", None, "raise", "ValueError: no such key second line"),
]


@pytest.mark.parametrize("where, step, how, says", FAULTS, ids=lambda x: str(x)[:9])
def test_a_broken_sink_is_said_once_and_what_it_missed_is_told_at_the_next_start(
    run, capsys, where, step, how, says
):
    fault(run, where, step, how)
    sinks = started(run, SOON if how == "hang" else END)
    write(run, 1, 2, 3)
    if how == "hang":
        last = {
            "open": lambda: (run / "sinks" / "fake" / "state.json").is_file(),
            "step": lambda: len(told(run, "step")) == 2,
        }
        wait_for(last[where])
    elif where != "close":
        wait_for(lambda: sinks.processes[0].process.poll() is not None)
    sinks.look()
    sinks.look()
    began = time.monotonic()
    sinks.close(0)
    assert how != "hang" or time.monotonic() - began < follow.STARTING * SOON + processes.GRACE + 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: log.sinks: fake: {says}") and "; the run is not touched" in line
    assert line.endswith(str(run / "sinks" / "fake" / "log.txt"))
    assert [line[0] for line in told(run, "step")] == list(range({"open": 0, "step": 2, "close": 4}[where]))
    (run / "fault").unlink()
    started(run).close(0)
    assert [line[0] for line in told(run, "step")] == [0, 1, 2, 3]
    assert capsys.readouterr().err == ""


def test_looking_at_a_sink_that_hangs_takes_no_time(run):
    fault(run, "open", None, "hang")
    sinks = started(run, 0.1)
    wait_for(lambda: (run / "sinks" / "fake" / "state.json").is_file())
    began = time.perf_counter()
    for _ in range(1000):
        sinks.look()
    assert (time.perf_counter() - began) / 1000 < 1e-3
    sinks.close(0)


def test_signals_for_the_run_do_not_end_its_sink(run, capsys):
    sinks = started(run)
    wait_for(lambda: told(run, "step"))
    pid = sinks.processes[0].process.pid
    assert os.getpgid(pid) != os.getpgid(0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        os.kill(pid, number)
    write(run, 1)
    sinks.close(0)
    assert [line[0] for line in told(run, "step")] == [0, 1] and told(run, "close") == [[0]]
    assert capsys.readouterr().err == ""


STARTS = """
import os, pathlib, sys
from urlvr_jax.sinks import table
from urlvr_jax.sinks.processes import Sinks
table.SINKS["fake"] = "fake_sink"
sinks = Sinks(["fake"], pathlib.Path(sys.argv[1]), end_s=1.0)
print(sinks.processes[0].process.pid, flush=True)
"""


def start_and(then: str, folder) -> subprocess.Popen:
    path = os.pathsep.join([str(pathlib.Path(__file__).parent), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(STARTS) + then, str(folder)],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip


def is_there(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("how", ["well", "hang"])
def test_nothing_is_left_of_a_sink_when_its_run_is_killed(run, how):
    if how == "hang":
        fault(run, "step", 0, "hang")
    with start_and("import time; time.sleep(600)", run) as process:
        pid = int(process.stdout.readline())
        wait_for(lambda: (run / "sinks" / "fake" / "state.json").is_file())
        assert is_there(pid)
        process.kill()
    wait_for(lambda: not is_there(pid), 10.0)
    assert bool(told(run, "step")) == (how == "well")


def test_a_run_that_ends_by_an_error_ends_its_sinks_too(run):
    with start_and("raise SystemExit(3)", run) as process:
        pid = int(process.stdout.readline())
        assert process.wait(30) == 3
        assert not is_there(pid)


def test_a_follower_needs_no_jax_and_no_library():
    code = "import sys, urlvr_jax.sinks.follow; print({'jax', 'numpy', 'wandb'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_follower_waits_for_the_one_of_the_earlier_start(run):
    first = started(run)
    wait_for(lambda: told(run, "step"))
    second = started(run)
    write(run, 1)
    time.sleep(1.0)
    assert len(told(run, "open")) == 1
    first.close(0)
    second.close(0)
    assert [line[0] for line in told(run, "step")] == [0, 1] and len(told(run, "open")) == 2
