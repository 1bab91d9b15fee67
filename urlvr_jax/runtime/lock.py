"""One run at a time in a folder: a lock of the kernel, which goes with its holder however that one ends."""

from __future__ import annotations

import datetime
import errno
import fcntl
import os
import pathlib
import socket
import weakref

from urlvr_jax.runtime.terminal import warn

NAME = "lock"
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # of a file system that has none
LONGEST = 300


def holder() -> str:
    """This process, for whoever finds the folder taken."""
    since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return f"process {os.getpid()} on {socket.gethostname()}, since {since}"


class Lock:
    """Holds a folder until `release`, until it is collected, or until the process ends.

    taken: who holds the folder instead; empty where this one does. text: what the file says of this one. The file stays: it is the kernel's lock on it
    that counts, so a killed run blocks nobody. Where the file system has no locks that is said, and all is as if held.
    """

    def __init__(self, folder: pathlib.Path):
        file = folder / NAME
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        self.release = weakref.finalize(self, os.close, descriptor)
        self.taken = self.text = ""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            said = os.read(descriptor, LONGEST).decode(errors="replace").strip()
            self.taken = said or "another process"  # which has not said who it is yet
            self.release()
            return
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            warn(f"{file}: {error.strerror}: nothing here keeps a second run out of this folder")
        os.ftruncate(descriptor, 0)
        self.text = f"{holder()}\n"
        os.pwrite(descriptor, self.text.encode(), 0)
        os.fsync(descriptor)  # other machines of the run look for it


def is_held(folder: pathlib.Path) -> bool:
    """Whether a process of this machine is at work in a folder."""
    file = folder / NAME
    if not file.is_file():
        return False
    with open(file) as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
    return False
