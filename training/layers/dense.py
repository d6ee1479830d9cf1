"""Affine layers. Weights are float32 variables; they are cast to the input's dtype, so one layer serves AMP too."""

from __future__ import annotations

import tensorflow as tf


def glorot_uniform(shape: tuple[int, int]) -> tf.Tensor:
    """U(±√(6/(in+out))), Glorot & Bengio 2010, eq. (16)."""
    limit = (6.0 / (shape[0] + shape[1])) ** 0.5
    return tf.random.uniform(shape, -limit, limit)


class Dense(tf.Module):
    """y = x·W + b. [..., in] -> [..., out]."""

    def __init__(self, inputs: int, outputs: int, name: str) -> None:
        super().__init__(name)
        self.kernel = tf.Variable(glorot_uniform((inputs, outputs)), name="kernel")
        self.bias = tf.Variable(tf.zeros([outputs]), name="bias")

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return tf.tensordot(x, tf.cast(self.kernel, x.dtype), 1) + tf.cast(self.bias, x.dtype)


class PReLU(tf.Module):
    """y = max(x, 0) + α·min(x, 0) with one learned α per unit, from 0.1. He et al. 2015, eq. (1)."""

    def __init__(self, units: int, name: str) -> None:
        super().__init__(name)
        self.alpha = tf.Variable(tf.fill([units], 0.1), name="alpha")

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu(x) - tf.cast(self.alpha, x.dtype) * tf.nn.relu(-x)
