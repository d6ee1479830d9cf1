"""Blocks of rows -> global batches, and of each batch the arrays of one rank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training.pipeline.blocks import rows_of
from training.pipeline.grouping import rank_rows
from training.readers.columns import Column, Columns


@dataclass(frozen=True)
class Share:
    """Which rows of a global batch are this rank's: those of whole groups, see rank_rows."""

    group: int = 1
    rank: int = 0
    ranks: int = 1

    def of(self, first_row: int, rows: int) -> slice:
        return rank_rows(first_row, rows, self.group, self.rank, self.ranks)


def cut_batches(
    blocks: Iterator[Columns], columns: Sequence[Column], batch_size: int, drop_remainder: bool, share: Share
) -> Iterator[tuple[int, Columns]]:
    """(rows of the global batch, this rank's rows as delivered), batch_size rows at a time; the last may have fewer."""
    held: list[Columns] = []
    rows = first_row = 0
    for block in blocks:
        rest = block
        while rows + rows_of(rest) >= batch_size:
            count = batch_size - rows
            held.append({name: values[:count] for name, values in rest.items()})
            yield batch_size, _delivered(held, columns, share.of(first_row, batch_size))
            first_row += batch_size
            held, rows = [], 0
            rest = {name: values[count:] for name, values in rest.items()}
        if rows_of(rest):
            held.append(rest)
            rows += rows_of(rest)
    if rows and not drop_remainder:
        yield rows, _delivered(held, columns, share.of(first_row, rows))


def deliver(kept: Mapping[str, np.ndarray], columns: Sequence[Column]) -> Columns:
    """Columns as they are kept -> as a model gets them."""
    return {c.name: kept[c.name].astype(c.delivered, copy=False) for c in columns}


def _delivered(pieces: Sequence[Columns], columns: Sequence[Column], mine: slice) -> Columns:
    """Rows `mine` of the pieces, one after another."""
    result = {c.name: np.empty((mine.stop - mine.start, *c.dimensions), c.delivered) for c in columns}
    first = 0
    for piece in pieces:
        start, stop = max(mine.start, first), min(mine.stop, first + rows_of(piece))
        if start < stop:
            for name, values in result.items():
                values[start - mine.start : stop - mine.start] = piece[name][start - first : stop - first]
        first += rows_of(piece)
    return result
