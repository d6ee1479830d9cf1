"""SIGTERM and Ctrl-C: the run ends between two pieces of work with a checkpoint, not wherever it happens to be."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

from training.errors import TrainingError

CAUGHT = (signal.SIGTERM, signal.SIGINT)


class Interrupted(TrainingError):
    """Training ended early because of a signal. exit_code: as a shell has it, 128 + the signal's number."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(f"{signal.Signals(number).name}: {message}")
        self.exit_code = 128 + number


class StopSignal:
    """While it is entered, the first SIGTERM or SIGINT is only remembered in `number` (0: none came).

    A second SIGINT ends the process at once, as usual. Outside the main thread, where Python allows no handlers,
    it remembers nothing.
    """

    def __init__(self) -> None:
        self.number = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._remember) for number in CAUGHT}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.number:
            self.number = number
            print(f"{signal.Signals(number).name}: stopping", file=sys.stderr, flush=True)
