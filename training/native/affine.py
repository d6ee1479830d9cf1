"""x·W + b whose gradients come in one pass over the rows."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from training.native import load_kernels

Gradients = tuple[tf.Tensor, ...]


@tf.custom_gradient
def affine_rows(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], Gradients]]:
    """x [N, in] float32 or bfloat16; kernel [in, out] and bias [out] float32 -> [N, out] in x's dtype."""

    def gradient(upstream: tf.Tensor) -> Gradients:
        return tuple(load_kernels().recserve_affine_gradient(x=x, kernel=kernel, upstream=upstream))

    return tf.nn.bias_add(tf.matmul(x, tf.cast(kernel, x.dtype)), tf.cast(bias, x.dtype)), gradient


@tf.custom_gradient
def matmul_rows(x: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], Gradients]]:
    """The same without a bias."""

    def gradient(upstream: tf.Tensor) -> Gradients:
        return tuple(load_kernels().recserve_affine_gradient(x=x, kernel=kernel, upstream=upstream))[:2]

    return tf.matmul(x, tf.cast(kernel, x.dtype)), gradient
