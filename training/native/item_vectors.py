"""Lookups in several embedding tables at once, side by side and in the type of the computation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from training.native import load_kernels


def item_vectors(tables: Sequence[tf.Tensor], ids: Sequence[tf.Tensor], dtype: tf.DType) -> tf.Tensor:
    """tables: N of [V_n, D_n] float32. ids: N of [...] int32, of one shape. -> [..., ΣD_n] float32 or bfloat16.

    Raises InvalidArgumentError for an id outside its table.
    """
    shape, width = ids[0].shape, sum(int(t.shape[1]) for t in tables)
    rows = [i if shape.rank == 2 else tf.reshape(i, [-1, 1]) for i in ids]
    vectors = load_kernels().recserve_item_vectors(tables=list(tables), ids=rows, T=dtype)
    if shape.rank != 2:
        vectors = tf.reshape(vectors, tf.concat([tf.shape(ids[0]), [width]], axis=0))
    return tf.ensure_shape(vectors, [*shape, width])


@tf.RegisterGradient("RecserveItemVectors")  # type: ignore[misc]
def _item_vectors_gradient(op: Any, upstream: tf.Tensor) -> list[tf.IndexedSlices | None]:
    half = len(op.inputs) // 2
    tables, ids = list(op.inputs[:half]), list(op.inputs[half:])
    columns = load_kernels().recserve_item_vectors_gradient(upstream=upstream, tables=tables)
    slices = [
        tf.IndexedSlices(values, tf.reshape(rows, [-1]), tf.shape(table))
        for values, rows, table in zip(columns, ids, tables, strict=True)
    ]
    return [*slices, *[None] * half]
