"""Signals that ask a run to stop are remembered, but for those that its starter ignores."""

import os
import signal

import pytest

from urlvr_jax.runtime.signals import ASKING, StopSignal


@pytest.fixture(autouse=True)
def handlers():
    """As a shell starts a process, also where the tests run under nohup; the handlers of before are put back."""
    before = {number: signal.getsignal(number) for number in ASKING}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGXCPU", "SIGUSR1"])
def test_a_signal_is_remembered_and_an_interrupt_after_it_stops_at_once(name, capfd):
    stop = StopSignal()
    assert stop.seen() is None
    os.kill(os.getpid(), signal.Signals[name])
    assert stop.seen() == signal.Signals[name]
    assert ("Ctrl-C again stops at once" in capfd.readouterr().err) == (name == "SIGINT")
    with pytest.raises(KeyboardInterrupt, match="at once"):
        os.kill(os.getpid(), signal.SIGINT)
        signal.pthread_sigmask(signal.SIG_BLOCK, [])  # gives the interpreter time to handle it


def test_a_hangup_that_the_starter_ignores_is_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = StopSignal()
    os.kill(os.getpid(), signal.SIGHUP)
    assert stop.seen() is None
