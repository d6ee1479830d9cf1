"""DIEN, Deep Interest Evolution Network (Zhou et al. 2019, arXiv 1809.03672), over the short part of the history."""

from __future__ import annotations

import tensorflow as tf

from training.feature_spec import FeatureSpec
from training.layers.mlp import ClassifierMlp
from training.models.base import Features, Loss
from training.models.behaviour_model import binary_cross_entropy
from training.models.short_interest import ShortHistoryModel, ShortInterest
from training.settings import ModelSettings


class Model(ShortHistoryModel):
    """target ‖ interest ‖ user -> stage_two_mlp_dims -> 1; the auxiliary loss trains the interest extraction."""

    def __init__(self, spec: FeatureSpec, settings: ModelSettings, compute_dtype: tf.DType, native: bool) -> None:
        super().__init__(spec, settings, compute_dtype, native, needs_negatives=True)
        self.build_short()
        width = self.item_dim + self.units + self.user_dim
        self.classifier = ClassifierMlp(
            width, settings.stage_two_mlp_dims, settings.dropout_rate, self.has_kernels, "classifier"
        )

    def call(self, features: Features, training: bool) -> tf.Tensor:
        return self.as_asked(self._forward(features, training)[0], features)

    def multiply_adds(self, training: bool) -> int:
        return self.short_multiply_adds(training) + int(self.classifier.multiply_adds)

    def user_multiply_adds(self) -> int:
        return self.short_user_multiply_adds()

    def loss_terms(self, features: Features, label: tf.Tensor) -> Loss:
        """total = BCE + aux_loss_weight · auxiliary, eq. (6) of the paper."""
        logits, short = self._forward(features, training=True)
        classification = binary_cross_entropy(label, logits)
        auxiliary = self.settings.aux_loss_weight * self.auxiliary_loss(features, short)
        total = classification + auxiliary
        terms = {"classification_loss": classification, "dien_aux_loss": auxiliary, "total_loss": total}
        return Loss(terms, total, logits)

    def _forward(self, features: Features, training: bool) -> tuple[tf.Tensor, ShortInterest]:
        target = self.target_items(features)
        short = self.short_interest(features, target)
        joined = tf.concat([target, short.interest, self.users(features)], axis=1)
        return self.classifier(joined, training), short
