"""TFRecord chunks of tf.train.Example: plain (a row per record), or prebatched (P rows, columns flattened)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from training.errors import DataError
from training.readers import Job
from training.readers.columns import BadValue, Column, Columns, Kind

ROWS_PER_BLOCK = 4096
READ_BUFFER_BYTES = 2 << 20
LISTS = {"int64_list": tf.int64, "float_list": tf.float32}


class TFRecordReader:
    """Records of any number of rows, also mixed; TensorFlow's own parser takes only the needed features."""

    def __init__(self, files: Sequence[Path], columns: Sequence[Column]) -> None:
        self._files, self._columns = files, columns

    def jobs(self, file: Path) -> Iterator[Job]:
        first = _first_record(file)
        if first is None:
            return
        try:
            rows = _rows_of(first, self._columns)
        except DataError as error:
            raise DataError(f"{file}: the first record does not fit the specification:\n{error}") from error
        parser = _Parser(first, self._columns, is_plain=rows == 1)
        try:
            for records in record_dataset(file).batch(max(1, ROWS_PER_BLOCK // max(1, rows))):
                yield partial(parser.parse, records)
        except tf.errors.OpError as error:
            raise self._damage(file, error) from error

    def record_rows(self) -> int:
        for file in self._files:
            first = _first_record(file)
            if first is not None:
                try:
                    return _rows_of(first, self._columns)
                except DataError as error:
                    raise DataError(f"{file}: the first record does not fit the specification:\n{error}") from error
        return 0

    def has_one_record(self) -> bool:
        return sum(1 for file in self._files for _ in record_dataset(file).take(2)) == 1

    def _damage(self, file: Path, error: tf.errors.OpError) -> DataError:
        """Reads the file once more, record by record, in order to say after which row it breaks."""
        rows = 0
        try:
            for record in record_dataset(file):
                rows += _rows_of(record.numpy(), self._columns)
        except (tf.errors.OpError, DataError):
            pass
        return DataError(f"{file}, after row {rows}: damaged or truncated: {error.message}. Write the file again.")


def record_dataset(file: Path) -> tf.data.Dataset:
    """The serialized records of a file, in order."""
    options = tf.data.Options()
    options.autotune.enabled = False  # its thread was seen to stall for minutes at the end of a pass
    options.experimental_optimization.apply_default_optimizations = False
    return tf.data.TFRecordDataset(str(file), buffer_size=READ_BUFFER_BYTES).with_options(options)


def _first_record(file: Path) -> bytes | None:
    try:
        first = next(iter(record_dataset(file).take(1)), None)
    except tf.errors.OpError as error:
        raise DataError(f"{file}: not readable as tfrecord: {error.message}. Is it the right file?") from error
    return None if first is None else bytes(first.numpy())


class _Parser:
    """Serialized records [R] -> columns of the rows of all of them, one after another."""

    def __init__(self, first: bytes, columns: Sequence[Column], is_plain: bool) -> None:
        self._columns, self._is_plain = columns, is_plain
        features = tf.train.Example.FromString(first).features.feature
        types = {c.name: LISTS[features[c.name].WhichOneof("kind")] for c in columns}
        self._fixed = {c.name: tf.io.FixedLenFeature(c.dimensions, types[c.name]) for c in columns}
        self._ragged = {c.name: tf.io.RaggedFeature(types[c.name], row_splits_dtype=tf.int64) for c in columns}

    def parse(self, records: tf.Tensor) -> Columns:
        if self._is_plain:
            try:
                parsed = tf.io.parse_example(records, self._fixed)
                return {c.name: c.fitted(parsed[c.name].numpy()) for c in self._columns}
            except tf.errors.InvalidArgumentError:
                pass  # records of several rows may follow; if it is something else, it is found below
        try:
            parsed = tf.io.parse_example(records, self._ragged)
        except tf.errors.InvalidArgumentError as error:
            raise self._misfit(records, str(error.message)) from error
        splits = None
        for column in self._columns:
            per_row = int(np.prod(column.dimensions, dtype=np.int64))
            rows, rest = np.divmod(parsed[column.name].row_splits.numpy(), per_row)
            splits = rows if splits is None else splits
            if rest.any() or not np.array_equal(rows, splits):
                raise self._misfit(records, f"feature {column.name}: its values make no whole rows")
        return {c.name: c.fitted(parsed[c.name].values.numpy().reshape(-1, *c.dimensions)) for c in self._columns}

    def _misfit(self, records: tf.Tensor, message: str) -> BadValue:
        rows = 0
        for record in records.numpy():
            try:
                rows += _rows_of(record, self._columns)
            except DataError as error:
                message = f"the record does not fit the specification:\n{error}"
                break
        return BadValue(rows, message)


def _rows_of(record: bytes, columns: Sequence[Column]) -> int:
    """Rows in one serialized record. Raises DataError naming each feature that is absent or makes no whole rows."""
    try:
        stored = tf.train.Example.FromString(record).features.feature
    except DecodeError as error:
        raise DataError(f"  - not a tf.train.Example: {error}") from error
    problems: list[str] = []
    rows: dict[str, float] = {}
    for column in columns:
        allowed = ("int64_list",) if column.kind is Kind.ID else tuple(LISTS)
        got = stored[column.name].WhichOneof("kind") if column.name in stored else None
        if got not in allowed:
            have = ", ".join(sorted(stored)) or "none"
            expected = " or ".join(allowed)
            problems.append(
                f"feature {column.name}: expected {expected}, got {got or f'nothing; the record has: {have}'}"
            )
            continue
        values = len(getattr(stored[column.name], got).value)
        per_row = int(np.prod(column.dimensions, dtype=np.int64))
        rows[column.name] = values / per_row
        if values % per_row:
            problems.append(f"feature {column.name}: {values} values make no rows of {per_row} (its dimensions)")
    if not problems and len(set(rows.values())) > 1:
        shown = ", ".join(f"{name} {count:g}" for name, count in rows.items())
        problems.append(f"features differ in rows per record: {shown}. Check `dimensions` in feature_spec.yaml")
    if problems:
        raise DataError("\n".join(f"  - {p}" for p in problems))
    return int(next(iter(rows.values())))
