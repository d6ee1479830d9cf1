"""The next block is made in a second thread while the current one is used; numpy and pyarrow let both run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Block = TypeVar("Block")


def read_ahead(blocks: Iterable[Block]) -> Iterator[Block]:
    """The same blocks in the same order, one held in advance. An error comes out where its block would have."""
    source = iter(blocks)
    with ThreadPoolExecutor(max_workers=1) as pool:
        coming = pool.submit(next, source, None)
        while (block := coming.result()) is not None:
            coming = pool.submit(next, source, None)
            yield block
