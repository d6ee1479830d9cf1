"""TFRecord chunks of tf.train.Example: plain (a row per record), or prebatched (P rows, columns flattened)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from training.errors import DataError
from training.feature_spec import Feature

READ_BUFFER_BYTES = 4 << 20
FILES_IN_TURN = 4


def records(files: Sequence[Path], shuffle_seed: int | None) -> tf.data.Dataset:
    """Serialized records: in order, or with the files shuffled and read in turn."""
    names = [str(f) for f in files]
    if shuffle_seed is None:
        data = tf.data.TFRecordDataset(names, buffer_size=READ_BUFFER_BYTES)
    else:
        order = tf.data.Dataset.from_tensor_slices(names).shuffle(len(names), shuffle_seed)
        data = order.interleave(
            lambda name: tf.data.TFRecordDataset(name, buffer_size=READ_BUFFER_BYTES),
            cycle_length=min(FILES_IN_TURN, len(names)),
            block_length=1,
        )
    options = tf.data.Options()
    options.autotune.enabled = False  # its thread was seen to stall for minutes at the end of a pass
    return data.with_options(options)


def record_rows(record: bytes, features: Sequence[Feature]) -> int:
    """Rows in one serialized record. Raises DataError naming each feature that is absent or makes no whole rows."""
    stored = tf.train.Example.FromString(record).features.feature
    problems: list[str] = []
    rows: dict[str, float] = {}
    for feature in features:
        kind = "float_list" if feature.dtype.kind == "f" else "int64_list"
        got = stored[feature.name].WhichOneof("kind") if feature.name in stored else None
        if got != kind:
            have = ", ".join(sorted(stored)) or "none"
            problems.append(f"feature {feature.name}: expected {kind}, got {got or f'nothing; the record has: {have}'}")
            continue
        values = len(getattr(stored[feature.name], kind).value)
        per_row = int(np.prod(feature.dimensions, dtype=np.int64))
        rows[feature.name] = values / per_row
        if values % per_row:
            problems.append(f"feature {feature.name}: {values} values make no rows of {per_row} (its dimensions)")
    if not problems and len(set(rows.values())) > 1:
        shown = ", ".join(f"{name} {count:g}" for name, count in rows.items())
        problems.append(f"features differ in rows per record: {shown}. Check `dimensions` in feature_spec.yaml")
    if problems:
        raise DataError("the first record does not fit the specification:\n" + "\n".join(f"  - {p}" for p in problems))
    return int(next(iter(rows.values())))


def decode(serialized: tf.Tensor, features: Sequence[Feature]) -> Mapping[str, tf.Tensor]:
    """Records [R] -> columns {name: [N, *dimensions]}, the rows of all records one after another.

    Plain and prebatched records decode alike: a column's flat values are cut by its dimensions. Raises
    InvalidArgumentError if the values of a feature do not make whole rows, or as many as the others.
    """
    described = {f.name: tf.io.RaggedFeature(_stored_dtype(f), row_splits_dtype=tf.int64) for f in features}
    parsed = tf.io.parse_example(serialized, described)
    columns = {f.name: tf.reshape(parsed[f.name].values, [-1, *f.dimensions]) for f in features}
    rows = tf.shape(columns[features[0].name])[0]
    checks = [
        tf.debugging.assert_equal(tf.shape(column)[0], rows, f"feature {name}: rows unlike {features[0].name}")
        for name, column in columns.items()
    ]
    with tf.control_dependencies([c for c in checks if c is not None]):
        return {name: tf.identity(column) for name, column in columns.items()}


def _stored_dtype(feature: Feature) -> tf.DType:
    return tf.float32 if feature.dtype.kind == "f" else tf.int64
