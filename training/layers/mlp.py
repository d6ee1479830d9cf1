"""The classifier that ends each stage."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import tensorflow as tf

from training.layers.dense import Dense, PReLU
from training.layers.dropout import dropout


class ClassifierMlp(tf.Module):
    """[Dense, PReLU] per hidden width, dropout after the last, Dense(1) in float32. [B, in] -> logit [B].

    dropout_rate: share of hidden units dropped in training, which then runs within `dropout_seeds`; 0 or less disables
    it. native: compiled kernels.
    """

    def __init__(self, inputs: int, hidden: Sequence[int], dropout_rate: float, native: bool, name: str) -> None:
        super().__init__(name)
        self.hidden = [Dense(a, b, f"dense_{i}", native) for i, (a, b) in enumerate(pairwise([inputs, *hidden]))]
        self.activations = [PReLU(width, f"prelu_{i}", native) for i, width in enumerate(hidden)]
        self.head = Dense(hidden[-1], 1, "head")
        self.dropout_rate = dropout_rate
        self.multiply_adds = sum(d.multiply_adds for d in (*self.hidden, self.head))

    def __call__(self, x: tf.Tensor, training: bool) -> tf.Tensor:
        for dense, activation in zip(self.hidden, self.activations, strict=True):
            x = activation(dense(x))
        if training and self.dropout_rate > 0:
            x = dropout(x, self.dropout_rate)
        return tf.squeeze(self.head(tf.cast(x, tf.float32)), axis=-1)
