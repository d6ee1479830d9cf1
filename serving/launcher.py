"""Runs a program that ends when its parent does: `python launcher.py <parent pid> <program> <arguments>`.

The kernel sends SIGTERM to the program when the parent is gone, however it went (SIGKILL included). This file
runs in a bare interpreter, so it imports nothing of ours.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    parent, program = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died before the call above
        sys.exit(1)
    os.execv(program[0], program)  # noqa: S606 - keeps the process id and the setting


if __name__ == "__main__":
    main()
