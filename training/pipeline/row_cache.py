"""All rows of a mapping in memory, compact: ids in their smallest type, and equal consecutive histories once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from training.pipeline.blocks import Block, rows_of
from training.readers.columns import Column, Columns

GROWTH = 9 / 8


class RowCache:
    """Rows in the order of the files. bytes: what they take."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._scalars = {c.name: _Table(c.kept, c.dimensions) for c in columns if not c.dimensions}
        self._histories = {c.name: _Table(c.kept, c.dimensions) for c in columns if c.dimensions}
        self._history_of = _Table(np.dtype(np.int32), ())
        self._source_ends: list[tuple[object, int]] = []

    @classmethod
    def load(
        cls, blocks: Iterator[Block], columns: Sequence[Column], limit_bytes: int, rows: int | None, group: int
    ) -> RowCache | None:
        """None if it would be larger than limit_bytes: known beforehand if `rows` is, or once it is reached."""
        cache = cls(columns)
        if rows is not None and cache.least_bytes(rows, group) > limit_bytes:
            return None
        for block in blocks:
            cache.add(block)
            if cache.bytes > limit_bytes:
                return None
        for table in cache._tables():
            table.trim()
        return cache

    def least_bytes(self, rows: int, group: int) -> int:
        """What `rows` rows take if all histories of a group are equal."""
        scalars = sum(t.row_bytes for t in (*self._scalars.values(), self._history_of))
        return rows * scalars + -(-rows // group) * sum(t.row_bytes for t in self._histories.values())

    @property
    def bytes(self) -> int:
        return sum(table.rows * table.row_bytes for table in self._tables())

    def __len__(self) -> int:
        return self._history_of.rows

    def add(self, block: Block) -> None:
        rows = rows_of(block.columns)
        for name, table in self._scalars.items():
            table.append(block.columns[name])
        is_new = self._is_new(block.columns, rows)
        first = next(iter(self._histories.values())).rows if self._histories else 1
        self._history_of.append(first - 1 + np.cumsum(is_new))
        for name, table in self._histories.items():
            table.append(block.columns[name][is_new])
        if self._source_ends and self._source_ends[-1][0] == block.source:
            self._source_ends.pop()
        self._source_ends.append((block.source, len(self)))

    def rows(self, numbers: np.ndarray) -> Columns:
        """The rows of these numbers [n], each column as it is kept."""
        history = self._history_of.values[numbers]
        scalars = {name: table.values[numbers] for name, table in self._scalars.items()}
        return scalars | {name: table.values[history] for name, table in self._histories.items()}

    def order(self, group: int, rng: np.random.Generator | None) -> np.ndarray:
        """[N] row numbers: as they are, or groups in a random order with the rows that make no whole group last."""
        if rng is None:
            return np.arange(len(self))
        ends = [end for _, end in self._source_ends]
        starts = [0, *ends[:-1]]
        firsts = np.concatenate(
            [np.arange(start, end - group + 1, group) for start, end in zip(starts, ends, strict=True)]
        )
        rest = [np.arange(end - (end - start) % group, end) for start, end in zip(starts, ends, strict=True)]
        rng.shuffle(firsts)
        return np.concatenate([(firsts[:, None] + np.arange(group)).reshape(-1), *rest])

    def _is_new(self, columns: Columns, rows: int) -> np.ndarray:
        """[n] bool: is a row's history another one than that of the row before it?"""
        equal = np.full(rows, bool(self._histories))
        for name, table in self._histories.items():
            values = columns[name].reshape(rows, -1)
            before = table.values[table.rows - 1 : table.rows].reshape(-1, values.shape[1])
            equal[0] &= len(before) == 1 and bool((before[0] == values[0]).all())
            equal[1:] &= (values[1:] == values[:-1]).all(axis=1)
        return ~equal

    def _tables(self) -> Iterator[_Table]:
        yield from self._scalars.values()
        yield from self._histories.values()
        yield self._history_of


class _Table:
    """A column that grows at its end."""

    def __init__(self, dtype: np.dtype, dimensions: tuple[int, ...]) -> None:
        self.values = np.empty((0, *dimensions), dtype)
        self.rows = 0
        self.row_bytes = dtype.itemsize * int(np.prod(dimensions, dtype=np.int64))

    def append(self, values: np.ndarray) -> None:
        end = self.rows + len(values)
        if end > len(self.values):
            self._resize(max(end, int(len(self.values) * GROWTH)))
        self.values[self.rows : end] = values
        self.rows = end

    def trim(self) -> None:
        self._resize(self.rows)

    def _resize(self, rows: int) -> None:
        self.values.resize((rows, *self.values.shape[1:]), refcheck=False)  # grows in place where the system can
