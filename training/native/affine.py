"""x·W + b whose bias gradient is a sum that uses all registers."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from training.native import load_kernels


@tf.custom_gradient
def affine_rows(
    x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]]:
    """x [N, in] float32 or bfloat16; kernel [in, out] and bias [out] float32 -> [N, out] in x's dtype."""
    weights = tf.cast(kernel, x.dtype)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return (
            tf.matmul(upstream, weights, transpose_b=True),
            tf.cast(tf.matmul(x, upstream, transpose_a=True), tf.float32),
            load_kernels().recserve_column_sums(x=upstream),
        )

    return tf.nn.bias_add(tf.matmul(x, weights), tf.cast(bias, x.dtype)), gradient
