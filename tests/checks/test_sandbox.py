"""Programs in the sandbox. The whole list of hostile ones is benchmarks/checks/sandbox.py's."""

import functools
import os
import pathlib
import signal
import subprocess
import sys
import time

import hostile_programs
import pytest
from hostile_programs import ESCAPED, FAMILIES

from urlvr_jax.checks import inside, sandbox, system_calls
from urlvr_jax.checks.sandbox import FLOOD, LATE, SandboxError

try:
    sandbox.require()
    WHY = ""
except SandboxError as error:
    WHY = str(error)
needs_sandbox = pytest.mark.skipif(bool(WHY), reason=WHY)
FEW = (
    ("processes", "fork bomb"), ("processes", "a shell that forks"), ("memory", "a list"), ("memory", "System V's"),
    ("loops", "signals ignored"), ("files", "writes /tmp/x"), ("files", "makes a symbolic link"),
    ("reads", "{secret_file}"), ("sockets", "the virtual machine's host"), ("signals", "kills all"),
    ("output", "all closed"), ("depth", "recursion without a limit"), ("rights", "namespaces of its own"),
)  # fmt: skip


@needs_sandbox
def test_a_program_reads_its_input_and_its_output_and_status_come_back():
    ran = sandbox.run("n = int(input())\nprint(n + 1, 'ü')\nexit(3)", 10.0, stdin="41\n")
    assert ran.out.decode() == "42 ü\n" and ran.status == 3 and not ran.why
    assert sandbox.run("raise ValueError", 10.0) == (b"", 1, "")


@needs_sandbox
def test_values_of_calls_come_back_as_text_and_what_has_none_is_none():
    program = "import collections\nprint('noise')\ndef f(x): return collections.Counter(x)\nif __name__ == '__main__': 1/0"
    calls = ["f('aab')", "f(1)", "{3, 'ü'}", "object()", "'\\n'"]
    found = sandbox.values(sandbox.run(program, 10.0, calls=calls), 6)
    assert found[0] == "{'a': 2, 'b': 1}" and found[1] is None and eval(found[2]) == {3, "ü"}
    assert found[3].startswith("<object") and found[4] == r"'\n'" and found[5] is None


@needs_sandbox
def test_there_is_nothing_of_this_machine_in_it(monkeypatch):
    monkeypatch.setenv("SECRET", "xyzzy")
    program = "import os\nprint(dict(os.environ), os.getpid(), os.getuid(), os.path.exists('/proc/self'), os.listdir('/tmp'))"
    said = sandbox.run(program, 10.0).out.decode()
    assert "xyzzy" not in said and "HOME" not in said and "'PYTHONHASHSEED': '0'" in said
    assert said.split("}")[1].split()[0] == "2" and said.split("}")[1].split()[1] != "0"
    assert said.endswith("False []\n")


@needs_sandbox
@pytest.mark.parametrize("family, name", FEW, ids=lambda x: x)
def test_a_hostile_program_is_held_and_over_in_time(family, name, tmp_path):
    secret = tmp_path / "canary"
    secret.write_text("xyzzy")
    source = next(code for key, code in FAMILIES[family].items() if key.endswith(name))
    source = hostile_programs.filled(source, port=9, pid=os.getpid(), secret_file=secret)
    began = time.monotonic()
    ran = sandbox.run(source, 1.0)
    assert time.monotonic() - began < 5.0
    assert ESCAPED.encode() not in ran.out and b"xyzzy" not in ran.out
    assert secret.read_text() == "xyzzy" and not pathlib.Path("/tmp/x").exists()


@needs_sandbox
def test_time_and_output_are_limited_and_what_was_said_is_kept():
    began = time.monotonic()
    ran = sandbox.run("import time\nprint('first', flush=True)\ntime.sleep(1000)", 1.0)
    assert ran == (b"first\n", None, LATE) and time.monotonic() - began < 5.0
    ran = sandbox.run("while True: print('y' * 1000)", 20.0)
    assert ran.why == FLOOD and ran.status is None and len(ran.out) == sandbox.MOST_OUTPUT


