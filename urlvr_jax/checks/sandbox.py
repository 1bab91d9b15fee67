"""Programs that nobody has read, run by bubblewrap: what comes back are bytes and an exit status.

A program has a process of its own, in namespaces of its own: no network, no other process in sight, an empty
environment but for a fixed hash seed, no home; of the system `/usr` and Python, to read. It can write no file, start no
process, open no socket. Wall time, processor time, memory, threads, open files and output are limited.

Linux alone, and bubblewrap alone: without it `require` says what to install. Docs: docs/verifiers.md.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import math
import os
import pathlib
import re
import selectors
import shutil
import socket
import subprocess
import sys
import time
from typing import NamedTuple

from urlvr_jax.checks import inside, system_calls
from urlvr_jax.errors import UserError

LATE, FLOOD = "late", "flood"
MEMORY = 512 << 20  # bytes of address space
MOST_OUTPUT = 1 << 20  # bytes; past them the program is killed
MOST_PROGRAM = 100_000  # characters
FIRST_USER = 1_000_000_000  # of users that nobody is, where this process is root's
_SYSTEM = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_PROBE = """
import os, socket
held = []
for attempt in (os.fork, socket.socket, lambda: open("/written", "w"), lambda: os.listdir(os.path.expanduser("~/."))[0]):
    try:
        attempt()
    except (OSError, IndexError):
        held.append(1)
print(len(held), os.getuid() != 0, sorted(os.environ))
"""


class SandboxError(UserError):
    """No sandbox on this machine, or one that does not start."""


class Ran(NamedTuple):
    """What came of a program."""

    out: bytes  # its standard output; of calls, what they wrote
    status: int | None  # 0: well; None where it was killed
    why: str = ""  # LATE: past its time; FLOOD: more than MOST_OUTPUT


def run(program: str, seconds: float, *, stdin: str = "", calls: list[str] | None = None) -> Ran:
    """Run a Python program for at most `seconds`. SandboxError where it was not run at all.

    calls: expressions, evaluated in the program once it ran; `values` reads them from what it wrote.
    """
    if len(program) > MOST_PROGRAM:
        raise ValueError(f"a program of {len(program)} characters: at most {MOST_PROGRAM} are run")
    with contextlib.ExitStack() as opened:
        given = {"/program": program} | ({} if calls is None else {"/calls": inside.BETWEEN.join(calls)})
        files = {name: _sealed(text, opened) for name, text in given.items()}
        rules = _sealed(system_calls.filter_bytes(), opened)
        read_status, write_status = os.pipe()
        opened.callback(os.close, read_status)
        ours, theirs = (opened.enter_context(end) for end in socket.socketpair())
        words = [*_bubblewrap()]
        for name, fd in files.items():
            words += ["--perms", "0444", "--ro-bind-data", str(fd), name]
        words += ["--remount-ro", "/", "--seccomp", str(rules), "--json-status-fd", str(write_status)]
        words += ["--", *_python(), *_limits(seconds), str(int(calls is not None)), str(theirs.fileno())]
        try:
            process = subprocess.Popen(
                words, stdin=_sealed(stdin, opened), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                env={}, pass_fds=(*files.values(), rules, write_status, theirs.fileno()),
            )  # fmt: skip
        finally:
            os.close(write_status)
            theirs.close()
        try:
            return _watch(process, read_status, ours.fileno(), time.monotonic() + seconds)
        finally:
            process.kill()  # the namespace's first process goes with it, and so all others
            process.wait()
            process.stdout.close()


def values(ran: Ran, count: int) -> list[str | None]:
    """The values of `count` calls, as Python's text of them; None for one that has none."""
    lines = ran.out.decode("utf-8", "replace").split("\n")[:count]
    most = 1 + inside.LONGEST_VALUE
    out = [line[1:] if line[:1] == inside.VALUE and len(line) <= most else None for line in lines]
    return out + [None] * (count - len(out))


