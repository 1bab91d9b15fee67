"""What a run's process does before it becomes the run: `child.py CORES PARENT WORD ...`.

It takes its cores, asks the kernel for SIGTERM when the process that started it ends, however that ends, and becomes
the command. It is run as a file, before anything is imported, so that threads are counted by the cores it has.
"""

import os
import signal
import sys

PDEATHSIG = 1  # of linux/prctl.h


def main(cores: str, parent: str, *words: str) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, map(int, cores.split(",")))
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(parent):  # it ended before it could be asked for
            sys.exit(128 + signal.SIGTERM)
    os.execv(words[0], words)


if __name__ == "__main__":
    main(*sys.argv[1:])
