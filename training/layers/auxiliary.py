"""DIEN's auxiliary loss (Zhou et al. 2019, section 4.2, eq. (6)): each state should foretell the next behaviour."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import tensorflow as tf

from training.layers.dense import Dense, PReLU, affine, glorot_uniform
from training.native.auxiliary import auxiliary_loss, fits_auxiliary_loss


class AuxiliaryNetwork(tf.Module):
    """Logit that item e_{t+1} follows state h_t: MLP(h ‖ e), as in the authors' code (the paper takes a dot product).

    The product h·W of the first layer is the same for the positive and the negative item and is computed once.
    """

    def __init__(self, state_dim: int, item_dim: int, hidden: Sequence[int], native: bool, name: str) -> None:
        super().__init__(name)
        self.native = native and fits_auxiliary_loss(state_dim, item_dim, hidden)
        self.state_kernel = tf.Variable(glorot_uniform((state_dim, hidden[0])), name="state_kernel")
        self.item_kernel = tf.Variable(glorot_uniform((item_dim, hidden[0])), name="item_kernel")
        self.bias = tf.Variable(tf.zeros([hidden[0]]), name="bias")
        self.hidden = [Dense(a, b, f"dense_{i}") for i, (a, b) in enumerate(pairwise(hidden))]
        self.activations = [PReLU(width, f"prelu_{i}") for i, width in enumerate(hidden)]
        self.head = Dense(hidden[-1], 1, "head")
        per_item = item_dim * hidden[0] + sum(d.multiply_adds for d in (*self.hidden, self.head))
        self.multiply_adds = state_dim * hidden[0] + 2 * per_item  # a step

    def loss(
        self, states: tf.Tensor, positive: tf.Tensor, negative: tf.Tensor, mask: tf.Tensor, rows: tf.Tensor
    ) -> tf.Tensor:
        """Mean binary cross-entropy over the real steps, positive and negative together; float32 scalar.

        states: h_1..h_S [U, S, H]. positive, negative: the item of the step after each [U, S, D].
        mask: [U, S] bool, true where the step after is real, so never at the last. rows: [U], in how many rows each
        history stands; the mean is over rows. Computed on logits, so no score gives NaN.
        """
        weights = tf.cast(mask, tf.float32) * tf.cast(rows, tf.float32)[:, tf.newaxis]
        weights /= tf.maximum(tf.reduce_sum(weights), 1.0)
        if self.native:
            return auxiliary_loss(states, positive, negative, self._weights(), weights)
        from_state = affine(states, self.state_kernel, self.bias)
        losses = tf.nn.softplus(-self._logits(from_state, positive)) + tf.nn.softplus(
            self._logits(from_state, negative)
        )
        return tf.reduce_sum(losses * weights)

    def _weights(self) -> list[tf.Tensor]:
        """In the order of the kernel."""
        first, second, hidden, head = *self.activations, self.hidden[0], self.head
        variables = (
            self.state_kernel, self.item_kernel, self.bias, first.alpha, hidden.kernel, hidden.bias, second.alpha,
            head.kernel, head.bias,
        )  # fmt: skip
        values = [tf.convert_to_tensor(v) for v in variables]
        values[-2] = tf.squeeze(values[-2], axis=1)
        return values

    def _logits(self, from_state: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        x = from_state + affine(items, self.item_kernel)
        x = self.activations[0](x)
        for dense, activation in zip(self.hidden, self.activations[1:], strict=True):
            x = activation(dense(x))
        return tf.squeeze(self.head(tf.cast(x, tf.float32)), axis=-1)
