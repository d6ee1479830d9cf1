"""What SIM, DIN and DIEN share: channels, tables, and the vectors of user, target and history."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from training.feature_spec import Feature, FeatureSpec, FeatureSpecError
from training.layers.embedding import EmbeddingTable
from training.layers.history import GatheredHistory, History
from training.layers.runs import Candidates, RowSharing, every_row, runs_of
from training.layers.target_attention import TargetAttention
from training.models.base import CtrModel, Features
from training.models.behaviour_channels import CHANNELS, NEGATIVES, TIMES, USERS, channel_problems
from training.models.history_steps import steps_of_history
from training.native import kernels_available
from training.native.history import NativeHistory, SharedNativeHistory
from training.native.item_vectors import item_vectors
from training.settings import ModelSettings


class BehaviourModel(CtrModel):
    """Channels: label, user_features, target_item_features, positive_history (served), negative_history (training).

    user_features may be empty or missing: then no user is known. User features without a cardinality are numbers and
    enter the classifiers as they are. The i-th features of target_item_features, positive_history and negative_history
    share table i. The first positive feature's ids say which steps are real.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        settings: ModelSettings,
        compute_dtype: tf.DType,
        native: bool,
        needs_negatives: bool,
        needs_times: bool = False,
    ) -> None:
        super().__init__(settings.model_type)
        needed = (*CHANNELS, *((NEGATIVES,) if needs_negatives else ()), *(TIMES if needs_times else ()))
        problems = channel_problems(spec, settings.model_type, needed)
        if problems:
            raise FeatureSpecError(str(spec.base_dir), problems)
        self.settings, self.dtype = settings, compute_dtype
        self.shares_history = native
        self.has_kernels = native and compute_dtype != tf.float16 and kernels_available()
        self._users = spec.channel(USERS) if USERS in spec.channels else ()
        self._target, self._positive = spec.channel("target_item_features"), spec.channel("positive_history")
        self._negative = spec.channel(NEGATIVES) if needs_negatives else ()
        self._times = (*spec.channel(TIMES[0]), *spec.channel(TIMES[1])) if needs_times else ()
        self.served = (*self._users, *self._target, *self._positive, *self._times)
        self.candidates = self._target
        self.trained = (*self.served, *self._negative)
        self.label = spec.channels["label"][0]
        embedded = [f for f in self._users if f.cardinality is not None]
        self.user = embedded[0].name if embedded else None
        self.steps = self._positive[0].dimensions[0]
        dim = settings.embedding_dim
        self.item_dim = dim * len(self._target)
        self.user_dim = sum(dim if f.cardinality is not None else 1 for f in self._users)
        self.user_tables = {f.name: table_of(f, dim) for f in embedded}
        self.item_tables = [table_of(f, dim) for f in self._target]

    def attention(self, history_dim: int, steps: int) -> TargetAttention:
        """The attention of the target on a history, as the settings have it."""
        s = self.settings
        return TargetAttention(
            s.history_attention, self.item_dim, history_dim, steps, s.attention_heads, s.activation_unit_dims,
            s.position_bias, self.has_kernels, "attention",
        )  # fmt: skip

    def rows(self, features: Features) -> Candidates:
        """Which rows the features describe: each its own, or candidates of users. See CtrModel.call."""
        target = features[self._target[0].name]
        if target.shape.rank == 1:
            return every_row(tf.shape(target)[0])
        users, each = tf.unstack(tf.shape(target))
        return Candidates(1 if target.shape[0] == 1 else users, each)

    def as_asked(self, logits: tf.Tensor, features: Features) -> tf.Tensor:
        """Logits [B] in the shape of the target features."""
        target = features[self._target[0].name]
        return logits if target.shape.rank == 1 else tf.reshape(logits, tf.shape(target))

    def steps_of(self, features: Features, feature: Feature, steps: slice) -> tf.Tensor:
        """The steps of one history feature."""
        return steps_of_history(features[feature.name], steps, self.steps)

    def real_steps(self, features: Features, steps: slice) -> tf.Tensor:
        """bool [B, steps]."""
        return self.rows(features).in_rows(self.steps_of(features, self._positive[0], steps) > 0)

    def real_steps_of_runs(self, features: Features, steps: slice, runs: RowSharing) -> tf.Tensor:
        """bool [U, steps]."""
        return runs.of_runs(self.steps_of(features, self._positive[0], steps)) > 0

    def target_items(self, features: Features) -> tf.Tensor:
        """[B, D]."""
        return self._vectors([tf.reshape(features[f.name], [-1]) for f in self._target])

    def users(self, features: Features) -> tf.Tensor:
        """[B, width of the user features]."""
        rows = self.rows(features)
        vectors = [tf.zeros([rows.users, 0], self.dtype)]
        for f in self._users:
            value, table = features[f.name], self.user_tables.get(f.name)
            vectors.append(tf.cast(value[:, tf.newaxis], self.dtype) if table is None else table(value, self.dtype))
        return rows.in_rows(tf.concat(vectors, axis=1))

    def history(
        self, features: Features, steps: slice, more: Sequence[tuple[EmbeddingTable, tf.Tensor]] = ()
    ) -> History:
        """The positive history's steps. more: further tables with their ids [B, steps], side by side with the items."""
        tables = zip(self.item_tables, self._positive, strict=True)
        parts = [(table, self.steps_of(features, f, steps)) for table, f in tables]
        parts += more
        rows = self.rows(features)
        if self.has_kernels and rows.are_single:
            return NativeHistory([t.table for t, _ in parts], [ids for _, ids in parts], self.dtype)
        vectors = tf.concat([table(ids, self.dtype) for table, ids in parts], axis=-1)
        if self.has_kernels:
            return SharedNativeHistory(vectors, rows)
        return GatheredHistory(vectors, None if rows.are_single else rows)

    def positive_items(self, features: Features, steps: slice, runs: RowSharing) -> tf.Tensor:
        """[U, steps, D] of each different history. Steps are cut from the ids, which have no gradient."""
        return self._vectors([runs.of_runs(self.steps_of(features, f, steps)) for f in self._positive])

    def next_items(self, features: Features, steps: slice, runs: RowSharing) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """What follows each step: positive items, negative items [U, steps, D], and where both are real [U, steps]."""
        positive, negative = (
            [_next(runs.of_runs(features[f.name][:, steps])) for f in channel]
            for channel in (self._positive, self._negative)
        )
        real = tf.minimum(positive[0], negative[0]) > 0
        return self._vectors(positive), self._vectors(negative), real

    def runs(self, features: Features, steps: slice) -> RowSharing:
        """Runs of rows that share these steps of all histories that are there; in scoring there is no negative one."""
        rows = self.rows(features)
        if not (self.shares_history and rows.are_single):
            return rows
        histories = [f for f in (*self._positive, *self._negative) if f.name in features]
        return runs_of([features[f.name][:, steps] for f in histories])

    def _vectors(self, ids: Sequence[tf.Tensor]) -> tf.Tensor:
        """Ids [..., ] of each item feature -> their embeddings side by side [..., D]."""
        if self.has_kernels:
            return item_vectors([table.table.read_value() for table in self.item_tables], ids, self.dtype)
        return tf.concat([table(i, self.dtype) for table, i in zip(self.item_tables, ids, strict=True)], axis=-1)


def _next(ids: tf.Tensor) -> tf.Tensor:
    """Each step's successor, padding after the last. [U, S] -> [U, S]."""
    return tf.pad(ids[:, 1:], [[0, 0], [0, 1]])


def table_of(feature: Feature, dim: int) -> EmbeddingTable:
    return EmbeddingTable(feature.cardinality or 0, dim, feature.name)


def binary_cross_entropy(label: tf.Tensor, logit: tf.Tensor) -> tf.Tensor:
    """Mean over rows, on logits. label, logit: float32 [B] -> scalar."""
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(label, logit))
