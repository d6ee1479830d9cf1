"""Attention of one target over a masked history."""

from __future__ import annotations

import tensorflow as tf


def masked_softmax(scores: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Softmax over the last axis in float32 where mask is true, 0 elsewhere; all zeros if nothing is true.

    scores: [B, T], any float dtype. mask: [B, T] bool. Returns float32 [B, T].
    """
    scores = tf.where(mask, tf.cast(scores, tf.float32), tf.float32.min)
    weights = tf.nn.softmax(scores, axis=-1)
    return tf.where(mask, weights, 0.0)


def dot_scores(target: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
    """target [B, D]·keys [B, T, D] -> [B, T]."""
    return tf.linalg.matvec(keys, target)


def attend(scores: tf.Tensor, values: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Σ_t softmax(scores)_t · values_t. scores [B, T], values [B, T, D], mask [B, T] -> [B, D]."""
    weights = tf.cast(masked_softmax(scores, mask), values.dtype)
    return tf.linalg.matvec(values, weights, transpose_a=True)


def masked_mean(values: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Mean of values [B, T, D] over the steps where mask [B, T] is true; zeros if there is none. -> [B, D]."""
    weights = tf.cast(mask, tf.float32)
    weights = weights / tf.maximum(tf.reduce_sum(weights, axis=1, keepdims=True), 1.0)
    return tf.linalg.matvec(values, tf.cast(weights, values.dtype), transpose_a=True)
