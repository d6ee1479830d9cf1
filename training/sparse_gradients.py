"""Gradients of embedding tables: rows that were looked up, each once, without the padding row."""

from __future__ import annotations

import tensorflow as tf

from training.native import load_kernels


def unique_rows(slices: tf.IndexedSlices, native: bool) -> tf.IndexedSlices:
    """Sums the values of equal ids and drops id 0, whose vector is zero and stays so.

    slices: indices int32 [N], values [N, D] float32. Returns indices [M] without repetition, values [M, D].
    """
    ids, values = tf.cast(slices.indices, tf.int32), tf.cast(slices.values, tf.float32)
    if native:
        ids, values = load_kernels().recserve_unique_rows(ids=ids, values=values, rows=slices.dense_shape[0])
        return tf.IndexedSlices(values, ids, slices.dense_shape)
    real = tf.where(ids > 0)[:, 0]
    unique, position = tf.unique(tf.gather(ids, real))
    sums = tf.math.unsorted_segment_sum(tf.gather(values, real), position, tf.size(unique))
    return tf.IndexedSlices(sums, unique, slices.dense_shape)


def concatenated(parts: list[tf.IndexedSlices]) -> tf.IndexedSlices:
    """One after another; equal ids stay apart."""
    if len(parts) == 1:
        return parts[0]
    ids, values = tf.concat([p.indices for p in parts], axis=0), tf.concat([p.values for p in parts], axis=0)
    return tf.IndexedSlices(values, ids, parts[0].dense_shape)
