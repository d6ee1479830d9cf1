"""Named stages of a long run: progress on standard error while they run, their seconds for the summary."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

PLAIN_LINE_EVERY_S = 10.0


class Stage:
    """Counts what one stage has done. total: units expected, None if unknown."""

    def __init__(self, title: str, unit: str, total: int | None, bar: Progress | None) -> None:
        self._title, self._unit, self._total, self._bar = title, unit, total, bar
        self._done, self._last_line = 0, time.monotonic()
        self._task = bar.add_task(title, total=total, unit=unit) if bar is not None else None

    def advance(self, count: int) -> None:
        self._done += count
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=count)
        elif time.monotonic() - self._last_line >= PLAIN_LINE_EVERY_S:
            self._last_line = time.monotonic()
            of = f" of {self._total:,}" if self._total is not None else ""
            print(f"{self._title}: {self._done:,}{of} {self._unit}", file=sys.stderr, flush=True)


class Stages:
    """seconds: {title: seconds} of the stages that have ended, in their order."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._console = Console(stderr=True)

    @contextmanager
    def stage(self, title: str, unit: str = "rows", total: int | None = None) -> Iterator[Stage]:
        start = time.monotonic()
        if self._console.is_terminal:
            with self._progress() as bar:
                yield Stage(title, unit, total, bar)
        else:
            print(f"{title} …", file=sys.stderr, flush=True)
            yield Stage(title, unit, total, None)
        self.seconds[title] = time.monotonic() - start

    def _progress(self) -> Progress:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
        )
        return Progress(*columns, TimeElapsedColumn(), console=self._console)
