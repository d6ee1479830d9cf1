"""Data files read whole, as the client reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from client import TensorDescription
from client.locate import open_rows

ROWS = 103
Inputs = dict[str, TensorDescription]


def read_all(data: Path, inputs: Inputs, rows: int = 16, **options: Any) -> tuple[dict[str, np.ndarray], np.ndarray]:
    limit = options.pop("limit", None)
    batches = list(open_rows(data, **options).batches(inputs, rows, limit))
    sizes = [len(columns["user_id"]) for columns, _ in batches]
    assert all(size == rows for size in sizes[:-1])
    labels = [label for _, label in batches if label is not None]
    columns = {name: np.concatenate([c[name] for c, _ in batches]) for name in inputs}
    return columns, np.concatenate(labels) if labels else np.empty(0)


def assert_same(columns: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    for name, column in columns.items():
        assert column.dtype == np.int64
        np.testing.assert_array_equal(column.reshape(expected[name].shape), expected[name], err_msg=name)
