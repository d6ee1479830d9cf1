"""One training step: gradients over micro-batches, their mean over all ranks, the optimizer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from training.amp import LossScale
from training.distributed import Workers
from training.feature_spec import Feature
from training.input_pipeline import Batch
from training.models.base import CtrModel
from training.optimizers import Adam


class TrainStep:
    """Runs steps of a model. `optimizer` and `loss_scale` are the state that a checkpoint keeps besides the weights."""

    def __init__(self, model: CtrModel, workers: Workers, lr: float, micro_batch_size: int, dtype: tf.DType, xla: bool):
        self.model = model
        self.variables = model.trainable_variables
        self.optimizer = Adam(self.variables, lr)
        self.loss_scale = LossScale(dtype)
        self._workers = workers
        self._micro_batch_size = micro_batch_size
        signature = (*batch_signature(model.trained), tf.TensorSpec([], tf.float32))
        self._gradients = tf.function(self._weighted_gradients, input_signature=signature, jit_compile=xla)
        self._apply = tf.function(self._scaled_apply)

    def __call__(self, batch: Batch) -> tuple[dict[str, float], np.ndarray]:
        """Returns the means of the loss terms over this rank's rows, and the rows' logits [n].

        A rank without rows (the last batch may have fewer rows than there are ranks) adds zeros.
        """
        rows = len(batch.label)
        share = self._workers.size / batch.global_rows
        total: list[tf.Tensor] | None = None
        terms: dict[str, float] = {}
        logits = []
        for start in range(0, rows, self._micro_batch_size):
            part = slice(start, start + self._micro_batch_size)
            features = {name: values[part] for name, values in batch.features.items()}
            label = batch.label[part]
            gradients, part_terms, part_logits = self._gradients(features, label, len(label) * share)
            total = gradients if total is None else [a + b for a, b in zip(total, gradients, strict=True)]
            for name, value in part_terms.items():
                terms[name] = terms.get(name, 0.0) + float(value) * len(label) / rows
            logits.append(part_logits.numpy())
        if total is None:
            total = [tf.zeros_like(v) for v in self.variables]
        self._apply(self._workers.mean_gradients(total))
        return terms, np.concatenate(logits) if logits else np.empty(0, np.float32)

    def _weighted_gradients(
        self, features: Mapping[str, tf.Tensor], label: tf.Tensor, weight: tf.Tensor
    ) -> tuple[list[tf.Tensor], dict[str, tf.Tensor], tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = self.model.loss_terms(features, label)
            scaled = loss.total * weight * self.loss_scale.scale
        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(scaled, self.variables)]
        return gradients, loss.terms, loss.logits

    def _scaled_apply(self, gradients: list[tf.Tensor]) -> None:
        gradients = self.loss_scale.unscale(gradients)
        if self.loss_scale.update(gradients):
            self.optimizer.apply(self.variables, gradients)
            self.model.after_step()


def batch_signature(features: tuple[Feature, ...]) -> tuple[dict[str, tf.TensorSpec], tf.TensorSpec]:
    """TensorSpecs of (features, label) with a free number of rows; ids are int32."""
    specs = {
        f.name: tf.TensorSpec([None, *f.dimensions], tf.int32 if f.cardinality is not None else tf.float32, f.name)
        for f in features
    }
    return specs, tf.TensorSpec([None], tf.float32, "label")
