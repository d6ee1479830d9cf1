"""Shuffling a stream of any length in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from training.pipeline.blocks import rows_of
from training.readers.columns import Columns

ROWS_PER_BLOCK = 4096


def shuffled(blocks: Iterator[Columns], buffer_rows: int, group: int, rng: np.random.Generator) -> Iterator[Columns]:
    """The same rows, groups kept whole. Each block takes the places of random groups of a full buffer, which go on.

    blocks: of whole groups, but for the last one's last rows, which then come last. buffer_rows: rows held, as they
    are kept. An order depends on nothing but the blocks and rng.
    """
    places = max(1, buffer_rows // group)
    most = max(1, min(places // 2, ROWS_PER_BLOCK // group))
    buffer: Columns = {}
    filled = 0
    rest: Columns | None = None
    for block in blocks:
        groups, odd = divmod(rows_of(block), group)
        if odd:
            rest = {name: values[groups * group :] for name, values in block.items()}
        cut = {name: _groups(values[: groups * group], group) for name, values in block.items()}
        if not buffer:
            buffer = {name: np.empty((places, *values.shape[1:]), values.dtype) for name, values in cut.items()}
        start = min(groups, places - filled)
        for name, values in cut.items():
            buffer[name][filled : filled + start] = values[:start]
        filled += start
        for first in range(start, groups, most):
            count = min(most, groups - first)
            chosen = rng.choice(places, count, replace=False)
            yield {name: _rows(values[chosen]) for name, values in buffer.items()}
            for name, values in cut.items():
                buffer[name][chosen] = values[first : first + count]
    order = rng.permutation(filled)
    for first in range(0, filled, most):
        yield {name: _rows(values[order[first : first + most]]) for name, values in buffer.items()}
    if rest is not None:
        yield rest


def _groups(values: np.ndarray, size: int) -> np.ndarray:
    return values.reshape(-1, size, *values.shape[1:])


def _rows(groups: np.ndarray) -> np.ndarray:
    return groups.reshape(-1, *groups.shape[2:])
