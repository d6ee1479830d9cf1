"""Do the rows of a dataset come in pairs that share their histories, such as a positive row and its negative?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from training.preprocessing.parquet_rows import Columns

PAIR = 2


class PairSearch:
    """Looks at the rows as they pass. `holds`: so far every file had an even number of rows, and in each the rows 2i
    and 2i + 1 were equal in the columns `names`. After the first pair that is not, it costs nothing."""

    def __init__(self, names: Sequence[str]) -> None:
        self.holds = True
        self._names = names

    def over(self, blocks: Iterator[Columns]) -> Iterator[Columns]:
        """The same blocks, which are those of one file, of any numbers of rows."""
        alone: Columns | None = None  # the last row of an odd number so far
        for block in blocks:
            if self.holds:
                alone = self._look(block, alone)
            yield block
        self.holds = self.holds and alone is None

    def _look(self, block: Columns, alone: Columns | None) -> Columns | None:
        rows, first = len(block[self._names[0]]), int(alone is not None)
        end = rows - (rows - first) % PAIR
        for name in self._names:
            values = block[name]
            if alone is not None and rows and not np.array_equal(alone[name], values[:1]):
                self.holds = False
            if not self.holds or not np.array_equal(values[first:end:PAIR], values[first + 1 : end : PAIR]):
                self.holds = False
                return None
        if rows == 0:
            return alone
        return {name: block[name][end:].copy() for name in self._names} if end < rows else None
