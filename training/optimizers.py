"""Optimizers over plain variables and dense gradients, on TensorFlow's fused kernels. lazy_adam and sgd go here."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


class Adam(tf.Module):
    """Adam, Kingma & Ba 2015, algorithm 1 (with ε̂ as in its section 2): one fused update per variable."""

    def __init__(
        self,
        variables: Sequence[tf.Variable],
        learning_rate: float,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
    ) -> None:
        super().__init__("adam")
        self.learning_rate, self.beta_1, self.beta_2, self.epsilon = learning_rate, beta_1, beta_2, epsilon
        self.steps = tf.Variable(0, dtype=tf.int64, trainable=False, name="steps")
        self.first = [tf.Variable(tf.zeros_like(v), trainable=False, name="m") for v in variables]
        self.second = [tf.Variable(tf.zeros_like(v), trainable=False, name="v") for v in variables]

    def apply(self, variables: Sequence[tf.Variable], gradients: Sequence[tf.Tensor]) -> None:
        """One step. variables: those of the constructor, in the same order. gradients: same shapes, float32."""
        step = tf.cast(self.steps.assign_add(1), tf.float32)
        for variable, gradient, first, second in zip(variables, gradients, self.first, self.second, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=first.handle,
                v=second.handle,
                beta1_power=tf.pow(self.beta_1, step),
                beta2_power=tf.pow(self.beta_2, step),
                lr=self.learning_rate,
                beta1=self.beta_1,
                beta2=self.beta_2,
                epsilon=self.epsilon,
                grad=gradient,
                use_locking=True,
            )
