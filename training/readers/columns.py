"""What a column must hold, how it is kept in memory, and as what a model gets it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from training.errors import DataError
from training.feature_spec import Feature

LARGEST_ID = 2**31 - 1  # ids are int32 for the model
Columns = dict[str, np.ndarray]


class Kind(Enum):
    """label: 0 or 1. id: 0..cardinality. number: anything finite, times in seconds too."""

    LABEL = "label"
    ID = "id"
    NUMBER = "number"


class BadValue(ValueError):
    """A value that does not fit its column. row: its number in the block of rows that was checked."""

    def __init__(self, row: int, message: str) -> None:
        super().__init__(message)
        self.row = row


@dataclass(frozen=True)
class Column:
    """A feature as the pipeline reads it. dimensions: shape of one row's value. limit: the largest id."""

    name: str
    kind: Kind
    dimensions: tuple[int, ...]
    limit: int = 0

    @property
    def kept(self) -> np.dtype:
        """In memory: the smallest unsigned type that holds the ids, as far as there is one below int32."""
        if self.kind is Kind.ID:
            smallest = np.min_scalar_type(self.limit)
            return smallest if smallest.itemsize < 4 else np.dtype(np.int32)
        return np.dtype(np.uint8 if self.kind is Kind.LABEL else np.float32)

    @property
    def delivered(self) -> np.dtype:
        """For the model."""
        return np.dtype(np.int32 if self.kind is Kind.ID else np.float32)

    def fitted(self, values: np.ndarray) -> np.ndarray:
        """values [n, *dimensions] as they are stored -> the same as `kept`. Raises BadValue for the first misfit."""
        if self.kind is Kind.ID:
            unsigned = values.view(f"u{values.itemsize}") if values.dtype.kind == "i" else values
            if values.size and unsigned.max() > self.limit:  # a negative id is a huge one without its sign
                wrong = unsigned > self.limit
                expected = f"0..{self.limit}. Fix the row, or the cardinality in feature_spec.yaml"
                raise self._misfit(values, wrong, f"feature {self.name}: got id {{}}, expected {expected}.")
        elif self.kind is Kind.LABEL:
            wrong = (values != 0) & (values != 1)
            if wrong.any():
                raise self._misfit(values, wrong, f"label {self.name}: got {{}}, expected 0 or 1. Fix the row.")
        elif self.kind is Kind.NUMBER:
            with np.errstate(over="ignore"):
                numbers = values.astype(np.float32, copy=False)
            if not np.isfinite(numbers).all():
                expected = "a finite float32 number. Fix the row"
                raise self._misfit(
                    values, ~np.isfinite(numbers), f"feature {self.name}: got {{}}, expected {expected}."
                )
            return numbers
        return values.astype(self.kept, copy=False)

    @staticmethod
    def _misfit(values: np.ndarray, wrong: np.ndarray, message: str) -> BadValue:
        place = tuple(np.argwhere(wrong)[0])
        return BadValue(int(place[0]), message.format(values[place]))


def column_of(feature: Feature, label: str) -> Column:
    """Raises DataError for a table with more rows than ids can name."""
    if feature.name == label:
        kind = Kind.LABEL
    elif feature.cardinality is not None:
        kind = Kind.ID
        if feature.cardinality > LARGEST_ID:
            raise DataError(
                f"feature {feature.name}: got cardinality {feature.cardinality}, expected at most {LARGEST_ID} "
                "(ids are int32). Number the ids that occur."
            )
    else:
        kind = Kind.NUMBER
    limit = (feature.cardinality or 0) if kind is Kind.ID else 0
    return Column(feature.name, kind, feature.dimensions, limit)
