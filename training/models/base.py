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
    trained: all features that `loss_terms` needs, label excepted.
    label: the name of the label feature.
    dtype: what it computes in; variables are float32.
    Scalar features are [B], histories [B, T]; ids are int32.
    """

    dtype: tf.DType
    served: tuple[Feature, ...]
    trained: tuple[Feature, ...]
    label: str

    @abstractmethod
    def call(self, features: Features, training: bool) -> tf.Tensor:
        """Logits [B], float32. All that is exported."""

    def after_step(self) -> None:
        """Called in the graph after each update of the weights, for what must hold of them; nothing by default."""
        return

    @abstractmethod
    def loss_terms(self, features: Features, label: tf.Tensor) -> Loss:
        """The training pass. label: [B] float32 of 0 and 1."""
