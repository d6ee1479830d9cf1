"""DLLogger lines -> a run's parameters, steps, epochs and summary. Forgives damage, and tells what it forgave."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.report.errors import ReportError

PREFIX = "DLLL "
MOST_LINES_NAMED = 5
Figures = dict[str, float]


@dataclass
class RunLog:
    """steps: (epoch, step) -> {metric: value}; epochs: epoch -> the same; values that were null are NaN.

    finished: the summary line is there. Of a log to which a resumed run was appended, later lines win.
    """

    parameters: dict[str, Any] = field(default_factory=dict)
    steps: dict[tuple[int, int], Figures] = field(default_factory=dict)
    epochs: dict[int, Figures] = field(default_factory=dict)
    summary: Figures = field(default_factory=dict)
    finished: bool = False
    remarks: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.steps or self.epochs or self.summary)

    @property
    def step_numbers(self) -> list[int]:
        """Steps counted from the run's very beginning; epochs that an earlier, resumed run logged are made up for."""
        lengths: dict[int, int] = {}
        for epoch, step in self.steps:
            lengths[epoch] = max(step, lengths.get(epoch, 0))
        usual = max(lengths.values(), default=0)
        before, total = {}, 0
        for epoch in range(1, max(lengths, default=0) + 1):
            before[epoch] = total
            total += lengths.get(epoch, usual)
        return [before.get(epoch, 0) + step for epoch, step in self.steps]


def read_log(path: Path) -> RunLog:
    """Raises ReportError if the file cannot be read. Damaged lines are left out and counted in `remarks`."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ReportError(f"{path}: cannot be read: {error.strerror or error}") from error
    log, damaged = RunLog(), []
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        if line.strip() and not _take(log, line.strip()):
            damaged.append(number)
    if damaged and damaged[-1] == len(lines):  # no line end follows it
        damaged.pop()
        log.remarks.append("the last line is not complete: the run still goes on, or it was killed")
    if damaged:
        named = ", ".join(map(str, damaged[:MOST_LINES_NAMED])) + (" …" if len(damaged) > MOST_LINES_NAMED else "")
        plural = "lines are" if len(damaged) > 1 else "line is"
        log.remarks.append(f"{len(damaged)} {plural} not in DLLogger's format and left out: line {named}")
    log.steps = dict(sorted(log.steps.items()))
    log.epochs = dict(sorted(log.epochs.items()))
    return log


def _take(log: RunLog, line: str) -> bool:
    """Adds a line to the log. False if it is damaged."""
    try:
        entry = json.loads(line.removeprefix(PREFIX)) if line.startswith(PREFIX) else None
    except ValueError:
        return False
    if not isinstance(entry, dict) or "type" not in entry:
        return False
    if entry["type"] != "LOG":
        return True
    return isinstance(entry.get("data"), dict) and _place(log, entry.get("step"), entry["data"])


def _place(log: RunLog, step: Any, data: dict[str, Any]) -> bool:
    """step: "PARAMETER", [epoch, step], [epoch] or []. False for anything else."""
    match step:
        case "PARAMETER":  # of an appended run too, which then has no summary yet
            log.parameters, log.summary, log.finished = data, {}, False
        case [int(epoch), int(number)]:
            log.steps[epoch, number] = _figures(data)
        case [int(epoch)]:
            log.epochs[epoch] = _figures(data)
        case []:
            log.summary, log.finished = _figures(data), True
        case _:
            return False
    return True


def _figures(data: Mapping[str, Any]) -> Figures:
    """The numbers; null, which stands for NaN in JSON, and infinities become NaN."""
    figures = {}
    for name, value in data.items():
        if value is None:
            figures[name] = math.nan
        elif isinstance(value, int | float) and not isinstance(value, bool):
            figures[name] = float(value) if math.isfinite(value) else math.nan
    return figures
