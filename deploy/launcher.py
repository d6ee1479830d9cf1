"""Runs a program that ends when its parent does: `python launcher.py <parent pid> <program> <arguments>`.

The kernel kills the program when the parent is gone, however it went. The setting is made here, in a process of its
own, since code between fork and exec may hang a parent with threads. A bare interpreter runs this file: it imports
nothing of ours.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    parent, program = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the setting was made
        sys.exit(1)
    os.execv(program[0], program)  # noqa: S606 - keeps the process id and the setting


if __name__ == "__main__":
    main()
