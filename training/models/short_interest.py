"""The part that DIEN is and SIM contains: interest evolution over the short history, with its auxiliary loss."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from training.errors import SettingsError
from training.layers.auxiliary import AuxiliaryNetwork
from training.layers.interest_evolution import InterestEvolution
from training.layers.runs import RowSharing
from training.models.base import Features
from training.models.behaviour_model import BehaviourModel

UNITS_PER_DIM = 6  # the RNNs' width in units of the embedding width, as in the reference
SHORT_STEPS_FOR_AUXILIARY = 2  # the auxiliary loss needs a next step


class ShortInterest(NamedTuple):
    """interest [B, H]. states [U, S, H] of the U different histories, which the auxiliary loss needs."""

    interest: tf.Tensor
    states: tf.Tensor
    runs: RowSharing


class ShortHistoryModel(BehaviourModel):
    """A model whose short history, the steps from long_seq_length on, goes through DIEN's interest evolution."""

    def build_short(self) -> None:
        """The variables of the short part."""
        s = self.settings
        if self.steps - s.long_seq_length < SHORT_STEPS_FOR_AUXILIARY:
            raise SettingsError(
                f"long_seq_length: got {s.long_seq_length} of a history of {self.steps} steps; expected at most "
                f"{self.steps - SHORT_STEPS_FOR_AUXILIARY}, so that a short part is left. Lower long_seq_length."
            )
        self.units = UNITS_PER_DIM * s.embedding_dim
        self.evolution = InterestEvolution(
            self.item_dim, self.units, s.activation_unit_dims, s.augru, s.masked_rnn, self.has_kernels, "evolution"
        )
        self.auxiliary = AuxiliaryNetwork(self.units, self.item_dim, s.aux_mlp_dims, self.has_kernels, "auxiliary")

    def short_interest(self, features: Features, target: tf.Tensor) -> ShortInterest:
        short = slice(self.settings.long_seq_length, None)
        runs, mask = self.runs(features, short), self.real_steps(features, short)
        items = self.positive_items(features, short, runs)
        states = self.evolution.extract(items, self.real_steps_of_runs(features, short, runs))
        return ShortInterest(self.evolution.evolve(states, mask, target, runs), states, runs)

    def short_multiply_adds(self, training: bool) -> int:
        """Of one row; see CtrModel.multiply_adds."""
        per_step = self.evolution.multiply_adds + (self.auxiliary.multiply_adds if training else 0)
        return (self.steps - self.settings.long_seq_length) * int(per_step)

    def short_user_multiply_adds(self) -> int:
        """See CtrModel.user_multiply_adds."""
        return (self.steps - self.settings.long_seq_length) * int(self.evolution.user_multiply_adds)

    def auxiliary_loss(self, features: Features, short: ShortInterest) -> tf.Tensor:
        """Float32 scalar, not yet weighted."""
        steps = slice(self.settings.long_seq_length, None)
        positive, negative, real = self.next_items(features, steps, short.runs)
        return self.auxiliary.loss(short.states, positive, negative, real, short.runs.lengths)
