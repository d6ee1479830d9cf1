"""Whose crash it was: the stack that Triton logs when a signal ends it."""

from __future__ import annotations

import re

SIGNAL = re.compile(r"Signal \((\d+)\) received")
FRAME = re.compile(r"^ *\d+# .*$", re.MULTILINE)
OURS = ("libtriton_tensorflow", "recserve::", "libtensorflow")
FRONTEND = ("triton::server::grpc", "ModelInferHandler", "InferHandlerState", "grpc::", "grpc_core::")


def whose_crash(log: str) -> str:
    """log: Triton's. "none" without a stack; "backend" if any frame is ours or TensorFlow's; "frontend" if not and some
    are of the gRPC frontend, whose race with cancellations ends it up to version 2.52; else "server".
    """
    signal = SIGNAL.search(log)
    if signal is None:
        return "none"
    stack = "\n".join(FRAME.findall(log[signal.end() :]))
    if any(name in stack for name in OURS):
        return "backend"
    return "frontend" if any(name in stack for name in FRONTEND) else "server"
