"""The activation unit of DIN (Zhou et al. 2018, section 4.3, figure 2)."""

from __future__ import annotations

import tensorflow as tf

from training.layers.dense import Dense, glorot_uniform

HIDDEN = (80, 40)


class ActivationUnit(tf.Module):
    """a_t = MLP([i, t, i − t, i∘t]) with 80 and 40 sigmoid units: items [B, T, D], target [B, D] -> scores [B, T].

    [i, t, i−t, i∘t]·W = i·(W₁+W₃) + t·(W₂−W₃) + (i∘t)·W₄, so the target's share is computed once per row
    and the rest is two products of width D per step instead of one of width 4D. Unlike the paper, no outer
    product, and sigmoids instead of PReLU, as in the reference.
    """

    def __init__(self, dim: int, name: str) -> None:
        super().__init__(name)
        self.kernel = tf.Variable(glorot_uniform((4 * dim, HIDDEN[0])), name="kernel")
        self.bias = tf.Variable(tf.zeros([HIDDEN[0]]), name="bias")
        self.hidden = Dense(HIDDEN[0], HIDDEN[1], "hidden")
        self.head = Dense(HIDDEN[1], 1, "head")

    def __call__(self, items: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        w_item, w_target, w_difference, w_product = tf.split(tf.cast(self.kernel, items.dtype), 4, axis=0)
        per_row = tf.matmul(target, w_target - w_difference) + tf.cast(self.bias, items.dtype)
        per_step = tf.concat([items, items * target[:, tf.newaxis]], axis=-1)
        x = tf.tensordot(per_step, tf.concat([w_item + w_difference, w_product], axis=0), 1)
        x = tf.sigmoid(x + per_row[:, tf.newaxis])
        x = tf.sigmoid(self.hidden(x))
        return tf.squeeze(self.head(x), axis=-1)
