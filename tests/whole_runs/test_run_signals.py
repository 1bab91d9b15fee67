"""What a signal does to a run: it saves and stops, stops at once, or holds."""

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time

import pytest
from launcher import ROOT, environment, tiny
from runs import errors_of, metrics_of

ENDLESS = {"steps": 100000, "eval.every": 0, "log.completions_every": 0, "checkpoint.every": 0}


def steps_logged(run):
    file = run / "metrics.jsonl"
    return file.read_text().count("\n") if file.is_file() else 0


def started(launcher, run):
    """A run without end that has made three steps."""
    call = launcher.start(tiny(run, ENDLESS))
    call.wait_for(lambda: steps_logged(run) >= 3)
    return call


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_run_that_is_asked_to_stop_saves_its_last_step(launcher, tmp_path, name):
    run, number = tmp_path / "run", signal.Signals[name]
    call = started(launcher, run)
    call.kill(number)
    assert call.wait().status == 128 + number, call.err
    stopped = metrics_of(run)[-1]["step"]
    assert f"stopped by {name} after step {stopped}; --workdir {run}" in call.out.splitlines()[-1]
    assert (run / "checkpoints" / str(stopped)).is_dir()


def test_a_second_interrupt_stops_at_once_and_says_what_is_lost(launcher, tmp_path):
    run = tmp_path / "run"
    call = started(launcher, run)
    call.kill(signal.SIGSTOP)  # so that no step ends between the two
    call.kill(signal.SIGHUP)  # handled first: its number is the lower one
    call.kill(signal.SIGINT)
    call.kill(signal.SIGCONT)
    assert call.wait().status == 128 + signal.SIGINT
    (line,) = errors_of(call)
    assert line.startswith("interrupted at once: ") and "--workdir" in line
    assert not list((run / "checkpoints").iterdir())


def test_a_run_that_is_held_goes_on(launcher, tmp_path):
    run = tmp_path / "run"
    call = started(launcher, run)
    call.kill(signal.SIGSTOP)
    time.sleep(0.3)
    held = steps_logged(run)
    time.sleep(0.5)
    assert steps_logged(run) == held
    call.kill(signal.SIGCONT)
    call.wait_for(lambda: steps_logged(run) > held)
    call.kill(signal.SIGTERM)
    assert call.wait().status == 128 + signal.SIGTERM, call.err


def on_a_terminal(run, ignore: bool):
    """(process, the terminal's other end) of a run that leads the terminal's session."""
    ours, theirs = pty.openpty()

    def lead():
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGHUP, signal.SIG_IGN if ignore else signal.SIG_DFL)

    process = subprocess.Popen(
        [sys.executable, "-m", "urlvr_jax.main", *tiny(run, ENDLESS)], cwd=ROOT, env=environment(),
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, preexec_fn=lead,
    )  # fmt: skip
    os.close(theirs)
    os.set_blocking(ours, False)
    end = time.monotonic() + 120
    while steps_logged(run) < 3:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    return process, ours


@pytest.mark.parametrize("ignore", [False, True], ids=["hangup", "nohup"])
def test_a_run_whose_terminal_goes_away_saves_or_goes_on_under_nohup(tmp_path, ignore):
    run = tmp_path / "run"
    process, terminal = on_a_terminal(run, ignore)
    os.close(terminal)
    if ignore:
        left = steps_logged(run)
        while process.poll() is None and steps_logged(run) < left + 30:
            time.sleep(0.01)
        process.terminate()
    number = signal.SIGTERM if ignore else signal.SIGHUP
    assert process.wait(60) == 128 + number
    assert (run / "checkpoints" / str(metrics_of(run)[-1]["step"])).is_dir()
