"""Whose crash it was: the stack that Triton logs when a signal ends it."""

from __future__ import annotations

import re

SIGNAL = re.compile(r"Signal \((\d+)\) received")
FRAME = re.compile(r"^ *\d+# .* in (\S+)$", re.MULTILINE)
# Triton's executable has the frontends; its core, which calls the backends, is libtritonserver.
FRONTEND = re.compile(r"(.*/)?(tritonserver|libc\.so\.6|libstdc\+\+\.so\S*)")
OURS = ("libtriton_tensorflow", "libtensorflow")


def whose_crash(log: str) -> str:
    """log: Triton's. "none" without a stack; "backend" if any frame is ours or TensorFlow's; "frontend" if all are of
    Triton's executable, whose gRPC frontend has a race with cancellations up to version 2.52; else "server".
    """
    signal = SIGNAL.search(log)
    if signal is None:
        return "none"
    files = FRAME.findall(log[signal.end() :])
    if any(name in file for name in OURS for file in files):
        return "backend"
    return "frontend" if files and all(FRONTEND.fullmatch(file) for file in files) else "server"
