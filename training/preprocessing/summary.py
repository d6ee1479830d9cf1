"""Tables of what a run read, wrote and left out, for standard output."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterable, Mapping


def table(title: str, rows: Iterable[tuple[str, object]]) -> str:
    """Two columns: names on the left, values aligned on the right. Whole numbers get thousands separators."""
    texts = [(name, f"{value:,}" if isinstance(value, int) else str(value)) for name, value in rows]
    left = max(len(name) for name, _ in texts)
    right = max(len(value) for _, value in texts)
    lines = [f"  {name:<{left}}  {value:>{right}}" for name, value in texts]
    return "\n".join([title, *lines])


def timing_rows(seconds: Mapping[str, float]) -> list[tuple[str, object]]:
    """A row per stage, their sum, and the peak memory of this process."""
    rows: list[tuple[str, object]] = [(f"time: {title}", f"{value:.1f} s") for title, value in seconds.items()]
    return [*rows, ("time: all", f"{sum(seconds.values()):.1f} s"), ("peak memory", f"{peak_memory_mb():,.0f} MB")]


def peak_memory_mb() -> float:
    """The most memory that this process has held, in 10^6 bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
