"""Parquet: a column per feature; histories are list columns, oldest item first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from client.errors import DataFileError
from client.readers import Columns, Fields
from client.readers.values import fit, misfit, unexpected
from client.transport import TensorDescription


def column_names(file: Path) -> list[str]:
    return list(_open(file).schema_arrow.names)


def read(file: Path, fields: Fields, rows: int, absent: str | None = None) -> Iterator[Columns]:
    first_row = 1
    parquet = _open(file)
    has = parquet.schema_arrow.names
    missing = [stored for stored in fields if stored not in has]
    if missing:
        raise DataFileError(f"{file}: no column {', '.join(missing)}; it has: {', '.join(has)}")
    if absent is not None and absent in has:
        raise unexpected(str(file), absent)
    try:
        for batch in parquet.iter_batches(batch_size=rows, columns=list(fields)):
            yield {t.name: _column(batch.column(stored), t, file, first_row) for stored, t in fields.items()}
            first_row += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise DataFileError(f"{file}, after row {first_row - 1}: cannot be read as Parquet: {error}") from error


def _open(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise DataFileError(f"{file}: cannot be read as Parquet: {error}") from error


def _column(array: pa.Array, tensor: TensorDescription, file: Path, first_row: int) -> np.ndarray:
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if array.null_count:
        row = first_row + int(pc.index(pc.is_null(array), True).as_py())
        raise misfit(file, row, tensor, "no value (null)", tensor.dtype.name)
    if not (
        pa.types.is_list(array.type) or pa.types.is_large_list(array.type) or pa.types.is_fixed_size_list(array.type)
    ):
        return fit(_numbers(array, tensor, file), np.ones(len(array), np.int64), tensor, file, first_row)
    lengths = pc.list_value_length(array).to_numpy(zero_copy_only=False).astype(np.int64)
    values = array.flatten()
    if values.null_count:
        at = int(pc.index(pc.is_null(values), True).as_py())
        row = first_row + int(np.searchsorted(np.cumsum(lengths), at, side="right"))
        raise misfit(file, row, tensor, "an item without value (null)", tensor.dtype.name)
    return fit(_numbers(values, tensor, file), lengths, tensor, file, first_row)


def _numbers(array: pa.Array, tensor: TensorDescription, file: Path) -> np.ndarray:
    kind = array.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise DataFileError(f"{file}, feature {tensor.name}: got a column of {kind}; expected {tensor.dtype.name}")
    return np.asarray(array.to_numpy(zero_copy_only=False))
