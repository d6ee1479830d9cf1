"""Affine layers. Weights are float32 variables; they are cast to the input's dtype, so one layer serves AMP too."""

from __future__ import annotations

import tensorflow as tf

from training.native.affine import affine_rows, matmul_rows
from training.native.prelu import prelu


def glorot_uniform(shape: tuple[int, int]) -> tf.Tensor:
    """U(±√(6/(in+out))), Glorot & Bengio 2010, eq. (16)."""
    limit = (6.0 / (shape[0] + shape[1])) ** 0.5
    return tf.random.uniform(shape, -limit, limit)


def affine(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor | None = None, native: bool = False) -> tf.Tensor:
    """x·W + b in x's dtype: [..., in] -> [..., out]. On two axes, a form that TensorFlow fuses into one operation.

    native: the compiled kernel for the gradients.
    """
    inputs, outputs = kernel.shape
    rows = tf.reshape(x, [-1, inputs])
    if native and bias is None:
        y = matmul_rows(rows, tf.convert_to_tensor(kernel))
    elif native:
        y = affine_rows(rows, tf.convert_to_tensor(kernel), tf.convert_to_tensor(bias))
    elif bias is None:
        y = tf.matmul(rows, tf.cast(kernel, x.dtype))
    else:
        y = tf.nn.bias_add(tf.matmul(rows, tf.cast(kernel, x.dtype)), tf.cast(bias, x.dtype))
    if len(x.shape) == 2:
        return y
    if None in x.shape[1:-1]:
        return tf.reshape(y, tf.concat([tf.shape(x)[:-1], [outputs]], axis=0))
    return tf.reshape(y, [tf.shape(x)[0], *x.shape[1:-1], outputs])


class Dense(tf.Module):
    """y = x·W + b. [..., in] -> [..., out]. native: compiled kernels."""

    def __init__(self, inputs: int, outputs: int, name: str, native: bool = False) -> None:
        super().__init__(name)
        self.native = native
        self.kernel = tf.Variable(glorot_uniform((inputs, outputs)), name="kernel")
        self.bias = tf.Variable(tf.zeros([outputs]), name="bias")
        self.multiply_adds = inputs * outputs

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return affine(x, self.kernel, self.bias, self.native)


class PReLU(tf.Module):
    """y = max(x, 0) + α·min(x, 0) with one learned α per unit, from 0.1. He et al. 2015, eq. (1)."""

    def __init__(self, units: int, name: str, native: bool = False) -> None:
        super().__init__(name)
        self.native = native
        self.alpha = tf.Variable(tf.fill([units], 0.1), name="alpha")

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        if self.native:
            return prelu(x, self.alpha)
        return tf.nn.relu(x) - tf.cast(self.alpha, x.dtype) * tf.nn.relu(-x)
