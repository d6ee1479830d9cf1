"""Automatic mixed precision: which dtype to compute in, and loss scaling where its range is small."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from training.optimizers import Gradient


def compute_dtype(amp: bool) -> tf.DType:
    """float32 without AMP; float16 on a GPU; bfloat16 on CPU, whose float16 products are not accelerated."""
    if not amp:
        return tf.float32
    return tf.float16 if tf.config.list_physical_devices("GPU") else tf.bfloat16


class LossScale(tf.Module):
    """Dynamic loss scaling (Micikevicius et al. 2018, section 3.2): halve on overflow, double after quiet steps.

    bfloat16 and float32 have range enough: their scale is 1 and never changes.
    """

    GROWTH_STEPS = 2000

    def __init__(self, dtype: tf.DType) -> None:
        super().__init__("loss_scale")
        self.dynamic = dtype == tf.float16
        self.scale = tf.Variable(2.0**15 if self.dynamic else 1.0, trainable=False, name="scale")
        self.quiet_steps = tf.Variable(0, dtype=tf.int64, trainable=False, name="quiet_steps")

    def unscale(self, gradients: Sequence[Gradient]) -> list[Gradient]:
        if not self.dynamic:
            return list(gradients)
        return [_scaled(g, 1.0 / self.scale) for g in gradients]

    def update(self, gradients: Sequence[Gradient]) -> tf.Tensor:
        """Adapts the scale. Returns a bool scalar: whether all gradients are finite, so the step may be applied."""
        if not self.dynamic:
            return tf.constant(True)
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(_values(g))) for g in gradients])
        grow = self.quiet_steps + 1 >= self.GROWTH_STEPS
        if finite:
            self.scale.assign(tf.where(grow, self.scale * 2.0, self.scale))
            self.quiet_steps.assign(tf.where(grow, tf.zeros_like(self.quiet_steps), self.quiet_steps + 1))
        else:
            self.scale.assign(tf.maximum(self.scale / 2.0, 1.0))
            self.quiet_steps.assign(0)
        return finite


def _values(gradient: Gradient) -> tf.Tensor:
    return gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient


def _scaled(gradient: Gradient, factor: tf.Tensor) -> Gradient:
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(gradient.values * factor, gradient.indices, gradient.dense_shape)
    return gradient * factor
