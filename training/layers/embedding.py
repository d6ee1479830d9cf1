"""Embedding tables with an explicit id policy: 1..C are ids, 0 is padding and always the zero vector."""

from __future__ import annotations

import tensorflow as tf


class EmbeddingTable(tf.Module):
    """ids [...] -> vectors [..., D].

    The table has C + 1 rows, U(±1/√rows). Row 0 is zero and stays so: the training step drops its gradient. The
    reference leaves it random; here an unknown user or item adds nothing instead of noise. name: of the feature.
    """

    def __init__(self, cardinality: int, dim: int, name: str) -> None:
        super().__init__(name)
        rows = cardinality + 1
        limit = rows**-0.5
        known = tf.random.uniform([cardinality, dim], -limit, limit)
        self.table = tf.Variable(tf.concat([tf.zeros([1, dim]), known], axis=0), name=f"{name}_table")

    def __call__(self, ids: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        return tf.cast(tf.gather(self.table.read_value(), ids), dtype)


def unknown_to_padding(ids: tf.Tensor, cardinality: int) -> tf.Tensor:
    """Ids outside 0..C become 0, so that an unknown id scores as the padding row. Any integer dtype; returns int32."""
    if ids.dtype == tf.uint64:
        ids = tf.minimum(ids, tf.constant(tf.int64.max, tf.uint64))
    wide = tf.cast(ids, tf.int64)
    return tf.cast(tf.where((wide >= 0) & (wide <= cardinality), wide, 0), tf.int32)
