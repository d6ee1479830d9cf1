"""Histories of different lengths -> one array: padded with 0 on the left, the newest item last."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def left_pad(rows: Sequence[Sequence[int]], width: int, dtype: np.dtype | type = np.int64) -> np.ndarray:
    """[B] sequences, oldest item first -> [B, width]. Longer ones keep their newest `width` items.

    Raises ValueError for a row that is no flat sequence of numbers, naming the row.

    >>> left_pad([[1, 2, 3], [4]], width=2)
    array([[2, 3],
           [0, 4]])
    """
    padded = np.zeros((len(rows), width), dtype)
    for index, row in enumerate(rows):
        values = np.asarray(row if len(row) else np.empty(0, dtype))
        if values.ndim != 1 or not np.can_cast(values.dtype, padded.dtype, "same_kind"):
            raise ValueError(
                f"row {index}: got a history of {values.dtype} with {values.ndim} dimensions; "
                f"expected a flat list of {padded.dtype}"
            )
        newest = values[-width:]
        if newest.size:
            padded[index, width - newest.size :] = newest
    return padded


def left_pad_flat(values: np.ndarray, lengths: np.ndarray, width: int) -> np.ndarray:
    """The same without a loop. values: all rows one after another, [sum of lengths]. lengths: [B]. -> [B, width]."""
    padded = np.zeros((len(lengths), width), values.dtype)
    row = np.repeat(np.arange(len(lengths)), lengths)
    from_end = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(values))  # 1 is the newest item of its row
    kept = from_end <= width
    padded[row[kept], width - from_end[kept]] = values[kept]
    return padded
