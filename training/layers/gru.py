"""Recurrent layers over a short, left-padded history: GRU, and the AUGRU of DIEN."""

from __future__ import annotations

from collections.abc import Sequence

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
        projected: Sequence[tf.Tensor],
        recurrent: Sequence[tf.Tensor],
        state: tf.Tensor,
        runs: RowSharing,
        real: tf.Tensor,
        attention: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """projected: three of [U, units], recurrent: three of [units, units], for u, r and c, so that nothing is split
        for each row. state [B, units], real and attention [B, 1] -> next state [B, units].

        Where real is 0 the state stays as it is.
        """
        h_update, h_reset, h_candidate = (tf.matmul(state, kernel) for kernel in recurrent)
        update = tf.sigmoid(runs.add(h_update, projected[0]))
        reset = tf.sigmoid(runs.add(h_reset, projected[1]))
        candidate = tf.tanh(runs.add(reset * h_candidate, projected[2]))
        return state + self._share(update, real, attention) * (candidate - state)

    def first_step(
        self, projected: Sequence[tf.Tensor], runs: RowSharing, real: tf.Tensor, attention: tf.Tensor | None = None
    ) -> tf.Tensor:
        """`step` from a state of zeros, which has no part in the gates: they are the same for all rows of a run."""
        update, candidate = tf.sigmoid(projected[0]), tf.tanh(projected[2])
        return self._share(runs.to_rows(update), real, attention) * runs.to_rows(candidate)

    def _share(self, update: tf.Tensor, real: tf.Tensor, attention: tf.Tensor | None) -> tf.Tensor:
        """Of the candidate in the next state. update [B, units], real and attention [B, 1] -> [B, units]."""
        if attention is None:
            return real * update
        if self.form == "paper":
            return (real * attention) * update
        return real * (1.0 - (1.0 - attention) * update)


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
        steps = int(mask.shape[1])
        recurrent = tf.split(tf.cast(self.cell.recurrent, projected.dtype), 3, axis=1)
        inputs = [tf.unstack(part, steps, axis=1) for part in tf.split(projected, 3, axis=2)]
        real_steps = tf.split(real, steps, axis=1)
        weights = [None] * steps if attention is None else tf.split(attention, steps, axis=1)
        state = self.cell.first_step([part[0] for part in inputs], runs, real_steps[0], weights[0])
        states = [state]
        for step in range(1, steps):
            of_step = [part[step] for part in inputs]
            state = self.cell.step(of_step, recurrent, state, runs, real_steps[step], weights[step])
            states.append(state)
        return state if last_only else tf.stack(states, axis=1)
