"""What a bring-your-own dataset must look like after conversion."""

from __future__ import annotations

from typing import Any

T = 5
Rows = dict[str, list[Any]]


def padded(values: Any) -> list[int]:
    """What a cell must look like in a record."""
    if not isinstance(values, list):
        return [int(values)]
    return ([0] * T + values)[-T:]


def expected(rows: Rows) -> list[dict[str, list[int]]]:
    return [{n: padded(v[i]) for n, v in rows.items()} for i in range(len(next(iter(rows.values()))))]


def flattened(rows: list[dict[str, list[int]]]) -> dict[str, list[int]]:
    return {name: [value for row in rows for value in row[name]] for name in rows[0]}
