"""What the loop and the exporter may know of a model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow as tf

from training.feature_spec import Feature

Features = Mapping[str, tf.Tensor]


@dataclass(frozen=True)
class Loss:
    """terms: named scalars for the log. total: the scalar to minimise. logits: [B], the scores of this pass."""

    terms: dict[str, tf.Tensor]
    total: tf.Tensor
    logits: tf.Tensor


class CtrModel(tf.Module):
    """A click-through-rate model: ids in, one logit per row out.

    served: the features that scoring needs, in the order of the signature.
    candidates: those of them that describe the item to be scored; the others belong to the user.
    trained: all features that `loss_terms` needs, label excepted.
    label: the name of the label feature.
    user: the name of the feature whose rows belong together in per-user metrics; None if there is none.
    dtype: what it computes in; variables are float32.
    Scalar features are [B], histories [B, T]; ids are int32, numbers float32.
    """

    dtype: tf.DType
    served: tuple[Feature, ...]
    candidates: tuple[Feature, ...]
    trained: tuple[Feature, ...]
    label: str
    user: str | None

    @abstractmethod
    def call(self, features: Features, training: bool) -> tf.Tensor:
        """Logits [B], float32. All that is exported.

        Candidates for each user: with candidate features [U, N] and those of the users [U, …] the logits are [U, N],
        what [B] = U·N rows would give; what belongs to the user is computed once. Not with training. Histories
        [U, t] of any number of steps t are then those of T steps whose oldest T − t are padding; of more steps than T
        the newest count.
        """

    @abstractmethod
    def multiply_adds(self, training: bool) -> int:
        """Of one row's forward pass, in matrix products and attention; training: with what only the losses need.

        The plain count: what rows with the same history share is counted for each of them.
        """

    @abstractmethod
    def user_multiply_adds(self) -> int:
        """Of the scoring pass's, those that all candidates of a user share."""

    @abstractmethod
    def loss_terms(self, features: Features, label: tf.Tensor) -> Loss:
        """The training pass. label: [B] float32 of 0 and 1. With dropout it runs within `dropout_seeds`."""
