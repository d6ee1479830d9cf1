"""One module per chunk type: a file of a chunk -> its rows, block by block, checked and compact."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from training.errors import DataError
from training.feature_spec import Chunk
from training.readers.columns import Column, Columns

CHUNK_TYPES = ("tfrecord", "parquet", "csv")
Job = Callable[[], Columns]


class ChunkReader(Protocol):
    """Reads some columns of one chunk."""

    def jobs(self, file: Path) -> Iterator[Job]:
        """The file's rows in order, cut into blocks; each is decoded when its job is called, in any thread.

        A job returns {name: [n, *dimensions] in the column's `kept` type}, or raises BadValue with the row in
        its block. Raises DataError for a file that is damaged or does not fit, naming it.
        """
        ...

    def record_rows(self) -> int | None:
        """Rows in the chunk's first record, 0 if it has no record; None if its format has no records.

        Raises DataError if the chunk's files do not fit the columns.
        """
        ...

    def has_one_record(self) -> bool:
        """Is the first record all there is?"""
        ...


def open_chunk(chunk: Chunk, columns: Sequence[Column]) -> ChunkReader:
    """columns: those of the chunk's features that are needed. Raises DataError for a type that cannot be read."""
    if chunk.type == "tfrecord":
        from training.readers.tfrecord import TFRecordReader

        return TFRecordReader(chunk.files, columns)
    if chunk.type == "parquet":
        from training.readers.parquet import ParquetReader

        return ParquetReader(chunk.files, columns)
    if chunk.type == "csv":
        from training.readers.csv_text import CsvReader

        return CsvReader(chunk.files, chunk.features, columns)
    raise DataError(
        f"source_spec: chunk type {chunk.type!r} cannot be trained on; expected {', '.join(CHUNK_TYPES)}. "
        "Write the rows in one of these."
    )
