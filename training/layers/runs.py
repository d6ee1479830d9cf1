"""Rows that share a history, so that what does not depend on the target is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf


class Runs(NamedTuple):
    """first_row [U]: the row that starts each run. run_of_row [B]: ascending from 0. lengths [U]: their rows. int32.

    Every row brings its own copy of the history: features are [B, …].
    """

    first_row: tf.Tensor
    run_of_row: tf.Tensor
    lengths: tf.Tensor

    def of_runs(self, features: tf.Tensor) -> tf.Tensor:
        """The first row of each run: [B, …] -> [U, …]."""
        return tf.gather(features, self.first_row)

    def in_rows(self, features: tf.Tensor) -> tf.Tensor:
        """[B, …], as they came."""
        return features

    def to_rows(self, values: tf.Tensor) -> tf.Tensor:
        """Each run's value for all its rows: [U, …] -> [B, …]."""
        return tf.gather(values, self.run_of_row)

    def add(self, rows: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        """To each row its run's value. rows [B, W], values [U, W] -> [B, W]."""
        return rows + self.to_rows(values)


@dataclass(frozen=True)
class Candidates:
    """The rows of U users with N candidates each, user after user: B = U·N. Runs known from shapes, not from ids.

    What belongs to a user came once: features are [U, …]. users: U, each: N, int32 scalars; a number where it is known
    to be 1.
    """

    users: tf.Tensor | int
    each: tf.Tensor | int

    @property
    def are_single(self) -> bool:
        """Each user has one row, known before the graph runs."""
        return isinstance(self.each, int) and self.each == 1

    @property
    def are_of_one(self) -> bool:
        """There is one user, known before the graph runs."""
        return isinstance(self.users, int) and self.users == 1

    @property
    def run_of_row(self) -> tf.Tensor:
        """[B], as in Runs."""
        return self.to_rows(tf.range(self.users))

    @property
    def lengths(self) -> tf.Tensor:
        """[U], as in Runs."""
        return tf.fill([self.users], self.each)

    def of_runs(self, features: tf.Tensor) -> tf.Tensor:
        """[U, …], as they came."""
        return features

    def in_rows(self, features: tf.Tensor) -> tf.Tensor:
        return self.to_rows(features)

    def to_rows(self, values: tf.Tensor) -> tf.Tensor:
        """[U, …] -> [B, …]."""
        if self.are_single:
            return values
        return tf.repeat(values, self.each, axis=0)

    def add(self, rows: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        """rows [B, W], values [U, W] -> [B, W], without a copy of the values for each row.

        Of one user it is a bias, which TensorFlow fuses with the product before and the activation after it.
        """
        if self.are_single:
            return rows + values
        if self.are_of_one:
            return tf.nn.bias_add(rows, tf.squeeze(values, axis=0))
        return self.join(self.split(rows) + values[:, tf.newaxis])

    def product(self, rows: tf.Tensor, kernels: tf.Tensor) -> tf.Tensor:
        """Each row by its user's matrix. rows [B, V], kernels [U, V, W] -> [B, W]."""
        if self.are_of_one:
            return tf.matmul(rows, tf.squeeze(kernels, axis=0))
        return self.join(tf.matmul(self.split(rows), kernels))

    def split(self, rows: tf.Tensor) -> tf.Tensor:
        """[B, …] -> [U, N, …]."""
        return tf.reshape(rows, [self.users, self.each, *rows.shape[1:]])

    def join(self, values: tf.Tensor) -> tf.Tensor:
        """[U, N, …] -> [B, …]."""
        return tf.reshape(values, [self.users * self.each, *values.shape[2:]])


RowSharing = Runs | Candidates


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


def every_row(rows: tf.Tensor) -> Candidates:
    """Each row a run of its own. rows: their number, int32 scalar."""
    return Candidates(rows, 1)
