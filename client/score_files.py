"""Scores to a file, as they come: CSV, Parquet or JSON lines by the file's ending. It appears when it is whole."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from client.errors import DataFileError
from client.output_files import check_writable, staged_for, writing

Columns = Mapping[str, np.ndarray]


class Sink(Protocol):
    def write(self, columns: Columns) -> None: ...

    def close(self) -> None: ...


class ScoreFile:
    """Context manager over the writer for a file's ending. Written beside, renamed at the end; dropped on an error.

    Raises OutputFileError where it cannot be written, at the start if that is known by then.
    """

    def __init__(self, file: Path) -> None:
        if file.suffix not in SINKS:
            raise DataFileError(f"output_file: got {file.name!r}; expected a name ending in one of {', '.join(SINKS)}")
        self._file = file
        self._staged = staged_for(file)

    def write(self, columns: Columns) -> None:
        """columns: {name: [n]}, the same names at each call."""
        with writing(self._file):
            self._sink.write(columns)

    def __enter__(self) -> Self:
        check_writable(self._file)
        with writing(self._file):
            self._sink = SINKS[self._file.suffix](self._staged)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with writing(self._file):
                self._sink.close()
                if error is None:
                    self._staged.replace(self._file)
        finally:
            self._staged.unlink(missing_ok=True)


class _CsvSink:
    def __init__(self, file: Path) -> None:
        self._stream = file.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._stream, lineterminator="\n")
        self._has_header = False

    def write(self, columns: Columns) -> None:
        if not self._has_header:
            self._writer.writerow(columns)
            self._has_header = True
        self._writer.writerows(zip(*(_texts(column) for column in columns.values()), strict=True))

    def close(self) -> None:
        self._stream.close()


class _JsonLinesSink:
    def __init__(self, file: Path) -> None:
        self._stream = file.open("w", encoding="utf-8")

    def write(self, columns: Columns) -> None:
        for row in zip(*(_texts(column) for column in columns.values()), strict=True):
            values = (f"{json.dumps(name)}: {text}" for name, text in zip(columns, row, strict=True))
            self._stream.write("{" + ", ".join(values) + "}\n")

    def close(self) -> None:
        self._stream.close()


class _ParquetSink:
    def __init__(self, file: Path) -> None:
        self._file = file
        self._writer: Any = None

    def write(self, columns: Columns) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.table(dict(columns))
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._file, table.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer is None:
            self.write({"probability": np.empty(0, np.float32)})  # no rows: still a valid file
        self._writer.close()


def _texts(column: np.ndarray) -> list[str]:
    """Shortest text that reads back as the same number; 1.0 of a label is 1."""
    if column.dtype.kind == "f":
        return [np.format_float_positional(value, trim="-") for value in column]
    return [str(value) for value in column.tolist()]


SINKS: Mapping[str, Callable[[Path], Sink]] = {
    ".csv": _CsvSink,
    ".jsonl": _JsonLinesSink,
    ".parquet": _ParquetSink,
}
