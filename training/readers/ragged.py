"""Lists of any length, as Arrow has them -> dense histories, padded on the left."""

from __future__ import annotations

from typing import Any

import numpy as np


def ragged(array: Any) -> tuple[np.ndarray, Any]:
    """A pyarrow list array of B rows -> offsets [B + 1] from 0, and the values (a pyarrow array) that they cut."""
    import pyarrow as pa

    if pa.types.is_fixed_size_list(array.type):
        return np.arange(len(array) + 1, dtype=np.int64) * array.type.list_size, array.flatten()
    offsets = array.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
    return offsets - offsets[0], array.values.slice(offsets[0], offsets[-1] - offsets[0])


def is_list(kind: Any) -> bool:
    """Is it one of Arrow's list types?"""
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def left_padded(values: np.ndarray, offsets: np.ndarray, length: int) -> np.ndarray:
    """Ragged values -> [B, length]: the newest `length` of each row at the right end, 0 before them."""
    lengths = np.diff(offsets)
    longest = int(lengths.max(initial=0))
    if longest == length == lengths.min():
        return values.reshape(-1, length)
    if longest > length:
        from_end = np.repeat(offsets[1:], lengths) - np.arange(len(values))
        values = values[from_end <= length]
        lengths = np.minimum(lengths, length)
    dense = np.zeros((len(lengths), length), values.dtype)
    dense[np.arange(length) >= length - lengths[:, None]] = values
    return dense
