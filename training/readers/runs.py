"""Runs of equal rows, such as the histories of a positive row and its negative."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def first_of_runs(columns: Iterable[np.ndarray], rows: int) -> np.ndarray:
    """[B] bool: does a row differ from the one before it in any of the columns [B, …]? True for the first row."""
    equal = np.ones(rows, bool)
    equal[:1] = False
    for values in columns:
        flat = values.reshape(rows, -1)
        equal[1:] &= (flat[1:] == flat[:-1]).all(axis=1)
    return ~equal
