"""JSON lines: one object per line, {feature name: number or list of numbers}. Empty lines are skipped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from client.errors import DataFileError, InvalidInput
from client.readers import Columns, Fields
from client.readers.values import fit, misfit, unexpected
from client.transport import TensorDescription
from client.validation import cast


def column_names(file: Path) -> list[str]:
    for _, row in _objects(file):
        return list(row)
    return []


def read(file: Path, fields: Fields, rows: int, absent: str | None = None) -> Iterator[Columns]:
    objects = _objects(file)
    while numbered := list(islice(objects, rows)):
        for number, row in numbered:
            if absent is not None and absent in row:
                raise unexpected(f"{file}, line {number}", absent)
        yield {t.name: _column(numbered, stored, t, file) for stored, t in fields.items()}


def _objects(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object). Raises DataFileError."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:  # broken JSON, and bytes that are not UTF-8
                raise DataFileError(f"{file}, line {number}: not JSON: {error}") from error
            if not isinstance(row, dict):
                raise DataFileError(f"{file}, line {number}: got {type(row).__name__}; expected an object of features")
            yield number, row


def _column(
    numbered: list[tuple[int, dict[str, Any]]], stored: str, tensor: TensorDescription, file: Path
) -> np.ndarray:
    values = [_row_values(row, stored, number, tensor, file) for number, row in numbered]
    lengths = np.array([len(v) for v in values], np.int64)
    if tensor.shape == (1,) and (lengths != 1).any():
        at = int(np.flatnonzero(lengths != 1)[0])
        raise misfit(file, numbered[at][0], tensor, f"{lengths[at]} values", "one value")
    return fit(np.concatenate(values), lengths, tensor, file, numbered[0][0])


def _row_values(row: dict[str, Any], stored: str, number: int, tensor: TensorDescription, file: Path) -> np.ndarray:
    if stored not in row:
        raise misfit(file, number, tensor, "nothing", f"a value under {stored!r}")
    value = row[stored]
    try:
        array = np.asarray(value if isinstance(value, list) else [value])
        if array.ndim == 1:
            return cast(array, tensor.name, tensor.dtype)
    except (InvalidInput, ValueError, OverflowError):
        pass  # said below with the value itself
    raise misfit(file, number, tensor, _short(value), f"{tensor.dtype.name}, a number or a flat list of numbers")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
