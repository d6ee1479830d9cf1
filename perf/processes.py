"""Child processes with a time limit, stopped with all their own children."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from perf.errors import PointFailed

GRACE_S = 5.0
LAUNCHER = Path(__file__).with_name("launcher.py")


@dataclass(frozen=True)
class Finished:
    code: int
    output: str


def run(command: Sequence[str], timeout_s: float, environment: Mapping[str, str] | None = None) -> Finished:
    """Runs to the end; output is standard output and error together. Raises PointFailed when the time is over.

    In a process group of its own: when the time is over, or we are interrupted, nothing of it stays behind. If we are
    killed ourselves, the kernel kills it. Call it from the main thread: the kernel watches the calling thread.
    """
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), *command],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace", start_new_session=True, env={**os.environ, **(environment or {})},
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        _stop(process)
        raise PointFailed(f"{Path(command[0]).name}: not done after {timeout_s:.0f} s; stopped") from None
    except BaseException:
        _stop(process)
        raise
    return Finished(process.returncode, output)


def _stop(process: subprocess.Popen[str]) -> None:
    _signal_group(process, signal.SIGTERM)
    try:
        process.communicate(timeout=GRACE_S)
    except subprocess.TimeoutExpired:
        _signal_group(process, signal.SIGKILL)
        process.communicate()


def _signal_group(process: subprocess.Popen[str], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended by itself
        os.killpg(process.pid, number)
