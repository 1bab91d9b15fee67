"""Runs as processes of this machine: where they run, how they end, and what is left of them."""

import fcntl
import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from urlvr_jax.errors import UserError
from urlvr_jax.sweeps import places, room
from urlvr_jax.sweeps import run as run_lib
from urlvr_jax.sweeps.local import CHILD, Local
from urlvr_jax.sweeps.make import make
from urlvr_jax.sweeps.places import Devices, Place
from urlvr_jax.sweeps.run import Run

FINISH = "pathlib.Path('record.json').write_text(json.dumps({'attempts': [{'finished': 'now'}]}))"
CORE = min(os.sched_getaffinity(0))


def python(monkeypatch, code):
    """Every run is this Python, in its own folder."""
    head = "import json, os, pathlib, signal, sys, time; os.chdir(sys.argv[1]);"
    whole = head + textwrap.dedent(code)
    monkeypatch.setattr(Run, "words", property(lambda run: [sys.executable, "-c", whole, str(run.folder)]))


def runs_in(folder, count=1):
    return [Run("", {"seed": seed}, folder) for seed in range(count)]


def made(runs, engine):
    """{name: exit status} of those that ended, in their order."""
    ended = {}
    make(runs, engine, lambda run, status: ended.update({run: status}))
    return list(ended.values())


def test_a_run_has_its_core_and_its_gpu_before_it_begins(tmp_path, monkeypatch):
    python(monkeypatch, "print(sorted(os.sched_getaffinity(0)), os.environ['CUDA_VISIBLE_DEVICES'])")
    (run,) = runs_in(tmp_path)
    assert made([run], Local([Place((CORE,), {"CUDA_VISIBLE_DEVICES": "3"})])) == [0]
    assert (run.folder / "log.txt").read_text() == f"[{CORE}] 3\n"


def test_no_more_runs_at_once_than_places(tmp_path, monkeypatch):
    python(monkeypatch, "b = time.time(); time.sleep(0.3); print(b, time.time())")
    runs = runs_in(tmp_path, 4)
    assert made(runs, Local(places.single(2))) == [0] * 4
    spans = [tuple(map(float, (run.folder / "log.txt").read_text().split())) for run in runs]
    assert max(sum(b <= at < e for b, e in spans) for at, _ in spans) == 2


def test_a_run_that_fails_keeps_its_last_error_and_is_forgotten_when_made_again(tmp_path, monkeypatch):
    python(monkeypatch, "sys.exit('reading\\nerror: no such model\\n  see docs')")
    (run,) = runs_in(tmp_path)
    assert made([run], Local(places.single(1))) == [1]
    assert run.error == "exit status 1: error: no such model" and not run.done
    python(monkeypatch, "print('killed'); sys.stdout.flush(); os.kill(os.getpid(), 9)")
    assert made([run], Local(places.single(1))) == [-9]
    assert run.error == "ended by SIGKILL: killed"
    python(monkeypatch, FINISH)
    assert made([run], Local(places.single(1))) == [0]
    assert run.done and not run.error


def test_a_signal_ends_the_runs_by_sigterm_and_none_has_failed(tmp_path, monkeypatch):
    python(
        monkeypatch,
        """
        signal.signal(signal.SIGTERM, lambda *_: (print('saved'), sys.exit(143)))
        pathlib.Path('up').touch()
        time.sleep(60)
        """,
    )
    runs = runs_in(tmp_path, 2)
    ended = []

    def look():
        if (runs[0].folder / "up").exists():
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    stopped = make(runs, Local(places.single(1)), lambda run, status: ended.append((run, status)), look)
    assert stopped == signal.SIGTERM and ended == [(runs[0], 143)]
    assert (runs[0].folder / "log.txt").read_text() == "saved\n" and not runs[0].error
    assert not runs[1].folder.exists() and signal.getsignal(signal.SIGTERM) == before


def test_a_second_interrupt_ends_them_at_once(tmp_path, monkeypatch):
    python(
        monkeypatch,
        "signal.signal(signal.SIGTERM, lambda *_: None); pathlib.Path('up').touch(); time.sleep(60)",
    )
    (run,) = runs_in(tmp_path)
    engine = Local(places.single(1))

    def look():
        if (run.folder / "up").exists():
            os.kill(os.getpid(), signal.SIGINT)
            (run.folder / "up").touch()

    with pytest.raises(KeyboardInterrupt):
        make([run], engine, lambda *_: None, look)
    assert engine._started[0].process.returncode == -signal.SIGKILL


