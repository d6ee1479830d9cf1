"""Progress of long work on standard error: a bar on a terminal, else a plain line about every ten seconds."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

PLAIN_LINE_EVERY_S = 10.0


class RowProgress:
    """Context manager that counts rows. total: how many to expect; None if unknown."""

    def __init__(self, title: str, total: int | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._title, self._total = title, total
        self._done = 0
        self._next_line = time.monotonic() + PLAIN_LINE_EVERY_S
        console = Console(stderr=True)
        self._bar = None
        if console.is_terminal:
            columns = (TextColumn("{task.description} {task.completed} rows"), BarColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, console=console, transient=True)
            self._task = self._bar.add_task(title, total=total)

    def advance(self, rows: int) -> None:
        self._done += rows
        if self._bar is not None:
            self._bar.advance(self._task, rows)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + PLAIN_LINE_EVERY_S
            of = f" of {self._total}" if self._total else ""
            print(f"{self._title}: {self._done}{of} rows", file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
