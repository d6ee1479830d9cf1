"""Which history steps SIM's search unit hands on (Pi et al. 2020, section 3.2): soft by score, hard by category."""

from __future__ import annotations

import tensorflow as tf

from training.native.selection import native_top_k_mask


def top_k_mask(scores: tf.Tensor, mask: tf.Tensor, k: int, native: bool = False) -> tf.Tensor:
    """True at the k real steps with the highest scores, at all real steps where there are fewer. bool [B, L].

    scores: float32 [B, L], without gradient. mask: bool [B, L], true at real steps. Of equal scores the earlier
    step comes first. The selection rests on the mask, not on the size of a score: a real item whose score underflows
    is still real. native: the compiled kernel.
    """
    steps = int(scores.shape[1])
    if k >= steps:
        return mask
    if native:
        return native_top_k_mask(scores, mask, k)
    ranked = _without_padding(scores, mask)
    chosen = tf.math.top_k(ranked, k=k, sorted=False).indices
    rows = tf.shape(scores)[0]
    flat = tf.reshape(chosen + steps * tf.range(rows)[:, tf.newaxis], [-1])
    hits = tf.math.unsorted_segment_sum(tf.ones_like(flat), flat, rows * steps)
    return (tf.reshape(hits, [rows, steps]) > 0) & mask


def threshold_mask(scores: tf.Tensor, mask: tf.Tensor, k: int) -> tf.Tensor:
    """What top_k_mask gives, for any number of steps L, found by the k-th highest score: faster for many rows on CPU.

    XLA has no such operation.
    """

    def chosen() -> tf.Tensor:
        ranked = _without_padding(scores, mask)
        threshold = tf.raw_ops.NthElement(input=ranked, n=k - 1, reverse=True)[:, tf.newaxis]
        reaching = (ranked >= threshold) & mask
        too_many = tf.reduce_any(tf.reduce_sum(tf.cast(reaching, tf.int32), axis=1) > k)
        return tf.cond(too_many, lambda: _earlier_ties(ranked, threshold, reaching, k), lambda: reaching)

    return tf.cond(tf.shape(scores)[1] > k, chosen, lambda: mask)


def _earlier_ties(scores: tf.Tensor, threshold: tf.Tensor, reaching: tf.Tensor, k: int) -> tf.Tensor:
    """Of the steps that reach the threshold [B, 1] k, those that equal it in the order of the steps. bool [B, L]."""
    above = reaching & (scores > threshold)
    ties = tf.cast(reaching & ~above, tf.float32)
    room = float(k) - tf.reduce_sum(tf.cast(above, tf.float32), axis=1, keepdims=True)
    steps = tf.shape(scores)[1]
    up_to = tf.linalg.band_part(tf.ones([steps, steps]), 0, -1)  # a product with it sums faster than cumsum
    return above | (reaching & (tf.matmul(ties, up_to) <= room))


def _without_padding(scores: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """−∞ at padded steps; above it also a real score that overflowed. float32 [B, L]."""
    return tf.where(mask, tf.maximum(tf.cast(scores, tf.float32), tf.float32.min), -float("inf"))


def same_category_mask(target: tf.Tensor, history: tf.Tensor, mask: tf.Tensor, k: int) -> tf.Tensor:
    """Hard search: the newest k real steps of the target's category. target [B], history [B, L] ids -> bool [B, L]."""
    same = mask & (history == target[:, tf.newaxis])
    newer = tf.cumsum(tf.cast(same, tf.int32), axis=1, reverse=True)
    return same & (newer <= k)
