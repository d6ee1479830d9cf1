"""Runs of rows with one and the same history, so that what does not depend on the target is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf


class Runs(NamedTuple):
    """first_row [U]: the row that starts each run. run_of_row [B]: ascending from 0. lengths [U]: their rows. int32."""

    first_row: tf.Tensor
    run_of_row: tf.Tensor
    lengths: tf.Tensor

    def of_runs(self, rows: tf.Tensor) -> tf.Tensor:
        """The first row of each run: [B, …] -> [U, …]."""
        return tf.gather(rows, self.first_row)

    def to_rows(self, values: tf.Tensor) -> tf.Tensor:
        """Each run's value for all its rows: [U, …] -> [B, …]."""
        return tf.gather(values, self.run_of_row)


def runs_of(histories: Sequence[tf.Tensor]) -> Runs:
    """Runs of consecutive rows that are equal in every history. histories: of [B, S] ids each.

    A training positive stands beside its negative in the files; the two differ in label and target only. Rows
    are compared, not trusted: other data costs the comparison and nothing else.
    """
    changes = [tf.reduce_any(h[1:] != h[:-1], axis=1) for h in histories]
    change = tf.reduce_any(tf.stack(changes), axis=0)
    rows = tf.shape(histories[0])[0]
    starts = tf.concat([tf.ones([tf.minimum(rows, 1)], tf.bool), change], axis=0)
    run_of_row = tf.cumsum(tf.cast(starts, tf.int32)) - 1
    first_row = tf.cast(tf.where(starts)[:, 0], tf.int32)
    ends = tf.concat([first_row[1:], tf.reshape(rows, [1])], axis=0)[: tf.shape(first_row)[0]]
    return Runs(first_row, run_of_row, ends - first_row)


def every_row(rows: tf.Tensor) -> Runs:
    """Each row a run of its own. rows: their number, int32 scalar."""
    numbers = tf.range(rows)
    return Runs(numbers, numbers, tf.ones_like(numbers))
