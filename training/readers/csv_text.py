"""CSV chunks: one scalar per cell, columns in the order of the chunk's features, with or without a header."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pc_csv

from training.errors import DataError
from training.readers import Job
from training.readers.columns import BadValue, Column, Columns, Kind

BYTES_PER_BLOCK = 1 << 18
WORDS = {"true": "1", "false": "0"}


class CsvReader:
    """UTF-8, comma-separated. Cells are whole numbers, decimal numbers, or true and false."""

    def __init__(self, files: Sequence[Path], names: Sequence[str], columns: Sequence[Column]) -> None:
        """names: of all columns of the files. columns: those that are needed."""
        self._files, self._names, self._columns = files, list(names), columns

    def jobs(self, file: Path) -> Iterator[Job]:
        header = self._has_header(file)
        if header is None:
            return
        rows = 0
        text = {name: pa.string() for name in self._names}
        try:
            with pc_csv.open_csv(
                file,
                pc_csv.ReadOptions(
                    use_threads=False, block_size=BYTES_PER_BLOCK, column_names=self._names, skip_rows=int(header)
                ),
                convert_options=pc_csv.ConvertOptions(
                    column_types=text, include_columns=[c.name for c in self._columns], strings_can_be_null=False
                ),
            ) as batches:
                for batch in batches:
                    rows += batch.num_rows
                    yield partial(self._decode, batch)
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{file}, after row {rows}: {error}. A row has {len(self._names)} cells: {', '.join(self._names)}."
            ) from error

    def record_rows(self) -> None:
        for column in self._columns:
            if column.dimensions:
                raise DataError(
                    f"{self._files[0]}: feature {column.name} has dimensions {list(column.dimensions)}, but a CSV cell "
                    "holds one value. Put histories in a parquet or tfrecord chunk."
                )
        for file in self._files:
            self._has_header(file)

    def has_one_record(self) -> bool:
        return False

    def _has_header(self, file: Path) -> bool | None:
        """Is the first line the features' names? None if the file has no lines."""
        try:
            with file.open(encoding="utf-8-sig", newline="") as lines:
                first = next(csv.reader(lines), None)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{file}: cannot be read as CSV: {error}") from error
        if first is None:
            return None
        if len(first) != len(self._names):
            raise DataError(
                f"{file}: got {len(first)} columns, expected {len(self._names)}: {', '.join(self._names)} "
                "(source_spec's features, in this order)."
            )
        return [cell.strip() for cell in first] == self._names

    def _decode(self, batch: Any) -> Columns:
        return {c.name: c.fitted(_numbers(c, batch.column(c.name))) for c in self._columns}


def _numbers(column: Column, cells: Any) -> np.ndarray:
    """Raises BadValue for the first cell that is no number of the column's kind."""
    whole = column.kind is Kind.ID
    kind = pa.int64() if whole else pa.float64()
    try:
        return np.asarray(pc.cast(cells, kind).to_numpy(zero_copy_only=False))
    except pa.ArrowInvalid:
        pass
    texts = [WORDS.get(text.strip().lower(), text.strip()) for text in cells.to_pylist()]
    values = np.zeros(len(texts), np.int64 if whole else np.float64)
    for row, text in enumerate(texts):
        try:
            values[row] = int(text) if whole else float(text)
        except (ValueError, OverflowError) as error:
            expected = "a whole number" if whole else "a number, true or false"
            place = f"{'label' if column.kind is Kind.LABEL else 'feature'} {column.name}"
            raise BadValue(row, f"{place}: got {cells[row].as_py()!r}, expected {expected}. Fix the row.") from error
    return values
