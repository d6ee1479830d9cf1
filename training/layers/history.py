"""A masked history as attention sees it: scores of queries against its steps, and weighted sums of its steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import tensorflow as tf

from training.layers.runs import Candidates
from training.native.masked_softmax import native_masked_softmax


class History(Protocol):
    """The item vectors of L steps, width D, for B rows, some of which may share theirs. Padded steps are zeros."""

    @property
    def width(self) -> int:
        """D."""

    @property
    def vectors(self) -> tf.Tensor:
        """[B, L, D], or [U, L, D] of the U different histories."""

    def scores(self, queries: tf.Tensor) -> tf.Tensor:
        """queries [B, Q, D] -> their inner products with each step, float32 [B, Q, L]."""

    def pool(self, weights: tf.Tensor) -> tf.Tensor:
        """weights float32 [B, Q, L] -> weighted sums of the steps [B, Q, D]."""


class GatheredHistory:
    """A history whose vectors are in memory: of each row, or [U, L, D] of users who have the candidates `shared`."""

    def __init__(self, vectors: tf.Tensor, shared: Candidates | None = None) -> None:
        self.vectors, self._shared = vectors, shared
        self.width = int(vectors.shape[-1])

    @property
    def is_shared(self) -> bool:
        """Several rows have one history."""
        return self._shared is not None

    def scores(self, queries: tf.Tensor) -> tf.Tensor:
        return tf.cast(self._product(queries, transpose=True), tf.float32)

    def pool(self, weights: tf.Tensor) -> tf.Tensor:
        return self._product(tf.cast(weights, self.vectors.dtype), transpose=False)

    def _product(self, rows: tf.Tensor, transpose: bool) -> tf.Tensor:
        """[B, Q, ·] by the vectors, all rows of a user in one product -> [B, Q, ·]."""
        if self._shared is None:
            return tf.matmul(rows, self.vectors, transpose_b=transpose)
        users, each, queries = self._shared.users, self._shared.each, int(rows.shape[1])
        steps = tf.shape(self.vectors)[1]
        inner, outer = (self.width, steps) if transpose else (steps, self.width)
        joined = tf.reshape(rows, [users, each * queries, inner])
        product = tf.matmul(joined, self.vectors, transpose_b=transpose)
        return tf.reshape(product, [users * each, queries, outer])


def masked_softmax(scores: tf.Tensor, mask: tf.Tensor, native: bool = False) -> tf.Tensor:
    """Softmax over the last axis in float32 where mask is true, 0 elsewhere; all zeros if nothing is true.

    scores: [B, L] or [B, Q, L], any float dtype. mask: bool [B, L]. Returns float32, shape of scores. native: the
    compiled kernel.
    """
    scores = tf.cast(scores, tf.float32)
    if native:
        return native_masked_softmax(scores, mask)
    if len(scores.shape) > len(mask.shape):
        mask = mask[:, tf.newaxis]
    lowest = tf.float32.min  # real scores stay far above it, also those that overflowed: padding has no share
    scores = tf.where(mask, tf.maximum(scores, lowest / 2), lowest)
    return tf.where(mask, tf.nn.softmax(scores, axis=-1), 0.0)


def mean_weights(mask: tf.Tensor) -> tf.Tensor:
    """Weights that make `pool` a mean over the steps where mask [B, L] is true; zeros if there is none. [B, L]."""
    weights = tf.cast(mask, tf.float32)
    return weights / tf.maximum(tf.reduce_sum(weights, axis=1, keepdims=True), 1.0)


def pool_each(history: History, weights: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """`pool` of each of the weights [B, Q_i, L]: in one pass where rows have their own history, else a product each."""
    if isinstance(history, GatheredHistory) and history.is_shared:
        return [history.pool(part) for part in weights]
    pooled = history.pool(tf.concat(list(weights), axis=1))
    return list(tf.split(pooled, [int(part.shape[1]) for part in weights], axis=1))
