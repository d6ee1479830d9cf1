"""What a benchmark prints: progress on standard error; tables and, as the last line, JSON on standard output."""

from __future__ import annotations

import json
import math
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tests.benchmarks.child import BenchmarkError
from training.report.tables import NO_FIGURE, Table
from training.settings import MODEL_TYPES

FORMAT = 1  # of the JSON; larger if a key changes its meaning


def print_results(tables: Iterable[Table], figures: Mapping[str, Any]) -> None:
    for table in tables:
        print(f"\n### {table.title}\n\n{table.markdown()}" + (f"\n\n{table.note}" if table.note else ""))
    print(f"\n{json_line(figures)}", flush=True)


def json_line(figures: Mapping[str, Any]) -> str:
    """One line of standard JSON; NaN and infinities, which it does not have, become null."""
    return json.dumps(_plain({"format": FORMAT, **figures}), allow_nan=False)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def number(value: float | None, form: str) -> str:
    """A cell; unknown figures have a sign of their own."""
    return NO_FIGURE if value is None or not math.isfinite(value) else format(value, form)


def mean(values: Sequence[float]) -> float:
    """NaN of nothing."""
    return float(np.mean(values)) if values else math.nan


def deviation(values: Sequence[float]) -> float:
    """Sample standard deviation (n − 1); NaN of fewer than two."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


class Progress:
    """One line before and one after each child: what, n of m, and the time left, from the children so far."""

    def __init__(self, kinds: Sequence[str]) -> None:
        """kinds: of all children in order; those of one kind take about equally long."""
        self._kinds, self._done, self._start = list(kinds), 0, time.monotonic()
        self._seconds: dict[str, list[float]] = defaultdict(list)

    def begin(self, what: str) -> None:
        left = self.seconds_left()
        estimate = "" if left is None else f", {duration(left)} left"
        say(f"[{self._done + 1}/{len(self._kinds)}] {what} … ({duration(time.monotonic() - self._start)}{estimate})")

    def end(self, seconds: float, text: str) -> None:
        """seconds: of the child that has ended."""
        self._take(seconds)
        say(f"    {text}, {seconds:.1f} s")

    def skip(self, what: str, seconds: float | None = None) -> None:
        """In place of begin and end, for what an earlier call has left. seconds: what it took, if that is known."""
        say(f"[{self._done + 1}/{len(self._kinds)}] {what}: kept from an earlier call")
        self._take(seconds)

    def _take(self, seconds: float | None) -> None:
        if seconds is not None:
            self._seconds[self._kinds[self._done]].append(seconds)
        self._done += 1

    def seconds_left(self) -> float | None:
        """None before there is anything to go by."""
        known = [s for seconds in self._seconds.values() for s in seconds]
        if not known:
            return None
        return sum(mean(self._seconds.get(kind, known)) for kind in self._kinds[self._done :])


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def model_names(text: str) -> list[str]:
    """Of a comma-separated list. Raises BenchmarkError for unknown or repeated ones."""
    names = [name.strip() for name in text.split(",")]
    if not set(names) <= set(MODEL_TYPES) or len(set(names)) < len(names):
        raise BenchmarkError(f"models: expected some of {', '.join(MODEL_TYPES)}, each once, got {text!r}")
    return names


def run_main(command: Any) -> None:
    """Runs a click command; a BenchmarkError ends in its message and exit code 1."""
    try:
        command(standalone_mode=True)
    except BenchmarkError as error:
        say(f"Error: {error}")
        sys.exit(1)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
