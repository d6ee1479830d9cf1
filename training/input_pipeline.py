"""FeatureSpec + readers -> batches of flat {feature name: tensor}, label.

Every rank reads the same global batches in the same order and keeps its own rows of each. So all ranks take
the same number of steps whatever the files' sizes, and no collective can wait for a rank that has ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from training.errors import DataError, SettingsError
from training.feature_spec import Chunk, Feature, FeatureSpec
from training.readers import reader_of

SHUFFLE_ROWS = 65536  # rows in the shuffle buffer: about 75 MB of plain records with histories of 100
PARALLEL_DECODES = 2
PREFETCHED_BATCHES = 2


@dataclass(frozen=True)
class Batch:
    """This rank's rows of one global batch. features {name: [n, …]}, label [n] float32, global_rows over all ranks."""

    features: Mapping[str, tf.Tensor]
    label: tf.Tensor
    global_rows: int


@dataclass(frozen=True)
class Dataset:
    """One mapping of a FeatureSpec, as a model reads it.

    features: what the model needs, label excepted. batch_size: rows of a global batch.
    prebatch_size: rows per record as the user has it; 0 takes what the files have.
    """

    spec: FeatureSpec
    mapping: str
    features: Sequence[Feature]
    label: str
    batch_size: int
    prebatch_size: int = 0
    rank: int = 0
    ranks: int = 1

    def rows(self) -> int | None:
        """Rows of the mapping as the specification's metadata has it; None if it does not say."""
        rows = self.spec.metadata.get("rows", {})
        return rows.get(self.mapping) if isinstance(rows, dict) else None

    def batches(self, shuffle_seed: int | None = None, drop_remainder: bool = False) -> Iterator[Batch]:
        """One pass. shuffle_seed: files, records and rows in an order that this seed gives; None: file order.

        Raises DataError for unreadable files and for ids outside their tables, naming file, row and feature.
        """
        chunk = self._chunk()
        reader = reader_of(chunk)
        data = self._global_batches(reader, chunk, self._rows_per_record(reader, chunk), shuffle_seed, drop_remainder)
        try:
            for global_rows, columns in data.prefetch(PREFETCHED_BATCHES):
                features = {f.name: columns[f.name] for f in self.features}
                yield Batch(features, tf.cast(columns[self.label], tf.float32), int(global_rows))
        except (tf.errors.InvalidArgumentError, tf.errors.DataLossError) as error:
            raise self._explained(reader, chunk, error) from error

    def check(self) -> None:
        """Raises SettingsError or DataError now for what would fail at the first batch."""
        chunk = self._chunk()
        self._rows_per_record(reader_of(chunk), chunk)

    def _chunk(self) -> Chunk:
        chunks = self.spec.mapping(self.mapping)
        if len(chunks) != 1:
            raise DataError(
                f"source_spec.{self.mapping}: got {len(chunks)} chunks, expected one with all features. Join them."
            )
        missing = [f.name for f in self._columns() if f.name not in chunks[0].features]
        if missing:
            raise DataError(f"source_spec.{self.mapping}[0].features: {', '.join(missing)} missing; the model needs it")
        return chunks[0]

    def _columns(self) -> list[Feature]:
        return [self.spec.features[self.label], *self.features]

    def _rows_per_record(self, reader: ModuleType, chunk: Chunk) -> int:
        """Rows of the first record; checked against the specification and against what the user said."""
        try:
            first = next(iter(reader.records(chunk.files, None).take(1)), None)
            rows = 0 if first is None else reader.record_rows(first.numpy(), self._columns())
        except DataError as error:
            raise DataError(f"{chunk.files[0]}: {error}") from error
        except (tf.errors.OpError, DecodeError) as error:
            raise DataError(f"{chunk.files[0]}: not readable as {chunk.type}: {error}") from error
        if rows == 0:
            raise DataError(f"source_spec.{self.mapping}: no rows in {', '.join(str(f) for f in chunk.files)}")
        is_all_there_is = self.rows() == rows
        if self.prebatch_size and rows != self.prebatch_size and not is_all_there_is:
            raise SettingsError(
                f"prebatch_{self.mapping}_size: got {self.prebatch_size}, but the records of {chunk.files[0]} have "
                f"{rows} row(s). Pass {rows}, or leave it out."
            )
        return rows

    def _global_batches(
        self, reader: ModuleType, chunk: Chunk, rows_per_record: int, seed: int | None, drop_remainder: bool
    ) -> tf.data.Dataset:
        records = reader.records(chunk.files, seed)
        if seed is not None:
            records = records.shuffle(max(1, SHUFFLE_ROWS // rows_per_record), seed, reshuffle_each_iteration=False)
        mine = slice(self.rank, None, self.ranks)
        columns = self._columns()
        if rows_per_record == 1:
            data = records.batch(self.batch_size, drop_remainder).map(
                lambda r: (
                    tf.shape(r)[0],
                    _row_per_record(_checked(reader.decode(r[mine], columns), columns), r[mine]),
                ),
                num_parallel_calls=PARALLEL_DECODES,
            )
        else:
            groups = records.batch(max(1, SHUFFLE_ROWS // rows_per_record)).enumerate()
            data = groups.map(
                lambda i, r: _permuted(_checked(reader.decode(r, columns), columns), seed, i),
                num_parallel_calls=PARALLEL_DECODES,
            ).rebatch(self.batch_size, drop_remainder)
            data = data.map(lambda c: (tf.shape(c[self.label])[0], {n: v[mine] for n, v in c.items()}))
        return data

    def _explained(self, reader: ModuleType, chunk: Chunk, error: tf.errors.OpError) -> DataError:
        """Reads the files again in order to say which file and row the error came from."""
        for file in chunk.files:
            first_row = 0
            try:
                for records in reader.records([file], None).batch(1):
                    columns = {n: v.numpy() for n, v in reader.decode(records, self._columns()).items()}
                    problem = _first_bad_value(columns, self._columns(), first_row)
                    if problem:
                        return DataError(f"{file}, {problem}")
                    first_row += len(columns[self.label])
            except (tf.errors.InvalidArgumentError, tf.errors.DataLossError) as found:
                return DataError(f"{file}, after row {first_row}: damaged or truncated: {found.message}")
        return DataError(f"source_spec.{self.mapping}: {error.message}")


def _checked(columns: Mapping[str, tf.Tensor], features: Sequence[Feature]) -> dict[str, tf.Tensor]:
    """Ids as int32, the label (the first feature) as it is. Raises InvalidArgumentError for values out of range."""
    result = {}
    for feature in features:
        column, limit = columns[feature.name], _limit(feature, features)
        if limit is not None:
            inside = tf.reduce_all((column >= 0) & (column <= limit))
            if feature is features[0]:
                inside &= tf.reduce_all((column == 0) | (column == 1))
            with tf.control_dependencies([tf.debugging.Assert(inside, [f"{feature.name}: value out of range"])]):
                column = tf.identity(column) if feature is features[0] else tf.cast(column, tf.int32)
        result[feature.name] = column
    return result


def _limit(feature: Feature, features: Sequence[Feature]) -> int | None:
    """Largest value: 1 for the label, which comes first, the cardinality for ids, None for numbers."""
    return 1 if feature is features[0] else feature.cardinality


def _row_per_record(columns: dict[str, tf.Tensor], records: tf.Tensor) -> dict[str, tf.Tensor]:
    """Raises InvalidArgumentError where records of several rows follow a first one of a single row."""
    rows = tf.shape(next(iter(columns.values())))[0]
    message = "records of several rows follow a record of one row. Put the file with the full records first"
    with tf.control_dependencies([tf.debugging.Assert(rows == tf.shape(records)[0], [message])]):
        return {name: tf.identity(column) for name, column in columns.items()}


def _permuted(columns: Mapping[str, tf.Tensor], seed: int | None, group: tf.Tensor) -> Mapping[str, tf.Tensor]:
    if seed is None:
        return columns
    rows = tf.shape(next(iter(columns.values())))[0]
    order = tf.argsort(tf.random.stateless_uniform([rows], seed=tf.stack([tf.cast(seed, tf.int64), group])))
    return {name: tf.gather(column, order) for name, column in columns.items()}


def _first_bad_value(columns: Mapping[str, np.ndarray], features: Sequence[Feature], first_row: int) -> str | None:
    for feature in features:
        limit = _limit(feature, features)
        if limit is None:
            continue
        column = columns[feature.name]
        is_bad = (column < 0) | (column > limit)
        if feature is features[0]:
            is_bad |= (column != 0) & (column != 1)
        bad = np.argwhere(is_bad)
        if len(bad):
            row, value = first_row + bad[0][0], column[tuple(bad[0])]
            if feature is features[0]:
                return f"row {row}: label {feature.name}: got {value}, expected 0 or 1. Fix the row."
            return (
                f"row {row}: feature {feature.name}: got id {value}, expected 0..{limit}. "
                "Fix the row, or the cardinality in feature_spec.yaml."
            )
    return None
