"""Softmax over real steps in one pass, and its gradient in another."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from training.native import load_kernels


def native_masked_softmax(scores: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """layers.history.masked_softmax. scores float32 [B, L] or [B, Q, L], mask bool [B, L] -> as scores."""
    if len(scores.shape) == len(mask.shape):
        return tf.squeeze(native_masked_softmax(scores[:, tf.newaxis], mask), axis=1)
    return load_kernels().recserve_masked_softmax(scores=scores, mask=mask)


@tf.RegisterGradient("RecserveMaskedSoftmax")  # type: ignore[misc]
def _masked_softmax_gradient(op: Any, upstream: tf.Tensor) -> list[tf.Tensor | None]:
    return [load_kernels().recserve_masked_softmax_gradient(weights=op.outputs[0], upstream=upstream), None]
