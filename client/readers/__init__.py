"""One module per file format, found by the file's ending. Each has

    column_names(file) -> [name]
    read(file, fields, rows, absent) -> iterator of columns

where `fields` maps a stored column to the tensor that it feeds, `rows` is how many rows to read at a time (a hint),
and `columns` is {tensor name: [n, *tensor.shape]} in the tensor's dtype. A value that does not fit is a
DataFileError with file, row (from 1) and feature. `absent` is a column that must not turn up: a label that the first
rows did not have, which would otherwise be dropped without a word.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol, cast

import numpy as np

from client.errors import DataFileError
from client.transport import TensorDescription

Columns = dict[str, np.ndarray]
Fields = Mapping[str, TensorDescription]
FORMATS = {".tfrecord": "tfrecord", ".parquet": "parquet", ".jsonl": "json_lines"}


class Reader(Protocol):
    def column_names(self, file: Path) -> list[str]: ...

    def read(self, file: Path, fields: Fields, rows: int, absent: str | None = None) -> Iterator[Columns]: ...


def reader_for(file: Path) -> Reader:
    """Raises DataFileError for an ending that none reads."""
    if file.suffix not in FORMATS:
        raise DataFileError(f"{file}: got a file ending in {file.suffix!r}; expected one of {', '.join(FORMATS)}")
    return cast(Reader, importlib.import_module(f"client.readers.{FORMATS[file.suffix]}"))
