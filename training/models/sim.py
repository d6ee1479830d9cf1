"""SIM, Search-based Interest Model (Pi et al. 2020, arXiv 2006.05639), in the form of NVIDIA's reference.

Stage one (GSU) attends to the long part of the history and is trained by its own classifier. Its scores
select K items; stage two (ESU) attends to those and runs DIEN over the short part. Only stage two scores.
Against the paper: soft search only, no multi-head attention, no time intervals, no W_a and W_b.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from training.errors import SettingsError
from training.feature_spec import Feature, FeatureSpec, FeatureSpecError
from training.layers.attention import attend, dot_scores, masked_mean
from training.layers.auxiliary import AuxiliaryNetwork
from training.layers.embedding import EmbeddingTable
from training.layers.interest_evolution import InterestEvolution
from training.layers.mlp import ClassifierMlp
from training.layers.selection import select_top_k
from training.models.base import CtrModel, Features, Loss
from training.models.sim_channels import sim_channel_problems
from training.settings import ModelSettings

UNITS_PER_DIM = 6  # the RNNs' width in units of the embedding width, as in the reference
SHORT_STEPS_FOR_AUXILIARY = 2  # the auxiliary loss needs a next step


class _Forward(NamedTuple):
    stage_one_logit: tf.Tensor  # [B]
    stage_two_logit: tf.Tensor  # [B]
    states: tf.Tensor  # [B, S, H]
    short_items: tf.Tensor  # [B, S, D]


class Model(CtrModel):
    """Channels: label, user_features, target_item_features, positive_history (served), negative_history (training).

    The i-th features of target_item_features, positive_history and negative_history share table i.
    """

    def __init__(self, spec: FeatureSpec, settings: ModelSettings, compute_dtype: tf.DType) -> None:
        super().__init__("sim")
        self._bind_features(spec)
        self.dtype = compute_dtype
        self.k = settings.k
        self.long_steps = settings.long_seq_length
        short_steps = self._positive[0].dimensions[0] - self.long_steps
        if short_steps < SHORT_STEPS_FOR_AUXILIARY:
            raise SettingsError(
                f"long_seq_length: got {self.long_steps} of a history of {self._positive[0].dimensions[0]} steps; "
                f"expected at most {self._positive[0].dimensions[0] - SHORT_STEPS_FOR_AUXILIARY}, "
                "so that a short part is left. Lower long_seq_length."
            )
        dim = settings.embedding_dim
        item_dim, user_dim, units = dim * len(self._target), dim * len(self._user), UNITS_PER_DIM * dim
        self.user_tables = [_table(f, dim, f"user_table_{i}") for i, f in enumerate(self._user)]
        self.item_tables = [_table(f, dim, f"item_table_{i}") for i, f in enumerate(self._target)]
        rate = settings.dropout_rate
        self.stage_one = ClassifierMlp(2 * item_dim + user_dim, settings.stage_one_mlp_dims, rate, "stage_one")
        self.evolution = InterestEvolution(item_dim, units, "evolution")
        self.auxiliary = AuxiliaryNetwork(units, item_dim, settings.aux_mlp_dims, "auxiliary")
        self.stage_two = ClassifierMlp(3 * item_dim + units + user_dim, settings.stage_two_mlp_dims, rate, "stage_two")

    def call(self, features: Features, training: bool) -> tf.Tensor:
        return self._forward(features, training).stage_two_logit

    def loss_terms(self, features: Features, label: tf.Tensor) -> Loss:
        """total = ½·(BCE_stage_one + BCE_stage_two) + auxiliary."""
        out = self._forward(features, training=True)
        after_first = slice(self.long_steps + 1, None)
        auxiliary = self.auxiliary.loss(
            out.states[:, :-1],
            out.short_items[:, 1:],
            self._items(self._negative, features, after_first),
            tf.minimum(features[self._positive[0].name], features[self._negative[0].name])[:, after_first] > 0,
        )
        stage_one = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(label, out.stage_one_logit))
        stage_two = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(label, out.stage_two_logit))
        classification = 0.5 * (stage_one + stage_two)
        total = classification + auxiliary
        terms = {"classification_loss": classification, "dien_aux_loss": auxiliary, "total_loss": total}
        return Loss(terms, total, out.stage_two_logit)

    def after_step(self) -> None:
        for table in (*self.user_tables, *self.item_tables):
            table.reset_padding()

    def _forward(self, features: Features, training: bool) -> _Forward:
        long, short = slice(self.long_steps), slice(self.long_steps, None)
        mask = features[self._positive[0].name] > 0  # [B, T]
        long_mask, short_mask = mask[:, long], mask[:, short]
        target = self._items(self._target, features)  # [B, D]
        long_items = self._items(self._positive, features, long)  # [B, L, D]
        short_items = self._items(self._positive, features, short)  # [B, S, D]
        user = tf.concat(
            [t(features[f.name], self.dtype) for t, f in zip(self.user_tables, self._user, strict=True)], 1
        )

        scores = dot_scores(target, long_items)  # [B, L]
        pooled = attend(scores, long_items, long_mask)
        stage_one_logit = self.stage_one(tf.concat([target, pooled, user], axis=1), training)

        selected = select_top_k(scores, long_items, long_mask, self.k)
        searched = attend(dot_scores(target, selected.items), selected.items, selected.mask)
        average = masked_mean(selected.items, selected.mask)
        interest, states = self.evolution(short_items, target, short_mask)
        joined = tf.concat([target, searched, average, interest, user], axis=1)
        return _Forward(stage_one_logit, self.stage_two(joined, training), states, short_items)

    def _items(self, features: tuple[Feature, ...], values: Features, steps: slice | None = None) -> tf.Tensor:
        """Item vectors: the item features' embeddings side by side. [B] -> [B, D], [B, T] -> [B, steps, D].

        Padded steps are not zeroed here: every use of a history masks it. Steps are cut from the ids, which
        have no gradient, because the gradient of a cut through the vectors is the costliest operation of a step.
        """
        ids = [values[f.name] if steps is None else values[f.name][:, steps] for f in features]
        return tf.concat([table(i, self.dtype) for table, i in zip(self.item_tables, ids, strict=True)], axis=-1)

    def _bind_features(self, spec: FeatureSpec) -> None:
        problems = sim_channel_problems(spec)
        if problems:
            raise FeatureSpecError(str(spec.base_dir), problems)
        self._user = spec.channel("user_features")
        self._target = spec.channel("target_item_features")
        self._positive = spec.channel("positive_history")
        self._negative = spec.channel("negative_history")
        self.served = (*self._user, *self._target, *self._positive)
        self.trained = (*self.served, *self._negative)
        self.label = spec.channels["label"][0]


def _table(feature: Feature, dim: int, name: str) -> EmbeddingTable:
    return EmbeddingTable(feature.cardinality or 0, dim, name)
