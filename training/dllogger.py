"""DLLogger's line format: `DLLL ` and one JSON object per line. The package itself is not on the package index."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO


class DLLogger:
    """Writes step, epoch, summary and metadata lines to a file; does nothing without one (ranks other than 0).

    A line has `timestamp` and `elapsedtime` (seconds, as strings), `datetime`, `type`, `step` and `data`;
    `step` is [epoch, step], [epoch] or [].
    """

    def __init__(self, path: Path | None) -> None:
        self._start = time.time()
        self._file: TextIO | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("w", encoding="utf-8", buffering=1)

    def parameters(self, values: Mapping[str, Any]) -> None:
        """The first line: every parameter of the run."""
        self._write("LOG", step="PARAMETER", data=dict(values))

    def metadata(self, metric: str, **facts: Any) -> None:
        """Unit, format and the like of a metric."""
        self._write("METADATA", metric=metric, metadata=facts)

    def log(self, step: tuple[int, ...], data: Mapping[str, float | None]) -> None:
        self._write("LOG", step=list(step), data=dict(data))

    def __enter__(self) -> DLLogger:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

    def _write(self, kind: str, **fields: Any) -> None:
        if self._file is None:
            return
        now = time.time()
        line = {
            "timestamp": f"{now:.6f}",
            "datetime": str(datetime.datetime.fromtimestamp(now)),
            "elapsedtime": f"{now - self._start:.6f}",
            "type": kind,
            **fields,
        }
        self._file.write("DLLL " + json.dumps(line) + "\n")
