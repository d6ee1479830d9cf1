"""Parquet chunks: columns by name, a scalar per row or a list (padded or cut on the left to its dimensions)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from training.errors import DataError
from training.readers import Job
from training.readers.columns import BadValue, Column, Columns, Kind
from training.readers.ragged import is_list, left_padded, ragged

ROWS_PER_BLOCK = 4096


class ParquetReader:
    """Row groups are read as they are; only the needed columns are."""

    def __init__(self, files: Sequence[Path], columns: Sequence[Column]) -> None:
        self._files, self._columns = files, columns

    def jobs(self, file: Path) -> Iterator[Job]:
        rows = 0
        with self._open(file) as parquet:
            batches = parquet.iter_batches(ROWS_PER_BLOCK, columns=[c.name for c in self._columns], use_threads=False)
            while True:
                try:
                    batch = next(batches, None)
                except (pa.ArrowException, OSError) as error:
                    raise DataError(f"{file}, after row {rows}: damaged or truncated: {error}") from error
                if batch is None:
                    return
                rows += batch.num_rows
                yield partial(self._decode, batch)

    def record_rows(self) -> None:
        for file in self._files:
            self._open(file).close()

    def has_one_record(self) -> bool:
        return False

    def _open(self, file: Path) -> Any:
        """Raises DataError for a file that cannot be read, and for columns that are missing or of another type."""
        try:
            parquet = pq.ParquetFile(file)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{file}: cannot be read as Parquet: {error}") from error
        schema = parquet.schema_arrow
        problems = [_problem(column, schema) for column in self._columns]
        if any(problems):
            raise DataError(f"{file}: " + "; ".join(p for p in problems if p))
        return parquet

    def _decode(self, batch: Any) -> Columns:
        return {c.name: _dense(c, batch.column(c.name)) for c in self._columns}


def _problem(column: Column, schema: Any) -> str | None:
    if schema.names.count(column.name) != 1:
        return f"column {column.name} is missing; the file has: {', '.join(schema.names)}"
    kind = schema.field(column.name).type
    value, expected = kind, "an integer" if column.kind is Kind.ID else "a number or boolean"
    if len(column.dimensions) > 1:
        return f"column {column.name}: got dimensions {list(column.dimensions)}, expected one: Parquet has plain lists"
    if column.dimensions:
        value, expected = kind.value_type if is_list(kind) else None, f"a list, each value {expected}"
    types = pa.types
    fits = value is not None and (
        types.is_integer(value)
        or (column.kind is not Kind.ID and (types.is_floating(value) or types.is_boolean(value)))
    )
    return None if fits else f"column {column.name}: got type {kind}, expected {expected}. Cast the column"


def _dense(column: Column, array: Any) -> np.ndarray:
    """Raises BadValue for nulls and for values that do not fit."""
    _require_values(column, array, None)
    if not column.dimensions:
        return column.fitted(array.to_numpy(zero_copy_only=False))
    offsets, values = ragged(array)
    _require_values(column, values, offsets)
    try:
        fitted = column.fitted(values.to_numpy(zero_copy_only=False))
    except BadValue as error:
        raise BadValue(_row(offsets, error.row), str(error)) from error
    return left_padded(fitted, offsets, column.dimensions[0])


def _require_values(column: Column, array: Any, offsets: np.ndarray | None) -> None:
    if array.null_count:
        index = int(np.argmax(array.is_null().to_numpy(zero_copy_only=False)))
        row = index if offsets is None else _row(offsets, index)
        raise BadValue(row, f"feature {column.name}: got null, expected a value in every row. Fix the row.")


def _row(offsets: np.ndarray, index: int) -> int:
    return int(np.searchsorted(offsets, index, side="right")) - 1
