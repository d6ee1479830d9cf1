"""Groups: rows_per_group consecutive rows that stay together, such as a positive row and its negative.

That is for speed only (their histories are equal and computed once); a group may be cut without harm.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from training.errors import DataError
from training.feature_spec import FeatureSpec
from training.pipeline.blocks import Block, rows_of
from training.readers.columns import Columns


def rows_per_group(spec: FeatureSpec) -> int:
    """From the specification's metadata; 1 if it does not say. Raises DataError if it says nonsense."""
    rows = spec.metadata.get("rows_per_group", 1)
    if not isinstance(rows, int) or isinstance(rows, bool) or rows < 1:
        raise DataError(f"feature_spec.yaml, metadata.rows_per_group: got {rows!r}, expected a whole number >= 1.")
    return rows


def whole_groups(blocks: Iterator[Block], size: int) -> Iterator[Columns]:
    """The same rows in blocks of whole groups. Rows at the end of a source that fill no group come last of all."""
    rest: dict[object, Columns] = {}
    for block in blocks:
        columns = block.columns
        if block.source in rest:
            columns = joined([rest.pop(block.source), columns])
        whole = rows_of(columns) - rows_of(columns) % size
        if whole < rows_of(columns):
            rest[block.source] = {name: values[whole:].copy() for name, values in columns.items()}
        if whole:
            yield {name: values[:whole] for name, values in columns.items()}
    if rest:
        yield joined(list(rest.values()))


def rank_rows(first_row: int, rows: int, group: int, rank: int, ranks: int) -> slice:
    """The part of a global batch that is a rank's: contiguous, cut between groups, as even as that allows.

    first_row: number of the batch's first row in the pass, from which groups count. Together the ranks have each
    row once; a rank may have none.
    """

    def cut(number: int) -> int:
        if number in (0, ranks):
            return rows if number else 0
        place = first_row + rows * number / ranks
        return min(rows, max(0, round(place / group) * group - first_row))

    return slice(cut(rank), cut(rank + 1))


def joined(blocks: list[Columns]) -> Columns:
    if len(blocks) == 1:
        return blocks[0]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
