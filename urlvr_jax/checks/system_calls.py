"""What a sandboxed program may not ask of the kernel: a filter that bubblewrap installs (`--seccomp`).

It closes what limits a process cannot bound or namespaces do not part: other processes (threads stay), sockets (those to
a virtual machine's host have no namespace), memory that no address space counts, namespaces of its own, tracing, keys.
"""

from __future__ import annotations

import errno
import platform
import struct

_ARCHITECTURES = {
    "x86_64": (0xC000003E, 0),
    "aarch64": (0xC00000B7, 1),
}  # audit's number, column of _NUMBERS
_NUMBERS = {  # on x86_64, on aarch64; None: not there
    "fork": (57, None), "vfork": (58, None), "socket": (41, 198), "ptrace": (101, 117),
    "shmget": (29, 194), "shmat": (30, 196), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "mount": (165, 40), "umount2": (166, 39),
    "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97), "setns": (308, 268),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "mount_setattr": (442, 442),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "pidfd_getfd": (438, 438),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "fanotify_init": (300, 262),
}  # fmt: skip
_CLONE, _CLONE3 = (56, 220), 435
_THREAD = 0x10000  # of clone's flags; clone3 hides its flags in memory, so the C library is told that it is not there
_LOAD, _EQUAL, _AT_LEAST, _BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_OTHER_ABI = 0x40000000  # x32's numbers


def known() -> bool:
    """Whether there is a filter for this machine."""
    return platform.machine() in _ARCHITECTURES


def filter_bytes(machine: str | None = None) -> bytes:
    """The filter as an array of `struct sock_filter`. KeyError for a machine that is not known."""
    audit, column = _ARCHITECTURES[machine or platform.machine()]
    refused = [pair[column] for pair in _NUMBERS.values() if pair[column] is not None]
    refuse, absent = _ERRNO | errno.EPERM, _ERRNO | errno.ENOSYS
    # (code, value, jump if true, jump if false); jumps count instructions that are left out
    lines = [
        (_LOAD, 4, 0, 0), (_EQUAL, audit, 1, 0), (_RETURN, _KILL, 0, 0),
        (_LOAD, 0, 0, 0), (_AT_LEAST, _OTHER_ABI, 0, 1), (_RETURN, absent, 0, 0),
        (_EQUAL, _CLONE3, 0, 1), (_RETURN, absent, 0, 0),
    ]  # fmt: skip
    for number in refused:
        lines += [(_EQUAL, number, 0, 1), (_RETURN, refuse, 0, 0)]
    lines += [
        (_EQUAL, _CLONE[column], 1, 0), (_RETURN, _ALLOW, 0, 0),
        (_LOAD, 16, 0, 0), (_BITS, _THREAD, 1, 0), (_RETURN, refuse, 0, 0), (_RETURN, _ALLOW, 0, 0),
    ]  # fmt: skip
    return b"".join(struct.pack("=HBBI", code, yes, no, value) for code, value, yes, no in lines)
