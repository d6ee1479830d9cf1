"""Means of gradients over the ranks: one fused allreduce for all that is dense, tables as rows where that is less."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import tensorflow as tf

Gradient: TypeAlias = "tf.Tensor | tf.IndexedSlices"
# A table below this many bytes rides in the fused allreduce, whatever its rows: on loopback as on 10 Gbit/s Ethernet
# a megabyte takes about a millisecond, which is what the two collectives of the other way take to negotiate.
SMALL_TABLE_BYTES = 1 << 20


class GradientExchange:
    """Means over the ranks, in one compiled graph per layout of gradients.

    A small table's gradient is scattered into the fused buffer. For a large table the ranks first add up how many rows
    they have, N over all ranks with duplicates, in one collective of a few bytes for all such tables; with V rows in
    the table and D + 1 numbers per row (the id travels as one),

        ring allgather of the rows sends   (P − 1) / P · N · (D + 1)   numbers per rank,
        ring allreduce of the table sends  2 · (P − 1) / P · V · (D + 1),

    so rows are gathered if N < 2 V. All ranks have the same sums, hence decide alike, a rank without rows too.
    """

    def __init__(self, hvd: Any) -> None:
        self._hvd = hvd
        self._compiled: dict[tuple[Any, ...], Callable[[list[Any]], list[Gradient]]] = {}

    def mean(self, gradients: Sequence[Gradient]) -> list[Gradient]:
        """As Workers.mean_gradients."""
        layout = tuple((isinstance(g, tf.IndexedSlices), *g.shape) for g in gradients)
        if layout not in self._compiled:
            function = functools.partial(self._mean, [shape[1:] for shape in layout])
            self._compiled[layout] = tf.function(function, input_signature=[[_parts_spec(g) for g in gradients]])
        means: list[Gradient] = self._compiled[layout]([_parts(g) for g in gradients])
        return means

    def _mean(self, shapes: list[tuple[int, ...]], gradients: list[Any]) -> list[Gradient]:
        """gradients: dense ones as they are, tables as (values [n, D], ids [n])."""
        means: dict[int, Gradient] = {}
        tables = {i: g for i, g in enumerate(gradients) if isinstance(g, tuple)}
        large = [i for i in tables if 4 * math.prod(shapes[i]) >= SMALL_TABLE_BYTES]
        if large:
            counts = tf.stack([tf.shape(tables[i][1], tf.int64)[0] for i in large])
            counts = self._hvd.allreduce(counts, op=self._hvd.Sum, name="rows_of_large_tables")
            for number, i in enumerate(large):
                means[i] = self._large_table(i, tables[i], shapes[i], counts[number])
        rest = [i for i in range(len(gradients)) if i not in means]
        dense = [_scattered(gradients[i][0], gradients[i][1], shapes[i]) if i in tables else gradients[i] for i in rest]
        for i, mean in zip(rest, self._fused(dense), strict=True):
            means[i] = _rows_of(mean, gradients[i][1].dtype) if i in tables else mean
        return [means[i] for i in range(len(gradients))]

    def _fused(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """One negotiation and one ring for all."""
        if not tensors:
            return []
        flat = tf.concat([tf.reshape(t, [-1]) for t in tensors], axis=0)
        flat = self._hvd.allreduce(flat, op=self._hvd.Average, name="dense_gradients")
        parts = tf.split(flat, [math.prod(t.shape) for t in tensors])
        return [tf.reshape(part, t.shape) for part, t in zip(parts, tensors, strict=True)]

    def _large_table(
        self, number: int, table: tuple[tf.Tensor, tf.Tensor], shape: tuple[int, ...], rows: tf.Tensor
    ) -> tf.IndexedSlices:
        values, ids = table

        def gathered() -> tuple[tf.Tensor, tf.Tensor]:
            return self._gathered(number, values, ids)

        def reduced() -> tuple[tf.Tensor, tf.Tensor]:
            dense = self._hvd.allreduce(_scattered(values, ids, shape), op=self._hvd.Average, name=f"table_{number}")
            slices = _rows_of(dense, ids.dtype)
            return slices.values, slices.indices

        values, ids = tf.cond(rows < 2 * shape[0], gathered, reduced)
        return tf.IndexedSlices(values, ids, tf.constant(shape, tf.int64))

    def _gathered(self, number: int, values: tf.Tensor, ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The rows of all ranks, each id once. An id's bits travel as one more float: one collective, not two."""
        ids_as_float = tf.bitcast(tf.cast(ids, tf.int32), tf.float32)[:, None]
        packed = self._hvd.allgather(tf.concat([values, ids_as_float], axis=1), name=f"table_rows_{number}")
        unique, position = tf.unique(tf.bitcast(packed[:, -1], tf.int32))
        sums = tf.math.unsorted_segment_sum(packed[:, :-1], position, tf.size(unique))
        return sums / self._hvd.size(), tf.cast(unique, ids.dtype)


def _parts(gradient: Gradient) -> Any:
    return (gradient.values, gradient.indices) if isinstance(gradient, tf.IndexedSlices) else gradient


def _parts_spec(gradient: Gradient) -> Any:
    if isinstance(gradient, tf.IndexedSlices):
        width = gradient.shape[1]
        return tf.TensorSpec([None, width], gradient.dtype), tf.TensorSpec([None], gradient.indices.dtype)
    return tf.TensorSpec(gradient.shape, gradient.dtype)


def _scattered(values: tf.Tensor, ids: tf.Tensor, shape: tuple[int, ...]) -> tf.Tensor:
    """[V, D + 1]: the rows in their places; the last column counts, so that a row that is zero is still a row."""
    rows = tf.concat([values, tf.ones_like(values[:, :1])], axis=1)
    return tf.scatter_nd(ids[:, None], rows, tf.constant([shape[0], shape[1] + 1], ids.dtype))


def _rows_of(scattered: tf.Tensor, id_type: tf.DType) -> tf.IndexedSlices:
    """The rows of any rank in a mean of scattered tables."""
    ids = tf.where(scattered[:, -1] > 0)[:, 0]
    shape = tf.constant([scattered.shape[0], scattered.shape[1] - 1], tf.int64)
    return tf.IndexedSlices(tf.gather(scattered, ids)[:, :-1], tf.cast(ids, id_type), shape)
