"""Soft search of SIM: the K history items that fit the target best (Pi et al. 2020, eq. (2) and section 3.2)."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf


class Selected(NamedTuple):
    """items [B, K, D]; mask [B, K], true where a real item was selected, not padding."""

    items: tf.Tensor
    mask: tf.Tensor


def select_top_k(scores: tf.Tensor, items: tf.Tensor, mask: tf.Tensor, k: int) -> Selected:
    """The k items with the highest scores; padding only where fewer than k are real.

    scores: [B, L]. items: [B, L, D]. mask: [B, L] bool. k is cut to L, so histories shorter than k work.
    The mask of the result is gathered, not derived from scores: a real item whose weight underflows stays.
    """
    ranked = tf.where(mask, tf.cast(scores, tf.float32), tf.float32.min)
    indices = tf.math.top_k(ranked, k=min(k, int(items.shape[1])), sorted=False).indices
    return Selected(tf.gather(items, indices, batch_dims=1), tf.gather(mask, indices, batch_dims=1))
