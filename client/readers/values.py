"""What the readers share: values of one stored column -> [n, T] in the tensor's dtype, or an error with its place."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from client.errors import DataFileError, InvalidInput
from client.padding import left_pad_flat
from client.transport import TensorDescription
from client.validation import cast


def fit(values: np.ndarray, lengths: np.ndarray, tensor: TensorDescription, file: Path, first_row: int) -> np.ndarray:
    """Ragged rows to the tensor's shape. values: all rows one after another. lengths: values of each row, [n].

    A scalar needs one value a row. A history is padded with 0 on the left, or cut to its newest values. A tensor of
    open width takes one row, as it is.
    """
    try:
        values = cast(values, tensor.name, tensor.dtype)
    except InvalidInput as error:
        last_row = first_row + len(lengths) - 1
        raise DataFileError(f"{file}, rows {first_row} to {last_row}: {error}") from error
    width = tensor.shape[0]
    if width == 1:
        wrong = np.flatnonzero(lengths != 1)
        if wrong.size:
            raise misfit(file, first_row + int(wrong[0]), tensor, f"{int(lengths[wrong[0]])} values", "one value")
        return values.reshape(-1, 1)
    if width < 0:
        return values.reshape(len(lengths), -1 if values.size else 0)
    if (lengths == width).all():
        return values.reshape(-1, width)
    return left_pad_flat(values, lengths, width)


def unexpected(place: str, column: str) -> DataFileError:
    """A column that the first rows did not have. place: file, and line or record."""
    return DataFileError(f"{place}: got a column {column}, which the first rows do not have; expected it everywhere")


def misfit(file: Path, row: int, tensor: TensorDescription, got: str, expected: str) -> DataFileError:
    return DataFileError(f"{file}, row {row}, feature {tensor.name}: got {got}; expected {expected}")
