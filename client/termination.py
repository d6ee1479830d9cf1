"""SIGTERM and SIGHUP as an exception, so that a command that is told to end cleans up first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def termination_as_exit() -> Iterator[None]:
    """Inside it, the signals raise SystemExit(128 + signal): `with` and `finally` run, as they do after Ctrl-C.

    A further signal is ignored while they run, and one that was ignored before stays so (nohup). Outside the main
    thread, which alone gets signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in SIGNALS}
    caught = [number for number, handler in before.items() if handler != signal.SIG_IGN]

    def leave(number: int, frame: FrameType | None) -> None:
        for each in caught:
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number)

    try:
        for number in caught:
            signal.signal(number, leave)
        yield
    finally:
        for number in caught:
            signal.signal(number, before[number])
