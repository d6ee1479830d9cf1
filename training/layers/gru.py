"""Recurrent layers over a short, left-padded history: GRU, and the AUGRU of DIEN."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from training.layers.dense import affine, glorot_uniform
from training.layers.runs import Candidates, RowSharing
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
        products: Sequence[tf.Tensor],
        state: tf.Tensor,
        runs: RowSharing,
        real: tf.Tensor,
        attention: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """projected: three of [U, units], products: of the state, h·U, three of [B, units], for u, r and c, so that
        nothing is split for each row. state [B, units], real and attention [B, 1] -> next state [B, units].

        The state is float32, whatever type the products are computed in: a CPU without operations of two bytes is
        slower in these. Where real is 0 it stays as it is.
        """
        h_update, h_reset, h_candidate = products
        update = _wide(tf.sigmoid(runs.add(h_update, projected[0])))
        reset = _wide(tf.sigmoid(runs.add(h_reset, projected[1])))
        candidate = tf.tanh(runs.add(reset * _wide(h_candidate), _wide(projected[2])))
        return state + self._share(update, real, attention) * (candidate - state)

    def first_step(
        self, projected: Sequence[tf.Tensor], runs: RowSharing, real: tf.Tensor, attention: tf.Tensor | None = None
    ) -> tf.Tensor:
        """`step` from a state of zeros, which has no part in the gates: they are the same for all rows of a run."""
        update, candidate = _wide(tf.sigmoid(projected[0])), tf.tanh(_wide(projected[2]))
        return self._share(runs.to_rows(update), real, attention) * runs.to_rows(candidate)

    def first_step_of_candidates(
        self, projected: Sequence[tf.Tensor], recurrent: Sequence[tf.Tensor], runs: Candidates, scale: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """`first_step` in the form "paper", scale [B, 1] being real·attention, and its state's products with recurrent.

        The candidates of a user have the state s·v with the user's v = u∘c, so h·U = s·(v·U) needs no product a row.
        """
        vector = _wide(tf.sigmoid(projected[0])) * tf.tanh(_wide(projected[2]))
        products = _products(vector, recurrent)
        scales = tf.cast(scale, products[0].dtype)
        return runs.product(scale, vector[:, tf.newaxis]), [runs.product(scales, p[:, tf.newaxis]) for p in products]

    def _share(self, update: tf.Tensor, real: tf.Tensor, attention: tf.Tensor | None) -> tf.Tensor:
        """Of the candidate in the next state. update [B, units], real and attention [B, 1] -> [B, units]."""
        if attention is None:
            return real * update
        if self.form == "paper":
            return (real * attention) * update
        return real * (1.0 - (1.0 - attention) * update)


def _wide(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(x, tf.float32)


def _products(state: tf.Tensor, recurrent: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """h·U of each gate, in the type of its U."""
    narrow = tf.cast(state, recurrent[0].dtype)
    return [tf.matmul(narrow, kernel) for kernel in recurrent]


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
        if self.native:
            real = tf.cast(mask, projected.dtype)
            scale = real if attention is None else real * attention
            return gru_states(projected, runs.run_of_row, self.cell.recurrent, scale, last_only)
        states = self._unrolled(projected, runs, _wide(mask), None if attention is None else _wide(attention))
        return tf.cast(states[-1] if last_only else tf.stack(states, axis=1), projected.dtype)

    def _unrolled(
        self, projected: tf.Tensor, runs: RowSharing, real: tf.Tensor, attention: tf.Tensor | None
    ) -> list[tf.Tensor]:
        """The state after each step, float32 [B, units]."""
        steps = int(real.shape[1])
        recurrent = tf.split(tf.cast(self.cell.recurrent, projected.dtype), 3, axis=1)
        inputs = [tf.unstack(part, steps, axis=1) for part in tf.split(projected, 3, axis=2)]
        real_steps = tf.split(real, steps, axis=1)
        weights = [None] * steps if attention is None else tf.split(attention, steps, axis=1)
        first = [part[0] for part in inputs]
        products: list[tf.Tensor] | None = None
        if attention is not None and self.cell.form == "paper" and isinstance(runs, Candidates) and not runs.are_single:
            scale = real_steps[0] * weights[0]
            state, products = self.cell.first_step_of_candidates(first, recurrent, runs, scale)
        else:
            state = self.cell.first_step(first, runs, real_steps[0], weights[0])
        states = [state]
        for step in range(1, steps):
            if products is None:
                products = _products(state, recurrent)
            of_step = [part[step] for part in inputs]
            state = self.cell.step(of_step, products, state, runs, real_steps[step], weights[step])
            states.append(state)
            products = None
        return states
