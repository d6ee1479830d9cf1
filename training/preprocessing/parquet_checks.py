"""What a value of a Parquet dataset must be; every error names file, row, feature, value and limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.errors import DataError
from training.preprocessing.dataset_layout import Column


@dataclass(frozen=True)
class RowPlace:
    """A block of rows: the file, and the number (from 0) of the block's first row in it."""

    file: Path
    first_row: int

    def describe(self, column: str, index: int, offsets: np.ndarray | None = None) -> str:
        """index: of the value; with offsets, of the value in a flattened history."""
        if offsets is None:
            return f"{self.file}, row {self.first_row + index}: feature {column}"
        row = int(np.searchsorted(offsets, index, side="right")) - 1
        return f"{self.file}, row {self.first_row + row}: feature {column}, position {index - offsets[row]}"

    def check_nulls(self, column: Column, array: Any, offsets: np.ndarray | None = None) -> None:
        """array: a pyarrow array; offsets: given if it is a flattened history."""
        if array.null_count:
            index = int(np.argmax(array.is_null().to_numpy(zero_copy_only=False)))
            raise DataError(f"{self.describe(column.name, index, offsets)}: got null, expected a value in every row")


def check_column(column: Column, values: np.ndarray, place: RowPlace, offsets: np.ndarray | None = None) -> None:
    """Raises DataError for a label that is not 0 or 1, or an id outside 0..cardinality."""
    if column.is_time:
        return
    if column.cardinality is None:
        wrong = ~((values == 0) | (values == 1))
        expected = "0 or 1"
    else:
        if not values.size or (values.min() >= 0 and values.max() <= column.cardinality):
            return
        wrong = (values < 0) | (values > column.cardinality)
        expected = f"an id in 0..{column.cardinality}. Fix the row, or the cardinality in metadata.json"
    if wrong.any():
        index = int(np.argmax(wrong))
        raise DataError(f"{place.describe(column.name, index, offsets)}: got {values[index]}, expected {expected}")


def check_lengths(offsets_of: Mapping[str, np.ndarray], place: RowPlace) -> None:
    """The item features of one history must be equally long in each row."""
    names = list(offsets_of)
    first = np.diff(offsets_of[names[0]])
    for name in names[1:]:
        lengths = np.diff(offsets_of[name])
        if not np.array_equal(first, lengths):
            row = int(np.argmax(first != lengths))
            raise DataError(
                f"{place.describe(name, row)}: got a history of {lengths[row]} items, but {names[0]} has {first[row]}; "
                "expected the same length in all features of a history"
            )
