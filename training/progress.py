"""Progress of long work: a bar on a terminal, a plain line now and then in a log. Goes to standard error."""

from __future__ import annotations

import datetime
import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PLAIN_LINE_EVERY_S = 10.0


class RowProgress:
    """Counts rows of one pass, with a free text of figures behind.

    total: rows expected, None if unknown. done: rows of an earlier run, of a pass that is resumed.
    """

    def __init__(self, title: str, total: int | None, shown: bool = True, done: int = 0) -> None:
        self._title, self._total, self._shown = title, total, shown
        self._done = self._done_before = done
        self._start = self._last_line = time.monotonic()
        self._bar: Progress | None = None
        console = Console(stderr=True)
        if shown and console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("rows"),
                TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[figures]}"),
                console=console,
            )  # fmt: skip
            self._task = self._bar.add_task(title, total=total, completed=done, figures="")

    def advance(self, rows: int, figures: str = "") -> None:
        self._done += rows
        if self._bar is not None:
            self._bar.update(self._task, advance=rows, figures=figures)
        elif self._shown and time.monotonic() - self._last_line >= PLAIN_LINE_EVERY_S:
            self._last_line = time.monotonic()
            of = f"/{self._total}" if self._total else ""
            print(f"{self._title}: {self._done}{of} rows  {figures}{self._left()}", file=sys.stderr, flush=True)

    def _left(self) -> str:
        done = self._done - self._done_before
        if not self._total or done == 0:
            return ""
        seconds = (time.monotonic() - self._start) * max(0, self._total - self._done) / done
        return f"  left {datetime.timedelta(seconds=round(seconds))}"

    def __enter__(self) -> RowProgress:
        self._start = self._last_line = time.monotonic()
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
