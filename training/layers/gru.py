"""Recurrent layers over a short, left-padded history: GRU, and the AUGRU of DIEN."""

from __future__ import annotations

import tensorflow as tf

from training.layers.dense import affine, glorot_uniform
from training.layers.runs import RowSharing
from training.native.gru import KERNEL_LANES, gru_states


class GruCell(tf.Module):
    """h' = h + s∘(c − h), with u, r = σ(x·W + h·U + b), c = tanh(x·W_c + r∘(h·U_c) + b_c) and update s.

    Cho et al. 2014 in the form of DIEN (Zhou et al. 2019) eq. (1)-(4): s = u. With an attention score a in [0, 1] it is
    AUGRU. form "paper": s = a·u, eq. (7)-(8) there. form "reference": NVIDIA's code keeps the share (1 − a)·u of h, so
    s = 1 − (1 − a)·u, and a GRU without attention keeps u, which only renames the gate.
    """

    def __init__(self, inputs: int, units: int, form: str, native: bool, name: str) -> None:
        super().__init__(name)
        self.units, self.form, self.native = units, form, native
        self.kernel = tf.Variable(glorot_uniform((inputs, 3 * units)), name="kernel")
        self.recurrent = tf.Variable(glorot_uniform((units, 3 * units)), name="recurrent")
        self.bias = tf.Variable(tf.zeros([3 * units]), name="bias")
        self.multiply_adds = 3 * units * (inputs + units)  # a step

    def project(self, x: tf.Tensor) -> tf.Tensor:
        """The inputs' share of all gates, for all steps in one product. [U, S, in] -> [U, S, 3·units]."""
        return affine(x, self.kernel, self.bias, self.native)

    def step(
        self,
        projected: tf.Tensor,
        state: tf.Tensor,
        runs: RowSharing,
        real: tf.Tensor,
        attention: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """projected [U, 3·units], state [B, units], real and attention [B, 1] -> next state [B, units].

        Where real is 0 the state stays as it is.
        """
        sizes = [2 * self.units, self.units]
        x_gates, x_candidate = tf.split(projected, sizes, axis=1)
        h_gates, h_candidate = tf.split(tf.matmul(state, tf.cast(self.recurrent, state.dtype)), sizes, axis=1)
        update, reset = tf.split(tf.sigmoid(runs.add(h_gates, x_gates)), 2, axis=1)
        candidate = tf.tanh(runs.add(reset * h_candidate, x_candidate))
        if attention is not None:
            update = attention * update if self.form == "paper" else 1.0 - (1.0 - attention) * update
        return state + real * update * (candidate - state)


class Gru(tf.Module):
    """projected inputs, mask [B, S], attention [B, S] or None -> states [B, S, units], or the last one [B, units].

    The inputs come as `cell.project` gives them, one for each run of rows with the same history. S is static and small,
    so the loop is unrolled: XLA and TensorFlow's executor see plain products. native: run the compiled CPU kernel,
    which does a block of rows through all steps while its state is in cache.
    """

    def __init__(self, inputs: int, units: int, name: str, form: str = "paper", native: bool = False) -> None:
        super().__init__(name)
        self.cell = GruCell(inputs, units, form, native, "cell")
        self.native = native and form == "paper" and units % KERNEL_LANES == 0

    def __call__(
        self,
        projected: tf.Tensor,
        runs: RowSharing,
        mask: tf.Tensor,
        attention: tf.Tensor | None = None,
        last_only: bool = False,
    ) -> tf.Tensor:
        real = tf.cast(mask, projected.dtype)
        if self.native:
            scale = real if attention is None else real * attention
            return gru_states(projected, runs.run_of_row, self.cell.recurrent, scale, last_only)
        state = tf.zeros([tf.shape(mask)[0], self.cell.units], projected.dtype)
        states = []
        for step in range(int(mask.shape[1])):
            weight = None if attention is None else attention[:, step, tf.newaxis]
            state = self.cell.step(projected[:, step], state, runs, real[:, step, tf.newaxis], weight)
            states.append(state)
        return state if last_only else tf.stack(states, axis=1)
