"""FeatureSpec -> input signatures. Pointwise now; the rank signature goes here.

Served features come by name and in the specification's dtype: scalars as [None, 1], histories as [None, T]
(Triton's `dims` may not be empty, so a scalar is a row of one). Labels and negative histories are never served.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from training.feature_spec import Feature
from training.layers.embedding import unknown_to_padding
from training.models.base import CtrModel

OUTPUTS = ("probability", "logit")
SIGNATURE = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY


def row_shape(feature: Feature) -> tuple[int, ...]:
    """Shape of one row's value on the wire."""
    return feature.dimensions or (1,)


class ServedModel(tf.Module):
    """A model behind its served signature: {feature name: [B, …]} -> {"probability": [B, 1], "logit": [B, 1]}, float32.

    Ids outside 1..cardinality are scored as the padding row instead of failing the batch.
    """

    def __init__(self, model: CtrModel, xla: bool) -> None:
        super().__init__("served")
        self.model = model
        self.serve = tf.function(self.score, jit_compile=xla)
        self.signature = self.serve.get_concrete_function(**signature_of(model.served))

    def score(self, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        features = {f.name: _as_model_input(inputs[f.name], f) for f in self.model.served}
        logit = self.model.call(features, training=False)[:, tf.newaxis]
        return {"probability": tf.sigmoid(logit, name="probability"), "logit": logit}


def signature_of(features: Sequence[Feature]) -> dict[str, tf.TensorSpec]:
    return {f.name: tf.TensorSpec([None, *row_shape(f)], tf.dtypes.as_dtype(f.dtype), name=f.name) for f in features}


def _as_model_input(value: tf.Tensor, feature: Feature) -> tf.Tensor:
    if not feature.is_sequence:
        value = tf.squeeze(value, axis=1)
    if feature.cardinality is None:
        return tf.cast(value, tf.float32)
    return unknown_to_padding(value, feature.cardinality)
