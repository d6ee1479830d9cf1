"""DIN, Deep Interest Network (Zhou et al. 2018, arXiv 1706.06978): the target attends to the whole history."""

from __future__ import annotations

import tensorflow as tf

from training.feature_spec import FeatureSpec
from training.layers.mlp import ClassifierMlp
from training.models.base import Features, Loss
from training.models.behaviour_model import BehaviourModel, binary_cross_entropy
from training.settings import ModelSettings

ALL = slice(None)


class Model(BehaviourModel):
    """target ‖ attention over T steps ‖ user -> stage_two_mlp_dims -> 1. Needs no negative history.

    The paper's activation unit is `--history_attention activation_unit`; inner products cost a tenth of it.
    """

    def __init__(self, spec: FeatureSpec, settings: ModelSettings, compute_dtype: tf.DType, native: bool) -> None:
        super().__init__(spec, settings, compute_dtype, native, needs_negatives=False)
        self.interest = self.attention(self.item_dim, self.steps)
        width = 2 * self.item_dim + self.user_dim
        self.classifier = ClassifierMlp(
            width, settings.stage_two_mlp_dims, settings.dropout_rate, self.has_kernels, "classifier"
        )

    def call(self, features: Features, training: bool) -> tf.Tensor:
        target, history, rows = self.target_items(features), self.history(features, ALL), self.rows(features)
        mask = self.real_steps(features, ALL)
        attended = self.interest.attend(target, history, mask, rows)
        logits = self.classifier(tf.concat([target, attended, self.users(features)], axis=1), training)
        return self.as_asked(logits, features)

    def multiply_adds(self, training: bool) -> int:
        return int(self.interest.multiply_adds + self.classifier.multiply_adds)

    def user_multiply_adds(self) -> int:
        return int(self.interest.user_multiply_adds)

    def loss_terms(self, features: Features, label: tf.Tensor) -> Loss:
        """total = BCE."""
        logits = self.call(features, training=True)
        loss = binary_cross_entropy(label, logits)
        return Loss({"classification_loss": loss, "total_loss": loss}, loss, logits)
