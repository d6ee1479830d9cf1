"""Time-interval embeddings of SIM's exact search unit (Pi et al. 2020, section 3.3): how long ago each step was."""

from __future__ import annotations

import tensorflow as tf

from training.layers.embedding import EmbeddingTable

BUCKETS = 24  # log2 of hours: the last one begins at nearly 1000 years
SECONDS_PER_HOUR = 3600.0


class TimeIntervals(tf.Module):
    """A table of vectors for the intervals [2^n − 1, 2^(n+1) − 1) hours between a step and the target; 0 is padding."""

    def __init__(self, dim: int, name: str) -> None:
        super().__init__(name)
        self.table = EmbeddingTable(BUCKETS, dim, name)

    def buckets(self, target: tf.Tensor, history: tf.Tensor) -> tf.Tensor:
        """Times in seconds, target [B], history [B, L] with 0 for padding -> ids 1..BUCKETS, 0 for padding; int32."""
        hours = tf.maximum(target[:, tf.newaxis] - history, 0.0) / SECONDS_PER_HOUR
        bucket = tf.cast(tf.math.log(hours + 1.0) / tf.math.log(2.0), tf.int32) + 1
        return tf.where(history > 0, tf.minimum(bucket, BUCKETS), 0)
