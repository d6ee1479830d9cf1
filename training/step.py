"""One training step: gradients over micro-batches, their mean over all ranks, the optimizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf

from training.amp import LossScale
from training.distributed import Workers
from training.feature_spec import Feature
from training.input_pipeline import Batch
from training.layers.dropout import dropout_seeds
from training.models.base import CtrModel
from training.native import kernels_available
from training.optimizers import KINDS, Gradient
from training.schedules import learning_rate_schedule
from training.settings import TrainingSettings
from training.sparse_gradients import concatenated, unique_rows

Terms = dict[str, tf.Tensor]


class StepOutput(NamedTuple):
    """terms: means of the loss terms over this rank's rows, float32 scalars; empty without rows. logits: [n].

    Tensors, so that nothing waits for the device until somebody reads them.
    """

    terms: Terms
    logits: tf.Tensor


class AbandonedError(Exception):
    """A step was given up between two micro-batches; weights and optimizer are as they were before it."""


class TrainStep:
    """Runs steps of a model. `optimizer` and `loss_scale` are the state that a checkpoint keeps besides the weights.

    total_steps: of the whole training, for schedules that fall; None if unknown. seed: of the dropout masks, which
    depend on nothing else but the updates done so far, the micro-batch and the rank. native: use the compiled kernels.
    """

    def __init__(
        self, model: CtrModel, workers: Workers, settings: TrainingSettings, total_steps: int | None = None,
        seed: int = 0, native: bool = True,
    ) -> None:  # fmt: skip
        self.model = model
        self.variables = model.trainable_variables
        schedule = learning_rate_schedule(settings, total_steps)
        self.optimizer = KINDS[settings.optimizer](self.variables, schedule, settings.weight_decay)
        self.loss_scale = LossScale(model.dtype)
        self._workers = workers
        self._settings = settings
        self._seed = seed
        self._native = native and kernels_available() and not settings.xla
        signature = (*batch_signature(model.trained), tf.TensorSpec([], tf.float32), tf.TensorSpec([], tf.int32))
        self._backward = tf.function(self._weighted_gradients, input_signature=signature, jit_compile=settings.xla)
        self._sum = tf.function(self._sum_of, reduce_retracing=True)
        self._apply = tf.function(self._scaled_apply, reduce_retracing=True)

    def __call__(self, batch: Batch, is_interrupted: Callable[[int, int], bool] | None = None) -> StepOutput:
        """A rank without rows (the last batch may have fewer rows than there are ranks) adds zeros.

        is_interrupted(part, parts): asked between micro-batches, on all ranks equally often; if true, the step is
        given up with AbandonedError. Micro-batches that a rank has beyond `parts`, its even share, are not asked about.
        """
        rows, size = len(batch.label), self._settings.micro_batch_size
        parts = -(-batch.global_rows // (self._workers.size * size))
        share = self._workers.size / batch.global_rows
        total: list[Gradient] | None = None
        terms: Terms = {}
        logits = []
        for number in range(max(parts, -(-rows // size))):
            if is_interrupted is not None and 0 < number < parts and is_interrupted(number, parts):
                raise AbandonedError
            part = slice(number * size, (number + 1) * size)
            label = batch.label[part]
            if len(label) == 0:
                continue
            features = {f.name: batch.features[f.name][part] for f in self.model.trained}
            gradients, part_terms, part_logits = self._backward(features, label, len(label) * share, number)
            total = self._sum(total, gradients)
            for name, value in part_terms.items():
                weighted = value * (len(label) / rows)
                terms[name] = terms[name] + weighted if name in terms else weighted
            logits.append(part_logits)
        if total is None:
            total = [self._no_gradient(v) for v in self.variables]
        self._apply(self._workers.mean_gradients(total))
        return StepOutput(terms, tf.concat(logits, axis=0) if logits else tf.zeros([0]))

    def _weighted_gradients(
        self, features: Mapping[str, tf.Tensor], label: tf.Tensor, weight: tf.Tensor, part: tf.Tensor
    ) -> tuple[list[Gradient], Terms, tf.Tensor]:
        """part: the number of the micro-batch."""
        masks = dropout_seeds(self._seed, (self.optimizer.steps, part, self._workers.rank))
        with tf.GradientTape() as tape, masks:
            loss = self.model.loss_terms(features, label)
            scaled = loss.total * weight * self.loss_scale.scale
        return tape.gradient(scaled, self.variables), loss.terms, loss.logits

    def _sum_of(self, total: Sequence[Gradient] | None, gradients: Sequence[Gradient]) -> list[Gradient]:
        """Element by element; tables keep to the rows that were looked up."""
        result: list[Gradient] = []
        for number, gradient in enumerate(gradients):
            before = None if total is None else total[number]
            if isinstance(gradient, tf.IndexedSlices):
                parts = [gradient] if before is None else [before, gradient]
                result.append(unique_rows(concatenated(parts), self._native))
            else:
                result.append(gradient if before is None else before + gradient)
        return result

    def _no_gradient(self, variable: tf.Variable) -> Gradient:
        if not self._is_table(variable):
            return tf.zeros_like(variable)
        return tf.IndexedSlices(tf.zeros([0, variable.shape[1]]), tf.zeros([0], tf.int32), tf.shape(variable))

    def _is_table(self, variable: tf.Variable) -> bool:
        outputs = self._backward.get_concrete_function().structured_outputs[0]
        return isinstance(outputs[[v is variable for v in self.variables].index(True)], tf.IndexedSlices)

    def _scaled_apply(self, gradients: Sequence[Gradient]) -> None:
        gradients = self.loss_scale.unscale(gradients)
        if self.loss_scale.update(gradients):
            if self._settings.gradient_clip_norm:
                gradients, _ = tf.clip_by_global_norm(list(gradients), self._settings.gradient_clip_norm)
            self.optimizer.apply(self.variables, gradients)


def batch_signature(features: tuple[Feature, ...]) -> tuple[dict[str, tf.TensorSpec], tf.TensorSpec]:
    """TensorSpecs of (features, label) with a free number of rows; ids are int32, numbers float32."""
    specs = {
        f.name: tf.TensorSpec([None, *f.dimensions], tf.int32 if f.cardinality is not None else tf.float32, f.name)
        for f in features
    }
    return specs, tf.TensorSpec([None], tf.float32, "label")