def _watch(process: subprocess.Popen, status: int, gate: int, end: float) -> Ran:
    """Read what the program writes until bubblewrap ends, the time is over, or it is too much.

    The program waits at the gate until it is told to begin. bubblewrap binds its life to this process's while it starts;
    were this process killed before that, nobody would end the program, but nobody would tell it to begin either. What may be
    left then is a bubblewrap that sleeps, without a program.
    """
    out, said = bytearray(), bytearray()
    stdout = process.stdout.fileno()
    for fd in (stdout, status):
        os.set_blocking(fd, False)
    into = {stdout: out, status: said}
    with selectors.DefaultSelector() as selector:
        for fd in into:
            selector.register(fd, selectors.EVENT_READ)
        selector.register(gate, selectors.EVENT_READ)
        while status in selector.get_map():  # bubblewrap holds the other end until it ends
            left = end - time.monotonic()
            if left <= 0:
                return Ran(bytes(out), None, LATE)
            for key, _ in selector.select(left):
                if key.fd == gate:
                    selector.unregister(gate)
                    with contextlib.suppress(OSError):  # nobody is there: bubblewrap could not start it
                        os.write(gate, b"\n")
                    continue
                part = os.read(key.fd, 1 << 16)
                into[key.fd] += part
                if not part:
                    selector.unregister(key.fd)
            if len(out) > MOST_OUTPUT:
                return Ran(bytes(out[:MOST_OUTPUT]), None, FLOOD)
    with contextlib.suppress(BlockingIOError):
        while len(out) <= MOST_OUTPUT and (part := os.read(stdout, 1 << 16)):
            out += part
    if len(out) > MOST_OUTPUT:
        return Ran(bytes(out[:MOST_OUTPUT]), None, FLOOD)
    code = re.search(rb'"exit-code": (\d+)', said)
    if code is None:
        raise SandboxError(f"bubblewrap could not start a program, exit status {process.wait()}")
    return Ran(bytes(out), int(code[1]))


def _sealed(data: str | bytes, opened: contextlib.ExitStack) -> int:
    """A file in memory that nobody can change, at its start."""
    data = data.encode("utf-8", "replace") if isinstance(data, str) else data
    fd = os.memfd_create("given", os.MFD_ALLOW_SEALING)
    opened.callback(os.close, fd)
    with open(fd, "wb", closefd=False) as file:
        file.write(data)
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


# ---- bubblewrap -------------------------------------------------------------------------------


def _limits(seconds: float) -> list[str]:
    """What inside.py bounds a program by: bytes of memory, seconds of a processor, and whom one of root's becomes.

    That is another user for each process that runs programs, so that each has all of its threads. Programs of others
    are in a namespace of users.
    """
    return [str(MEMORY), str(math.ceil(seconds) + 1), str(FIRST_USER + os.getpid())]


@functools.cache
def _bubblewrap() -> tuple[str, ...]:
    """bubblewrap and its options, but for a program's own."""
    words = [shutil.which("bwrap") or "bwrap", "--die-with-parent", "--new-session", "--clearenv"]
    words += ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    if os.geteuid() == 0:
        words += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        words += ["--unshare-user", "--uid", "65534", "--gid", "65534"]
    words += ["--ro-bind", "/usr", "/usr", "--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    for folder in map(pathlib.Path, _SYSTEM):
        if folder.is_symlink():
            words += ["--symlink", str(folder.readlink()), str(folder)]
        elif folder.is_dir():
            words += ["--ro-bind", str(folder), str(folder)]
    if not os.path.realpath(sys.executable).startswith("/usr/"):
        # A home on the way to it is there, empty, and open, which bubblewrap would not make it.
        for folder in reversed(pathlib.Path(sys.base_prefix).parents[:-1]):
            words += ["--dir", str(folder)]
        words += ["--ro-bind", sys.base_prefix, sys.base_prefix]
    words += ["--ro-bind", str(pathlib.Path(inside.__file__)), "/inside.py"]
    words += ["--dev", "/dev", "--remount-ro", "/dev", "--dir", "/tmp", "--chdir", "/tmp"]
    return (*words, "--setenv", "PYTHONHASHSEED", "0")


def _python() -> list[str]:
    """This Python with its standard library alone, and what it runs in the sandbox."""
    return [os.path.realpath(sys.executable), "-S", "-s", "-P", "/inside.py"]


@functools.cache
def require() -> None:
    """SandboxError, with the remedy, unless a program runs here and is held."""
    if sys.platform != "linux" or shutil.which("bwrap") is None:
        raise SandboxError(
            "programs are only run in a sandbox, and this machine has none: install bubblewrap, "
            "`apt install bubblewrap` (Linux)"
        )
    if not system_calls.known():
        raise SandboxError(
            "programs are only run in a sandbox, and there is none for this machine: use x86_64 or aarch64"
        )
    ran = run(_PROBE, 30.0)
    if ran.status is None or ran.out.split()[:2] != [b"4", b"True"]:
        raise SandboxError(
            f"bubblewrap does not hold a program here: it ended with {ran.status} {ran.why} and said {ran.out[:80]!r}"
        )
