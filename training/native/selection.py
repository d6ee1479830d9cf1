"""Top-k selection as a mask, without a list of indices."""

from __future__ import annotations

import tensorflow as tf

from training.native import load_kernels


def native_top_k_mask(scores: tf.Tensor, mask: tf.Tensor, k: int) -> tf.Tensor:
    """layers.selection.top_k_mask for k < L. scores float32 [B, L], mask bool [B, L] -> bool [B, L]. No gradient."""
    return load_kernels().recserve_top_k_mask(scores=scores, mask=mask, k=k)
