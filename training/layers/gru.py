"""Recurrent layers over a short, left-padded history: GRU, and the AUGRU of DIEN."""

from __future__ import annotations

import tensorflow as tf

from training.layers.dense import glorot_uniform


class GruCell(tf.Module):
    """h' = (1 − u)∘h + u∘c, with u, r = σ(x·W + h·U + b) and c = tanh(x·W_c + r∘(h·U_c) + b_c).

    Cho et al. 2014 in the form of DIEN (Zhou et al. 2019) eq. (1)–(4). With an attention score a in [0, 1]
    the update gate is scaled first, u ← a·u: that is AUGRU, eq. (7)–(8) there. (The reference computes
    (1 − a)·u and swaps the gate's sides, which inverts the paper.)
    """

    def __init__(self, inputs: int, units: int, name: str) -> None:
        super().__init__(name)
        self.units = units
        self.kernel = tf.Variable(glorot_uniform((inputs, 3 * units)), name="kernel")
        self.recurrent = tf.Variable(glorot_uniform((units, 3 * units)), name="recurrent")
        self.bias = tf.Variable(tf.zeros([3 * units]), name="bias")

    def project(self, x: tf.Tensor) -> tf.Tensor:
        """The inputs' share of all gates, for all steps in one product. [B, S, in] -> [B, S, 3·units]."""
        return tf.tensordot(x, tf.cast(self.kernel, x.dtype), 1) + tf.cast(self.bias, x.dtype)

    def step(self, projected: tf.Tensor, state: tf.Tensor, attention: tf.Tensor | None = None) -> tf.Tensor:
        """projected [B, 3·units], state [B, units], attention [B, 1] or None -> next state [B, units]."""
        sizes = [2 * self.units, self.units]
        x_gates, x_candidate = tf.split(projected, sizes, axis=1)
        h_gates, h_candidate = tf.split(tf.matmul(state, tf.cast(self.recurrent, state.dtype)), sizes, axis=1)
        update, reset = tf.split(tf.sigmoid(x_gates + h_gates), 2, axis=1)
        candidate = tf.tanh(x_candidate + reset * h_candidate)
        if attention is not None:
            update = attention * update
        return state + update * (candidate - state)


class Gru(tf.Module):
    """x [B, S, in], mask [B, S], attention [B, S] or None -> the S states, each [B, units].

    Padded steps leave the state as it is (the reference lets padding run through both RNNs). S is static
    and small, so the loop is unrolled: XLA and TensorFlow's executor see plain products.
    """

    def __init__(self, inputs: int, units: int, name: str) -> None:
        super().__init__(name)
        self.cell = GruCell(inputs, units, "cell")

    def __call__(self, x: tf.Tensor, mask: tf.Tensor, attention: tf.Tensor | None = None) -> list[tf.Tensor]:
        projected = tf.unstack(self.cell.project(x), axis=1)
        real = tf.cast(mask, x.dtype)[..., tf.newaxis]
        update_scale = real if attention is None else real * attention[..., tf.newaxis]
        state = tf.zeros([tf.shape(x)[0], self.cell.units], x.dtype)
        states = []
        for inputs, scale in zip(projected, tf.unstack(update_scale, axis=1), strict=True):
            state = self.cell.step(inputs, state, scale)
            states.append(state)
        return states
