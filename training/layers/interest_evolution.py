"""Interest extraction and evolution of DIEN (Zhou et al. 2019, sections 4.2 and 4.3) over the short history."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from training.layers.activation_unit import ActivationUnit
from training.layers.dense import Dense, PReLU
from training.layers.gru import Gru
from training.layers.history import masked_softmax
from training.layers.runs import RowSharing, every_row


class InterestEvolution(tf.Module):
    """GRU over the items, attention of the target on its states, AUGRU steered by the attention. H units.

    The target is mapped to H by Dense + PReLU before it meets the states. masked: padded steps leave both RNNs'
    states as they are; the reference lets padding run through them. form: of the AUGRU.
    """

    def __init__(
        self, item_dim: int, units: int, unit_dims: Sequence[int], form: str, masked: bool, native: bool, name: str
    ) -> None:
        super().__init__(name)
        self.masked, self.native = masked, native
        self.extractor = Gru(item_dim, units, "extractor", native=native)
        self.target_dense = Dense(item_dim, units, "target_dense", native)
        self.target_prelu = PReLU(units, "target_prelu", native)
        self.activation_unit = ActivationUnit(units, unit_dims, native, "activation_unit")
        self.evolver = Gru(units, units, "evolver", form, native)
        steps = (self.extractor.cell, self.activation_unit, self.evolver.cell)
        self.multiply_adds = sum(layer.multiply_adds for layer in steps)  # a step
        projection = 3 * units * units  # of the states, for the AUGRU
        self.user_multiply_adds = (
            self.extractor.cell.multiply_adds + projection + self.activation_unit.user_multiply_adds
        )  # of them, what does not depend on the target

    def extract(self, items: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Item vectors [U, S, D], mask [U, S] of U different histories -> GRU states [U, S, H]."""
        if not self.masked:  # then padding runs through the RNN, as zeros
            items *= tf.cast(mask, items.dtype)[..., tf.newaxis]
        projected = self.extractor.cell.project(items)
        return self.extractor(projected, every_row(tf.shape(items)[0]), self._steps(mask))

    def evolve(self, states: tf.Tensor, mask: tf.Tensor, target: tf.Tensor, runs: RowSharing) -> tf.Tensor:
        """states [U, S, H], mask [B, S], target [B, D] -> the last AUGRU state, the interest [B, H]."""
        query = self.target_prelu(self.target_dense(target))
        attention = masked_softmax(self.activation_unit(states, query, runs, mask), mask, self.native)
        projected = self.evolver.cell.project(states)
        return self.evolver(projected, runs, self._steps(mask), tf.cast(attention, states.dtype), last_only=True)

    def _steps(self, mask: tf.Tensor) -> tf.Tensor:
        return mask if self.masked else tf.ones_like(mask)
