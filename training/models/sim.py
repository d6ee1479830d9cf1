"""SIM, Search-based Interest Model (Pi et al. 2020, arXiv 2006.05639).

Stage one (GSU) attends to the long part of the history and is trained by its own classifier. Its search selects K
items; stage two (ESU) attends to those and runs DIEN over the short part. Only stage two scores.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from training.errors import SettingsError
from training.feature_spec import FeatureSpec
from training.layers.dense import glorot_uniform
from training.layers.history import History, masked_softmax, mean_weights, pool_each
from training.layers.mlp import ClassifierMlp
from training.layers.runs import Candidates
from training.layers.selection import same_category_mask, threshold_mask, top_k_mask
from training.layers.time_intervals import TimeIntervals
from training.models.base import Features, Loss
from training.models.behaviour_model import binary_cross_entropy
from training.models.short_interest import ShortHistoryModel, ShortInterest
from training.native.history import OnePassHistory
from training.settings import ModelSettings


class _Forward(NamedTuple):
    stage_one_logit: tf.Tensor | None  # [B]; None in scoring and under hard search, which has nothing to train
    stage_two_logit: tf.Tensor  # [B]
    short: ShortInterest


class _Search(NamedTuple):
    pooled: tf.Tensor | None  # [B, D] of the GSU, where stage one needs it
    attended: tf.Tensor  # [B, D'] of the ESU
    average: tf.Tensor  # [B, D']


class Model(ShortHistoryModel):
    """target ‖ searched ‖ mean of the selected ‖ interest ‖ user -> stage_two_mlp_dims -> 1.

    Options of the paper: `search hard` (the target's category, the last of the target's features, section 3.2),
    `search_projection` (W_a and W_b of eq. (2)), `history_attention multi_head` and `time_intervals` (eq. (4)-(5)).
    """

    def __init__(self, spec: FeatureSpec, settings: ModelSettings, compute_dtype: tf.DType, native: bool) -> None:
        super().__init__(spec, settings, compute_dtype, native, True, settings.time_intervals)
        if settings.time_intervals and settings.history_attention in ("dot", "activation_unit"):
            raise SettingsError(
                f"history_attention: got {settings.history_attention} with time_intervals; expected bilinear or "
                "multi_head, whose queries may be wider than the target"
            )
        self.build_short()
        self.long_steps = settings.long_seq_length
        dim, rate = settings.embedding_dim, settings.dropout_rate
        self.times = TimeIntervals(dim, "time_intervals") if settings.time_intervals else None
        history_dim = self.item_dim + (dim if settings.time_intervals else 0)
        if settings.search == "soft":
            width = 2 * self.item_dim + self.user_dim
            self.stage_one = ClassifierMlp(width, settings.stage_one_mlp_dims, rate, self.has_kernels, "stage_one")
        if settings.search == "soft" and settings.search_projection:
            shape = (self.item_dim, self.item_dim)
            self.w_a = tf.Variable(glorot_uniform(shape), name="w_a")
            self.w_b = tf.Variable(glorot_uniform(shape), name="w_b")
        self.search_unit = self.attention(history_dim, self.long_steps)
        width = self.item_dim + 2 * history_dim + self.units + self.user_dim
        self.stage_two = ClassifierMlp(width, settings.stage_two_mlp_dims, rate, self.has_kernels, "stage_two")

    def call(self, features: Features, training: bool) -> tf.Tensor:
        return self.as_asked(self._forward(features, training).stage_two_logit, features)

    def multiply_adds(self, training: bool) -> int:
        count = self.short_multiply_adds(training) + self.search_unit.multiply_adds + self.stage_two.multiply_adds
        if self.settings.search == "soft":
            count += 2 * self.long_steps * self.item_dim + (self.stage_one.multiply_adds if training else 0)
        return int(count)

    def user_multiply_adds(self) -> int:
        return self.short_user_multiply_adds() + int(self.search_unit.user_multiply_adds)

    def loss_terms(self, features: Features, label: tf.Tensor) -> Loss:
        """total = w₁·BCE_stage_one + w₂·BCE_stage_two + aux_loss_weight·auxiliary."""
        out, s = self._forward(features, training=True), self.settings
        classification = s.stage_two_loss_weight * binary_cross_entropy(label, out.stage_two_logit)
        if out.stage_one_logit is not None:
            classification += s.stage_one_loss_weight * binary_cross_entropy(label, out.stage_one_logit)
        auxiliary = s.aux_loss_weight * self.auxiliary_loss(features, out.short)
        total = classification + auxiliary
        terms = {"classification_loss": classification, "dien_aux_loss": auxiliary, "total_loss": total}
        return Loss(terms, total, out.stage_two_logit)

    def _forward(self, features: Features, training: bool) -> _Forward:
        target, user = self.target_items(features), self.users(features)
        found = self._search(features, target, training)
        stage_one_logit = None
        if found.pooled is not None:
            stage_one_logit = self.stage_one(tf.concat([target, found.pooled, user], axis=1), training)
        short = self.short_interest(features, target)
        joined = tf.concat([target, found.attended, found.average, short.interest, user], axis=1)
        return _Forward(stage_one_logit, self.stage_two(joined, training), short)

    def _search(self, features: Features, target: tf.Tensor, training: bool) -> _Search:
        long = slice(self.long_steps)
        rows, mask = self.rows(features), self.real_steps(features, long)
        history = self._long_history(features, long)
        if isinstance(history, OnePassHistory) and self._compares_items_alone():
            unit, k = self.search_unit, self.settings.k
            attended, average, *pooled = unit.attend_in_one_pass(target, history, mask, k, relevance=training)
            return _Search(pooled[0] if pooled else None, attended, average)
        relevance = products = None
        if self.settings.search == "hard":
            selected = same_category_mask(*self._categories(features, long), mask, self.settings.k)
        else:
            relevance = history.scores(self._search_query(target, history.width))  # [B, 1, L]
            products = relevance if self._compares_items_alone() else None
            relevance = tf.squeeze(relevance, 1)
            selected = self._top_k(tf.stop_gradient(relevance), mask, rows)
        fits = self.search_unit.scores(target, history, mask, products, rows)  # [B, Q, L]
        weights = [self.search_unit.weights(fits, selected), mean_weights(selected)[:, tf.newaxis]]
        if relevance is not None and training:
            weights.append(masked_softmax(relevance, mask, self.has_kernels)[:, tf.newaxis])
        attended, average, *pooled = pool_each(history, weights)
        return _Search(
            tf.squeeze(pooled[0], 1)[:, : self.item_dim] if pooled else None,
            self.search_unit.join(attended),
            tf.squeeze(average, 1),
        )

    def _compares_items_alone(self) -> bool:
        """Search and search unit score by the same products, t·i_l."""
        is_plain = self.settings.search == "soft" and not self.settings.search_projection
        return is_plain and self.search_unit.kind == "dot"

    def _top_k(self, relevance: tf.Tensor, mask: tf.Tensor, rows: Candidates) -> tf.Tensor:
        if rows.are_single:
            return top_k_mask(relevance, mask, self.settings.k, self.has_kernels)
        return threshold_mask(relevance, mask, self.settings.k)

    def _categories(self, features: Features, steps: slice) -> tuple[tf.Tensor, tf.Tensor]:
        """Of the target [B] and of the history [B, L]."""
        target = tf.reshape(features[self._target[-1].name], [-1])
        return target, self.rows(features).in_rows(self.steps_of(features, self._positive[-1], steps))

    def _search_query(self, target: tf.Tensor, width: int) -> tf.Tensor:
        """[B, 1, D']: what the GSU compares with each item, r = (W_b e_i)·(W_a e_t); zeros where the item has time."""
        if self.settings.search_projection:
            target = tf.matmul(target, tf.cast(self.w_a, target.dtype))
            target = tf.matmul(target, tf.cast(self.w_b, target.dtype), transpose_b=True)
        return tf.pad(target, [[0, 0], [0, width - self.item_dim]])[:, tf.newaxis]

    def _long_history(self, features: Features, long: slice) -> History:
        if self.times is None:
            return self.history(features, long)
        when, history_times = features[self._times[0].name], self.steps_of(features, self._times[1], long)
        return self.history(features, long, [(self.times.table, self.times.buckets(when, history_times))])
