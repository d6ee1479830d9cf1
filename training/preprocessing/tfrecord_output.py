"""Dense columns -> TFRecord files: a row per record, or P rows per record with what is left in a file of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.errors import DataError
from training.preprocessing.parquet_rows import Columns
from training.preprocessing.record_frames import batch_records, row_records
from training.preprocessing.stages import Stage

ROWS_PER_BLOCK = 4096


@dataclass(frozen=True)
class TFRecordFiles:
    """Where a split goes. prebatch: rows P per record; 0: plain, a row per record."""

    folder: Path
    main: str
    remainder: str
    prebatch: int


def write_split(target: TFRecordFiles, blocks: Iterable[Columns], stage: Stage) -> tuple[list[str], int]:
    """-> (names of the files written, rows). The last partial record of a prebatched split goes to `remainder`."""
    if target.prebatch:
        size = target.prebatch * max(1, ROWS_PER_BLOCK // target.prebatch)
        blocks = rebatched(blocks, size)
    files, rows, rest = [target.main], 0, None
    with _open(target.folder / target.main) as write:
        for block in blocks:
            count = rows_of(block)
            whole = count - count % target.prebatch if target.prebatch else count
            if whole:
                write(_records({n: v[:whole] for n, v in block.items()}, target.prebatch))
            if whole < count:
                rest = {n: v[whole:] for n, v in block.items()}
            rows += count
            stage.advance(count)
    if rest is not None:
        files.append(target.remainder)
        with _open(target.folder / target.remainder) as write:
            write(batch_records(rest, rows_of(rest)))
    return files, rows


def rebatched(blocks: Iterable[Columns], size: int) -> Iterator[Columns]:
    """The same rows in blocks of `size`; the last one may have fewer."""
    held: list[Columns] = []
    count = 0
    for block in blocks:
        held.append(block)
        count += rows_of(block)
        if count < size:
            continue
        joined = _joined(held)
        for start in range(0, count - count % size, size):
            yield {n: v[start : start + size] for n, v in joined.items()}
        count %= size
        held = [{n: v[-count:] for n, v in joined.items()}] if count else []
    if count:
        yield _joined(held)


def rows_of(block: Columns) -> int:
    return len(next(iter(block.values())))


def _joined(blocks: list[Columns]) -> Columns:
    return blocks[0] if len(blocks) == 1 else {n: np.concatenate([b[n] for b in blocks]) for n in blocks[0]}


def _records(block: Columns, prebatch: int) -> list[bytes]:
    return batch_records(block, prebatch) if prebatch else row_records(block)


@contextmanager
def _open(path: Path) -> Iterator[Callable[[list[bytes]], None]]:
    """Yields what writes pieces behind one another. Errors of the disk become DataError."""
    try:
        with path.open("wb") as file:
            yield lambda pieces: file.writelines((b"".join(pieces),))
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}. Is there room on the disk?") from error
