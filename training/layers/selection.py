"""Which history steps SIM's search unit hands on (Pi et al. 2020, section 3.2): soft by score, hard by category."""

from __future__ import annotations

import tensorflow as tf

from training.native.selection import native_top_k_mask


def top_k_mask(scores: tf.Tensor, mask: tf.Tensor, k: int, native: bool = False) -> tf.Tensor:
    """True at the k real steps with the highest scores, at all real steps where there are fewer. bool [B, L].

    scores: float32 [B, L], without gradient. mask: bool [B, L], true at real steps. Of equal scores the earlier
    step comes first. The selection rests on the mask, not on the size of a score: a real item whose score underflows
    is still real. native: the compiled kernel, where L is known.
    """
    steps = scores.shape[1]
    if steps is not None and k >= steps:
        return mask
    if native and steps is not None:
        return native_top_k_mask(scores, mask, k)
    steps = tf.shape(scores)[1]
    k = tf.minimum(k, steps)
    lowest = tf.float32.min  # above the padding's −∞, also for a real score that overflowed
    ranked = tf.where(mask, tf.maximum(tf.cast(scores, tf.float32), lowest), -float("inf"))
    chosen = tf.math.top_k(ranked, k=k, sorted=False).indices
    rows = tf.shape(scores)[0]
    flat = tf.reshape(chosen + steps * tf.range(rows)[:, tf.newaxis], [-1])
    hits = tf.math.unsorted_segment_sum(tf.ones_like(flat), flat, rows * steps)
    return (tf.reshape(hits, [rows, steps]) > 0) & mask


def same_category_mask(target: tf.Tensor, history: tf.Tensor, mask: tf.Tensor, k: int) -> tf.Tensor:
    """Hard search: the newest k real steps of the target's category. target [B], history [B, L] ids -> bool [B, L]."""
    same = mask & (history == target[:, tf.newaxis])
    newer = tf.cumsum(tf.cast(same, tf.int32), axis=1, reverse=True)
    return same & (newer <= k)