def _programs_of(user):
    """Processes that run a program as this user; not bubblewrap's own, one of which may be left waiting for nothing."""
    found = []
    for folder in pathlib.Path("/proc").iterdir():
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        found += [folder.name] * (user in words and b"bwrap" not in words[0])
    return found


@needs_sandbox
@pytest.mark.parametrize(
    "killed", ["running", *[f"{ms} ms after bubblewrap's start" for ms in (0, 2, 5, 10, 20)]]
)
def test_a_sandbox_ends_with_the_process_that_made_it_whenever_that_is_killed(killed):
    code = "from urlvr_jax.checks import sandbox\nprint('up', flush=True)\nsandbox.run('while True: pass', 100.0)"
    if killed != "running":
        code = f"""
import os, subprocess, time
class Dying(subprocess.Popen):
    def __init__(self, *a, **k):
        super().__init__(*a, **k)
        time.sleep({killed.split()[0]} / 1000)
        os.kill(os.getpid(), 9)
subprocess.Popen = Dying
{code}"""
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=pathlib.Path(__file__).parents[2]
    )
    assert child.stdout.readline() == b"up\n"
    alive = functools.partial(_programs_of, str(sandbox.FIRST_USER + child.pid).encode())
    end = time.monotonic() + 30
    if killed == "running":
        while not alive() and time.monotonic() < end:
            time.sleep(0.05)
        assert alive()
        child.kill()
    assert child.wait() == -signal.SIGKILL  # and not by an error of its own
    child.stdout.close()
    time.sleep(0.5)  # what bubblewrap has begun without anybody may start yet
    while alive() and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive()


@needs_sandbox
def test_a_program_that_is_far_too_long_is_not_run():
    with pytest.raises(ValueError, match="a program of 10000000 characters: at most 100000 are run"):
        sandbox.run("#" * 10_000_000, 1.0)


def test_without_a_sandbox_nothing_is_run_and_the_remedy_is_said(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(
        SandboxError, match="this machine has none: install bubblewrap, `apt install bubblewrap`"
    ):
        sandbox.require.__wrapped__()
    monkeypatch.undo()
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SandboxError, match="install bubblewrap"):
        sandbox.require.__wrapped__()


@needs_sandbox
def test_a_bubblewrap_that_cannot_start_or_does_not_hold_is_refused(monkeypatch, tmp_path):
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sandbox, "_bubblewrap", lambda: (str(broken),))
    with pytest.raises(SandboxError, match="bubblewrap could not start a program, exit status 1"):
        sandbox.require.__wrapped__()
    monkeypatch.undo()
    allowing = (6).to_bytes(2, "little") + bytes(2) + (0x7FFF0000).to_bytes(4, "little")
    monkeypatch.setattr(system_calls, "filter_bytes", lambda: allowing)
    with pytest.raises(SandboxError, match="does not hold a program here"):
        sandbox.require.__wrapped__()


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_is_whole_and_its_jumps_stay_within_it(machine):
    rules = system_calls.filter_bytes(machine)
    lines = [rules[i : i + 8] for i in range(0, len(rules), 8)]
    assert len(rules) % 8 == 0 and len(lines) < 4096
    for at, line in enumerate(lines):
        code, yes, no = int.from_bytes(line[:2], sys.byteorder), line[2], line[3]
        assert code in (0x20, 0x15, 0x35, 0x45, 0x06)
        assert at + 1 + max(yes, no) < len(lines) or code == 0x06
    assert lines[-1][:2] == (6).to_bytes(2, sys.byteorder)


def test_what_runs_inside_knows_nothing_of_this_package():
    source = pathlib.Path(inside.__file__).read_text()
    assert "urlvr_jax" not in source
