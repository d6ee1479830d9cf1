"""FeatureSpec -> input signatures.

Served features come by name and in the specification's dtype. Pointwise: scalars as [None, 1], histories as [None, T]
(Triton's `dims` may not be empty, so a scalar is a row of one). Rank: a row is a user; candidate features are
[None, None], one value for each candidate, and histories [None, None], as many steps as are sent. Labels and negative
histories are never served.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from export.constants import small_weights_as_constants
from training.feature_spec import Feature
from training.layers.embedding import unknown_to_padding
from training.models.base import CtrModel

OUTPUTS = ("probability", "logit")
SIGNATURE = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
RANK = "rank"


def row_shape(feature: Feature) -> tuple[int, ...]:
    """Shape of one row's value on the wire."""
    return feature.dimensions or (1,)


def rank_row_shape(feature: Feature, candidates: Sequence[Feature]) -> tuple[int, ...]:
    """Shape of one user's value on the wire; -1 is open."""
    return (-1,) if feature in candidates or feature.dimensions else (1,)


class ServedModel(tf.Module):
    """A model behind its served signatures.

    score: {feature name: [B, …]} -> {"probability": [B, 1], "logit": [B, 1]}, float32.
    rank: {feature name: [U, …], candidates [U, N]} -> the same outputs [U, N]; see CtrModel.call.
    traced: {signature: its function}, with the model's small weights of now as constants. Ids outside 1..cardinality
    are scored as the padding row instead of failing the batch. xla: compile `score`; the shapes of `rank` are open in
    two places, and XLA would compile for each.
    """

    def __init__(self, model: CtrModel, xla: bool, with_rank: bool) -> None:
        super().__init__("served")
        self.model = model
        functions = {SIGNATURE: tf.function(self.score, jit_compile=xla)}
        shapes = {SIGNATURE: {f.name: row_shape(f) for f in model.served}}
        if with_rank:
            functions[RANK] = tf.function(self.rank)
            shapes[RANK] = {f.name: rank_row_shape(f, model.candidates) for f in model.served}
        with small_weights_as_constants(model):
            self.traced = {
                name: function.get_concrete_function(**_signature(model, shapes[name]))
                for name, function in functions.items()
            }

    def score(self, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        features = {f.name: _as_model_input(inputs[f.name], f, f.is_sequence) for f in self.model.served}
        return _outputs(self.model.call(features, training=False)[:, tf.newaxis])

    def rank(self, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        model = self.model
        is_row = {f.name: f.is_sequence or f in model.candidates for f in model.served}
        features = {f.name: _as_model_input(inputs[f.name], f, is_row[f.name]) for f in model.served}
        each = tf.shape(features[model.candidates[0].name])[1]
        return _outputs(self._each_user(features, each))

    def _each_user(self, features: dict[str, tf.Tensor], each: tf.Tensor) -> tf.Tensor:
        """Logits [U, N], user by user: of one user TensorFlow fuses products with what follows them."""

        def of_one(user: dict[str, tf.Tensor]) -> tf.Tensor:
            logits = self.model.call({n: v[tf.newaxis] for n, v in user.items()}, training=False)
            return tf.ensure_shape(tf.reshape(logits, [each]), [None])

        return tf.map_fn(of_one, features, fn_output_signature=tf.TensorSpec([None], tf.float32), parallel_iterations=1)


def _outputs(logit: tf.Tensor) -> dict[str, tf.Tensor]:
    return {"probability": tf.sigmoid(logit, name="probability"), "logit": logit}


def _signature(model: CtrModel, shapes: dict[str, tuple[int, ...]]) -> dict[str, tf.TensorSpec]:
    return {
        f.name: tf.TensorSpec(
            [None, *(None if size < 0 else size for size in shapes[f.name])], tf.dtypes.as_dtype(f.dtype), name=f.name
        )
        for f in model.served
    }


def _as_model_input(value: tf.Tensor, feature: Feature, is_row: bool) -> tf.Tensor:
    """is_row: several values for each row or user, else one: [B, 1] -> [B]."""
    if not is_row:
        value = tf.squeeze(value, axis=1)
    if feature.cardinality is None:
        return tf.cast(value, tf.float32)
    return unknown_to_padding(value, feature.cardinality)
