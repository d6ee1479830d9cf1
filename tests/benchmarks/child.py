"""Runs one command as a child process and tells what it cost, as the kernel counts it."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

ROOT = Path(__file__).parents[2]
RECSERVE = (sys.executable, "-m", "recserve")
LINES_SHOWN = 30
GRACE_S = 20.0  # horovodrun ends its processes one after another


class BenchmarkError(Exception):
    """A benchmark that cannot go on; its text is for the user."""


@dataclass(frozen=True)
class Cost:
    """seconds: wall clock. peak_memory_bytes: largest resident size of the child or of one that it waited for."""

    seconds: float
    peak_memory_bytes: int


def run_child(arguments: Sequence[str], log: Path) -> Cost:
    """Waits for the child, whose output goes to `log`. Raises BenchmarkError with its last lines if it fails.

    This process should be small: what it holds when it starts the child counts as the child's (Linux keeps the peak
    over exec). An exception here, such as Ctrl-C, ends the child and its children first.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    with log.open("wb") as output:
        start = time.perf_counter()
        child = subprocess.Popen(
            list(arguments), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT,
            env=environment, start_new_session=True,
        )  # fmt: skip
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            _end(child)
            raise
        seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise BenchmarkError(_failure(arguments, child.returncode, log))
    return Cost(seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))


def stop_on_sigterm() -> None:
    """SIGTERM unwinds as Ctrl-C does, so that no child outlives the benchmark."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)


def _end(child: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
            child.wait(GRACE_S)
            return
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            return


def _failure(arguments: Sequence[str], code: int, log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    shown = "\n".join(f"    {line}" for line in lines[-LINES_SHOWN:]) or "    (it wrote nothing)"
    ended = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return f"{shlex.join(arguments)}\n{ended}. Its last lines:\n{shown}\nAll of them: {log}"
