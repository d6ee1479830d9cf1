"""DLLogger's line format: `DLLL ` and one JSON object per line. The package itself is not on the package index."""

from __future__ import annotations

import datetime
import io
import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from training.errors import TrainingError


class LogError(TrainingError):
    """The log file cannot be written."""


class DLLogger:
    """Writes step, epoch, summary and metadata lines to a file; does nothing without one (ranks other than 0).

    A line has `timestamp` and `elapsedtime` (seconds, as strings), `datetime`, `type`, `step` and `data`;
    `step` is [epoch, step], [epoch] or [].
    """

    def __init__(self, path: Path | None, append: bool = False) -> None:
        """append: go on in a file that is there. Raises LogError if the file cannot be made."""
        self._start = time.time()
        self._file: io.FileIO | None = None
        self._path = path
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._file = io.FileIO(
                    path, "a" if append else "w"
                )  # unbuffered: a full disk must not fail again when it is closed
            except OSError as error:
                raise self._explained(error) from error

    def parameters(self, values: Mapping[str, Any]) -> None:
        """The first line: every parameter of the run."""
        self._write("LOG", time.time(), step="PARAMETER", data=dict(values))

    def metadata(self, metric: str, **facts: Any) -> None:
        """Unit, format and the like of a metric."""
        self._write("METADATA", time.time(), metric=metric, metadata=facts)

    def log(self, step: tuple[int, ...], data: Mapping[str, Any], at: float | None = None) -> None:
        """at: seconds since 1970 at which it happened, if it is written later."""
        self._write("LOG", time.time() if at is None else at, step=list(step), data=dict(data))

    def __enter__(self) -> DLLogger:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

    def _write(self, kind: str, at: float, **fields: Any) -> None:
        if self._file is None:
            return
        line = {
            "timestamp": f"{at:.6f}",
            "datetime": str(datetime.datetime.fromtimestamp(at)),
            "elapsedtime": f"{at - self._start:.6f}",
            "type": kind,
            **fields,
        }
        rest = f"DLLL {json.dumps(line)}\n".encode()
        try:
            while rest:  # a disk that is about to be full takes a part
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise self._explained(error) from error

    def _explained(self, error: OSError) -> LogError:
        return LogError(
            f"results_dir: cannot write the log {self._path}: {error.strerror}. Free space or choose another folder."
        )