def test_a_run_ends_when_the_process_that_made_it_is_killed(tmp_path):
    code = "import time; open('up', 'w').close(); time.sleep(60)"
    parent = f"""
    import os, subprocess, sys, time
    subprocess.Popen([sys.executable, {str(CHILD)!r}, '{CORE}', str(os.getpid()), sys.executable, '-c', {code!r}])
    time.sleep(60)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(parent)], cwd=tmp_path)
    until(lambda: (tmp_path / "up").exists())
    child = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().strip()
    process.kill()
    process.wait()
    until(lambda: not os.path.exists(f"/proc/{child}/exe"))  # gone, or ended and not yet reaped
    late = subprocess.run(
        [sys.executable, str(CHILD), str(CORE), "1", sys.executable, "-c", "print('begun')"],
        capture_output=True,
    )
    assert late.returncode == 143 and not late.stdout


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_run_waits_for_the_process_that_holds_its_folder(tmp_path, monkeypatch):
    python(monkeypatch, "print('begun')")
    held, free = runs_in(tmp_path, 2)
    held.folder.mkdir()
    other = open(held.folder / "lock", "w")  # noqa: SIM115
    fcntl.flock(other, fcntl.LOCK_EX)
    engine = Local(places.single(1))
    engine.begin([held, free])
    until(lambda: (free, 0) in engine.poll())
    assert engine.busy and engine.running == [held] and not (held.folder / "log.txt").exists()
    # It finishes there: nothing is left to make.
    (held.folder / "record.json").write_text(json.dumps({"attempts": [{"finished": "now"}]}))
    other.close()
    assert engine.poll() == [(held, 0)] and not engine.busy and not (held.folder / "log.txt").exists()


def test_the_machine_is_shared_out(monkeypatch):
    monkeypatch.setattr(places, "cores", lambda: list(range(8)))
    cpu, gpu = Devices("cpu", 1, None), Devices("gpu", 4, 60e9)
    assert [place.cores for place in places.shared(cpu, 3)] == [(0, 1), (2, 3), (4, 5)]
    assert (places.most(cpu), places.most(gpu), places.most(Devices("tpu", 4, None))) == (8, 4, 1)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [place.environ["CUDA_VISIBLE_DEVICES"] for place in places.shared(gpu, 2)] == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7,2,1")
    assert [place.environ["CUDA_VISIBLE_DEVICES"] for place in places.shared(gpu, 3)] == ["5", "7", "2"]
    assert [place.cores for place in places.single(10)][7:] == [(7,), (0,), (1,)]


def test_memory_decides_how_many_run_at_once(tmp_path):
    cpu = Devices("cpu", 1, None)
    (need,) = room.needs(runs_in(tmp_path, 2), cpu)
    assert 0 < need.device == need.host - room.PROCESS["cpu"]
    assert room.jobs_that_fit([need], 4, cpu, 100 * need.host) == (4, "")
    assert room.jobs_that_fit([need], 4, cpu, None) == (4, "")
    jobs, said = room.jobs_that_fit([need, room.Need(1, 2 * need.host)], 4, cpu, 5 * need.host)
    assert jobs == 2 and said.startswith("2 at once instead of 4: 1.6 GiB each by the plan, ")
    with pytest.raises(UserError, match="GiB are free: free some, or give fewer rollout.slots"):
        room.jobs_that_fit([need], 4, cpu, 0.5 * need.host)
    with pytest.raises(UserError, match="of a device by the plan"):
        room.jobs_that_fit([need], 1, Devices("gpu", 1, need.device / 2), None)


def test_the_last_error_is_read_from_where_this_start_began(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("error: of before\n")
    assert run_lib.last_error(log, log.stat().st_size) == "it said nothing"
    with open(log, "a") as out:
        out.write("Traceback\nValueError: now\n")
    assert run_lib.last_error(log, 17) == "ValueError: now"
