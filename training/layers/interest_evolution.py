"""Interest extraction and evolution of DIEN (Zhou et al. 2019, sections 4.2 and 4.3) over the short history."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from training.layers.activation_unit import ActivationUnit
from training.layers.attention import masked_softmax
from training.layers.dense import Dense, PReLU
from training.layers.gru import Gru


class Evolution(NamedTuple):
    """interest: last AUGRU state [B, H]. states: GRU states [B, S, H], the auxiliary loss's input."""

    interest: tf.Tensor
    states: tf.Tensor


class InterestEvolution(tf.Module):
    """GRU over the items, attention of the target on its states, AUGRU steered by the attention.

    items [B, S, D], target [B, D], mask [B, S] -> Evolution with H units. The target is mapped to H
    by Dense + PReLU before it meets the states.
    """

    def __init__(self, item_dim: int, units: int, name: str) -> None:
        super().__init__(name)
        self.extractor = Gru(item_dim, units, "extractor")
        self.target_dense = Dense(item_dim, units, "target_dense")
        self.target_prelu = PReLU(units, "target_prelu")
        self.activation_unit = ActivationUnit(units, "activation_unit")
        self.evolver = Gru(units, units, "evolver")

    def __call__(self, items: tf.Tensor, target: tf.Tensor, mask: tf.Tensor) -> Evolution:
        states = tf.stack(self.extractor(items, mask), axis=1)
        query = self.target_prelu(self.target_dense(target))
        attention = masked_softmax(self.activation_unit(states, query), mask)
        evolved = self.evolver(states, mask, tf.cast(attention, states.dtype))
        return Evolution(evolved[-1], states)
