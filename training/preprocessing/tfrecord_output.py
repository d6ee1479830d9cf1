"""Dense columns -> TFRecord files: a row per record, or P rows per record with what is left in a file of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.errors import DataError
from training.preprocessing.example_encoder import encode_examples
from training.preprocessing.parquet_rows import Columns
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
    size = target.prebatch * max(1, ROWS_PER_BLOCK // target.prebatch) if target.prebatch else ROWS_PER_BLOCK
    files, rows, rest = [target.main], 0, None
    with _Writer(target.folder / target.main) as writer:
        for block in rebatched(blocks, size):
            count = rows_of(block)
            whole = count - count % target.prebatch if target.prebatch else count
            if whole:
                writer.write(_records({n: v[:whole] for n, v in block.items()}, target.prebatch))
            if whole < count:
                rest = {n: v[whole:] for n, v in block.items()}
            rows += count
            stage.advance(count)
    if rest is not None:
        files.append(target.remainder)
        with _Writer(target.folder / target.remainder) as writer:
            writer.write(_records(rest, rows_of(rest)))
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


def _records(block: Columns, prebatch: int) -> tuple[bytes, np.ndarray]:
    records = rows_of(block) // max(1, prebatch)
    return encode_examples({name: values.reshape(records, -1) for name, values in block.items()})


class _Writer:
    """One TFRecord file. Errors of the disk become DataError."""

    def __init__(self, path: Path) -> None:
        import tensorflow as tf

        self._path = path
        self._failures = (tf.errors.OpError, OSError)
        try:
            self._writer = tf.io.TFRecordWriter(str(path))
        except self._failures as error:
            raise self._cannot(error) from error

    def write(self, encoded: tuple[bytes, np.ndarray]) -> None:
        records, ends = encoded
        start = 0
        try:
            for end in ends.tolist():
                self._writer.write(records[start:end])
                start = end
        except self._failures as error:
            raise self._cannot(error) from error

    def _cannot(self, error: Exception) -> DataError:
        return DataError(f"{self._path}: cannot be written: {error}. Is there room on the disk?")

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            self._writer.close()
        except self._failures as error:
            if kind is None:
                raise self._cannot(error) from error
