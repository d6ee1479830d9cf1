"""Attention on a history straight from the embedding tables, without a copy of the history's vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from training.layers.history import GatheredHistory
from training.layers.runs import Candidates
from training.native import load_kernels
from training.native.dot_attention import native_dot_attention, native_dot_attention_of_candidates
from training.native.item_vectors import item_vectors


class NativeHistory:
    """A layers.history.History. tables: N of [V_n, D_n] float32. ids: N of [B, L] int32. D is the sum of the D_n.

    Row 0 of each table counts as zeros. Computes in float32 whatever dtype it gives its results in.
    """

    def __init__(self, tables: Sequence[tf.Variable], ids: Sequence[tf.Tensor], dtype: tf.DType) -> None:
        self._tables = [t.read_value() for t in tables]
        self._ids, self._dtype = list(ids), dtype
        self.width = sum(int(t.shape[1]) for t in tables)

    @property
    def vectors(self) -> tf.Tensor:
        """[B, L, D]: gathered, for attentions that need every vector."""
        return item_vectors(self._tables, self._ids, self._dtype)

    def attend(
        self, query: tf.Tensor, bias: tf.Tensor | None, mask: tf.Tensor, k: int = 0, relevance: bool = False
    ) -> list[tf.Tensor]:
        """See native_dot_attention. query [B, D] of any float dtype; each sum [B, D]."""
        pooled = native_dot_attention(tf.cast(query, tf.float32), bias, mask, self._tables, self._ids, k, relevance)
        return [tf.cast(p, self._dtype) for p in pooled]

    def scores(self, queries: tf.Tensor) -> tf.Tensor:
        scores = load_kernels().recserve_history_scores(
            queries=tf.cast(queries, tf.float32), tables=self._tables, ids=self._ids
        )
        return tf.ensure_shape(scores, [None, queries.shape[1], self._ids[0].shape[1]])

    def pool(self, weights: tf.Tensor) -> tf.Tensor:
        pooled = load_kernels().recserve_history_pool(weights=weights, tables=self._tables, ids=self._ids)
        return tf.cast(tf.ensure_shape(pooled, [None, weights.shape[1], self.width]), self._dtype)


class SharedNativeHistory(GatheredHistory):
    """The history of users, [U, L, D], that all their candidates see; not for training."""

    def __init__(self, vectors: tf.Tensor, rows: Candidates) -> None:
        super().__init__(vectors, rows)
        self._run_of_row = rows.run_of_row

    def attend(
        self, query: tf.Tensor, bias: tf.Tensor | None, mask: tf.Tensor, k: int = 0, relevance: bool = False
    ) -> list[tf.Tensor]:
        """As of NativeHistory, without the sum by relevance, which only a loss needs. mask: one of a user's rows."""
        if relevance:
            raise ValueError("relevance: got candidates of users; expected rows to train on, each with its own history")
        return native_dot_attention_of_candidates(query, self.vectors, bias, self._run_of_row, mask, k)


# one operation gives the sums that the kind "dot" of attention needs
OnePassHistory = NativeHistory | SharedNativeHistory


@tf.RegisterGradient("RecserveHistoryScores")  # type: ignore[misc]
def _scores_gradient(op: Any, gradient: tf.Tensor) -> list[Any]:
    queries, tables, ids = _inputs(op)
    queries_gradient = load_kernels().recserve_history_pool(weights=gradient, tables=tables, ids=ids)
    return [queries_gradient, *_table_gradients(gradient, queries, tables, ids), *[None] * len(ids)]


@tf.RegisterGradient("RecserveHistoryPool")  # type: ignore[misc]
def _pool_gradient(op: Any, gradient: tf.Tensor) -> list[Any]:
    weights, tables, ids = _inputs(op)
    weights_gradient = load_kernels().recserve_history_scores(queries=gradient, tables=tables, ids=ids)
    return [weights_gradient, *_table_gradients(weights, gradient, tables, ids), *[None] * len(ids)]


def _inputs(op: Any) -> tuple[tf.Tensor, list[tf.Tensor], list[tf.Tensor]]:
    first, *rest = op.inputs
    half = len(rest) // 2
    return first, list(rest[:half]), list(rest[half:])


def _table_gradients(
    coefficients: tf.Tensor, vectors: tf.Tensor, tables: Sequence[tf.Tensor], ids: Sequence[tf.Tensor]
) -> list[tf.IndexedSlices]:
    """Σ over rows b, queries q and steps l of coefficients [B, Q, L] · vectors [B, Q, D] at the row ids[b, l]."""
    parts = tf.split(vectors, [int(t.shape[1]) for t in tables], axis=2)
    slices = []
    for table, table_ids, part in zip(tables, ids, parts, strict=True):
        rows, values = load_kernels().recserve_outer_scatter(
            coefficients=coefficients, vectors=part, ids=table_ids, rows=tf.shape(table)[0]
        )
        slices.append(tf.IndexedSlices(values, rows, tf.shape(table)))
    return slices
