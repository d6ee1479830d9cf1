"""Commands in processes of their own: TensorFlow's memory goes with them, and a kill of ours takes them along."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import serving.launcher
from deploy.errors import StageFailed

RECSERVE = (sys.executable, "-m", "recserve")
GRACE_S = 10.0
POLL_S = 0.1
SHOWN_LINES = 12


class RunStage(Protocol):
    """Runs `recserve <arguments>` to its end; raises StageFailed."""

    def __call__(self, stage: str, arguments: Sequence[str], log_file: Path) -> None: ...


class Children:
    """nice: their priority, 0…19. timeout_s: of each. on_tick: called while one runs."""

    def __init__(self, nice: int, timeout_s: float, on_tick: Callable[[], None] = lambda: None) -> None:
        self._nice, self._timeout_s, self._on_tick = nice, timeout_s, on_tick

    def __call__(self, stage: str, arguments: Sequence[str], log_file: Path) -> None:
        """Output goes to the log file. Call it from the main thread: the kernel watches the thread that calls."""
        with log_file.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", serving.launcher.__file__, str(os.getpid()), *RECSERVE, *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            try:
                with contextlib.suppress(ProcessLookupError):
                    os.setpriority(os.PRIO_PROCESS, process.pid, self._nice)
                code = self._wait(process)
            except BaseException:
                _stop(process)
                raise
        if code is None:
            _stop(process)
            raise StageFailed(stage, f"{stage}: not done after {self._timeout_s:g} s; see {log_file}")
        if code:
            ended = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            raise StageFailed(stage, f"{stage} {ended}: {_tail(log_file)}")

    def _wait(self, process: subprocess.Popen[bytes]) -> int | None:
        """None when the time is over."""
        deadline = time.monotonic() + self._timeout_s
        while time.monotonic() < deadline:
            self._on_tick()
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(POLL_S)
        return None


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number, wait_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(wait_s)
            return


def _tail(log_file: Path) -> str:
    """What the command said last: its error message, or else its last lines."""
    lines = [line for line in log_file.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    starts = [i for i, line in enumerate(lines) if line.startswith("Error: ")]
    last = lines[starts[-1] :] if starts else lines[-SHOWN_LINES:]
    return "\n".join(last[:SHOWN_LINES]).removeprefix("Error: ")
