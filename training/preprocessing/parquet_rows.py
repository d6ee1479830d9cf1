"""Parquet files -> checked blocks of dense columns, histories padded on the left to T."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from training.errors import DataError
from training.preprocessing.dataset_layout import Column, DatasetLayout
from training.preprocessing.parquet_checks import RowPlace, check_column, check_lengths
from training.readers.ragged import is_list, left_padded, ragged

ROWS_PER_READ = 8192
Columns = dict[str, np.ndarray]


def part_files(folder: Path) -> list[Path]:
    """The folder's *.parquet files, part.2 before part.10. Raises DataError if there are none."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder. It must hold part.0.parquet, part.1.parquet, …")
    files = [p for p in folder.iterdir() if p.suffix == ".parquet" and not p.name.startswith(".") and p.is_file()]
    if not files:
        raise DataError(f"{folder}: no *.parquet files. It must hold part.0.parquet, part.1.parquet, …")
    return sorted(files, key=lambda p: [int(t) if t.isdigit() else t for t in re.split(r"(\d+)", p.name)])


def column_names(file: Path) -> list[str]:
    """The names of the file's columns, in order."""
    return list(_open(file).schema_arrow.names)


def row_count(file: Path) -> int:
    """From the file's footer."""
    return int(_open(file).metadata.num_rows)


def read_rows(file: Path, layout: DatasetLayout) -> Iterator[Columns]:
    """Blocks {name: [B] or [B, T]} of int32, or int64 where the table needs it.

    Raises DataError for columns and rows that do not fit, naming them.
    """
    import pyarrow as pa

    parquet = _open(file)
    names = list(parquet.schema_arrow.names)
    if names != layout.names:
        raise DataError(f"{file}: got columns {', '.join(names)}; expected, in this order, {', '.join(layout.names)}")
    for column, field in zip(layout.columns, parquet.schema_arrow, strict=True):
        _check_type(file, column, field.type)
    first_row = 0
    batches = parquet.iter_batches(batch_size=ROWS_PER_READ)
    while True:
        try:
            batch = next(batches, None)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{file}, after row {first_row}: damaged or truncated: {error}") from error
        if batch is None:
            return
        yield _dense(batch, layout, RowPlace(file, first_row))
        first_row += batch.num_rows


def _open(file: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file}: cannot be read as Parquet: {error}") from error


def _check_type(file: Path, column: Column, kind: Any) -> None:
    import pyarrow as pa

    types = pa.types
    if column.is_sequence:
        fits, expected = is_list(kind) and types.is_integer(kind.value_type), "a list of integers"
    elif column.cardinality is None and not column.is_time:
        fits, expected = types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind), "0 or 1"
    else:
        fits, expected = types.is_integer(kind), "an integer"
    if not fits:
        raise DataError(f"{file}: column {column.name}: got type {kind}, expected {expected}. Cast the column.")


def _dense(batch: Any, layout: DatasetLayout, place: RowPlace) -> Columns:
    dense: Columns = {}
    offsets_of: dict[str, np.ndarray] = {}
    for index, column in enumerate(layout.columns):
        array = batch.column(index)
        place.check_nulls(column, array)
        if column.is_sequence:
            offsets, values = ragged(array)
            place.check_nulls(column, values, offsets)
            ids = values.to_numpy(zero_copy_only=False)
            check_column(column, ids, place, offsets)
            offsets_of[column.name] = offsets
            dense[column.name] = left_padded(ids.astype(column.dtype, copy=False), offsets, layout.max_seq_len)
        else:
            scalars = array.to_numpy(zero_copy_only=False)
            check_column(column, scalars, place)
            dense[column.name] = scalars.astype(column.dtype, copy=False)
    for names in layout.same_lengths():
        check_lengths({name: offsets_of[name] for name in names}, place)
    return dense
